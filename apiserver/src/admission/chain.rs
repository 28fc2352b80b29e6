//! The enabled plugins in order. Upstream: admission/chain.go and kubeapiserver/options/admission.go.

use std::sync::Arc;

use component_base::auth::Authorizer;
use component_base::features::FeatureGates;

use super::plugins::{ConfigurationError, PLUGINS, PluginRow, Settings, State};
use super::policy::rights;
use super::{Attributes, Cluster, Operation, Plugin, Reinvocation, Verdict};

/// The plugins of this server, in the order they run in.
#[derive(Clone)]
pub struct Chain {
    plugins: Arc<[Box<dyn Plugin>]>,
    cluster: Arc<dyn Cluster>,
    authorizer: Option<Arc<dyn Authorizer>>,
}

/// A name that is no plugin's, or a plugin that cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChainError {
    #[error("{flag} plugin \"{name}\" is unknown")]
    Unknown { flag: &'static str, name: String },
    #[error("{0} in enable-admission-plugins and disable-admission-plugins overlapped")]
    Overlap(String),
    #[error(
        "enable-admission-plugins: plugin \"{name}\" is not available: this release does not have the feature {feature}"
    )]
    NotBuilt {
        name: &'static str,
        feature: &'static str,
    },
    #[error("failed to apply admission: couldn't init admission plugin \"{name}\": {reason}")]
    Init { name: &'static str, reason: String },
    #[error(
        "failed to apply admission: failed to initialize admission plugin \"{name}\": {reason}"
    )]
    Invalid { name: &'static str, reason: String },
}

impl Chain {
    /// The plugins that are on by default, with those named on and off.
    pub fn new(
        enable: &[String],
        disable: &[String],
        settings: &Settings,
        cluster: Arc<dyn Cluster>,
    ) -> Result<Self, ChainError> {
        for (flag, names) in [
            ("enable-admission-plugins", enable),
            ("disable-admission-plugins", disable),
        ] {
            if let Some(name) = names
                .iter()
                .find(|name| !PLUGINS.iter().any(|row| row.name == **name))
            {
                return Err(ChainError::Unknown {
                    flag,
                    name: name.clone(),
                });
            }
        }
        if let Some(name) = enable.iter().find(|name| disable.contains(name)) {
            return Err(ChainError::Overlap(name.clone()));
        }
        let mut plugins = Vec::new();
        for row in PLUGINS {
            let named = enable.iter().any(|name| name == row.name);
            if !named && (!row.default_on || disable.iter().any(|name| name == row.name)) {
                continue;
            }
            let name = row.name;
            match row.state {
                State::Built(build) => plugins.push(build(settings)),
                State::Configured(build) => {
                    let text = settings.configuration.of(name);
                    let text = text.map_err(|reason| ChainError::Init { name, reason })?;
                    let built = build(settings, text.as_deref());
                    plugins.push(built.map_err(|error| match error {
                        ConfigurationError::Init(reason) => ChainError::Init { name, reason },
                        ConfigurationError::Invalid(reason) => ChainError::Invalid { name, reason },
                    })?);
                }
                State::Gated(feature) if named && settings.features.enabled(feature) => {
                    return Err(ChainError::NotBuilt { name, feature });
                }
                // Without the feature it would do nothing.
                State::Gated(_) => {}
            }
        }
        Ok(Self {
            plugins: plugins.into(),
            cluster,
            authorizer: settings.authorizer.clone(),
        })
    }

    /// The names of all plugins there are, in order.
    pub fn known() -> impl Iterator<Item = &'static str> {
        PLUGINS.iter().map(|row| row.name)
    }

    /// Plugins that are on and not there yet, for a line in the log.
    pub fn missing(disable: &[String], features: &FeatureGates) -> Vec<&'static str> {
        let missing = |row: &&PluginRow| {
            matches!(row.state, State::Gated(feature) if features.enabled(feature))
                && !disable.iter().any(|name| name == row.name)
        };
        PLUGINS.iter().filter(missing).map(|row| row.name).collect()
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.plugins.iter().map(|plugin| plugin.name()).collect()
    }

    /// Whether any plugin is asked about an operation.
    pub fn handles(&self, operation: Operation) -> bool {
        self.plugins.iter().any(|plugin| plugin.handles(operation))
    }

    /// Lets every plugin change the object, twice when it must be (see [`Reinvocation`]).
    pub async fn admit(&self, attributes: &mut Attributes) -> Verdict {
        attributes.reinvocation = Reinvocation::default();
        self.round(attributes).await?;
        if attributes.reinvocation.wanted {
            attributes.reinvocation.second = true;
            self.round(attributes).await?;
        }
        Ok(())
    }

    async fn round(&self, attributes: &mut Attributes) -> Verdict {
        let operation = attributes.operation;
        for plugin in self
            .plugins
            .iter()
            .filter(|plugin| plugin.handles(operation))
        {
            plugin.admit(attributes, &*self.cluster).await?;
        }
        Ok(())
    }

    /// Lets every plugin judge the final object.
    pub async fn validate(&self, attributes: &Attributes) -> Verdict {
        rights::check(attributes, self.authorizer.as_ref(), &*self.cluster).await?;
        for plugin in self
            .plugins
            .iter()
            .filter(|plugin| plugin.handles(attributes.operation))
        {
            plugin.validate(attributes, &*self.cluster).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::status::StatusError;
    use component_base::auth::BoxFuture;

    use super::*;
    use crate::admission::{Freshness, UpdateOutcome};
    use crate::registry::object::Object;

    struct Nothing;

    impl Cluster for Nothing {
        fn get<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
            _: &'a str,
            _: &'a str,
            _: Freshness,
        ) -> BoxFuture<'a, Result<Option<Arc<Object>>, StatusError>> {
            Box::pin(async { Ok(None) })
        }

        fn list<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Vec<Arc<Object>>, StatusError>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn update_status<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
            _: Object,
        ) -> BoxFuture<'a, Result<UpdateOutcome, StatusError>> {
            Box::pin(async { Ok(UpdateOutcome::Updated) })
        }
    }

    fn chain(enable: &[&str], disable: &[&str]) -> Result<Chain, ChainError> {
        Chain::new(
            &names(enable),
            &names(disable),
            &Settings::default(),
            Arc::new(Nothing),
        )
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn flags_choose() {
        let default = chain(&[], &[]).expect("the default").names();
        assert!(default.contains(&"NamespaceLifecycle") && !default.contains(&"NodeRestriction"));
        let chosen = chain(&["NodeRestriction"], &["LimitRanger"])
            .expect("known names")
            .names();
        assert!(chosen.contains(&"NodeRestriction") && !chosen.contains(&"LimitRanger"));
        let error = |enable: &[&str], disable: &[&str]| {
            chain(enable, disable).err().map(|error| error.to_string())
        };
        assert_eq!(
            error(&["Nonsense"], &[]).as_deref(),
            Some("enable-admission-plugins plugin \"Nonsense\" is unknown")
        );
        assert_eq!(
            error(&["Priority"], &["Priority"]).as_deref(),
            Some("Priority in enable-admission-plugins and disable-admission-plugins overlapped")
        );
    }

    #[test]
    fn the_table_has_upstreams_plugins() {
        assert_eq!(PLUGINS.len(), 41);
        assert_eq!(PLUGINS.iter().filter(|row| row.default_on).count(), 27);
        let mut names: Vec<&str> = PLUGINS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 41, "names are unique");
    }
}
