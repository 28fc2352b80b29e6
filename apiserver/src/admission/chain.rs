//! The enabled plugins in order. Upstream: admission/chain.go and kubeapiserver/options/admission.go.

use std::sync::Arc;
use std::time::Instant;

use component_base::auth::Authorizer;

use super::metrics::{ADMIT, AdmissionMetrics, Timer, VALIDATE};
use super::plugins::{ConfigurationError, PLUGINS, Settings, State};
use super::policy::rights;
use super::{Attributes, Cluster, Operation, Plugin, Reinvocation, Steps, Verdict};

/// The plugins of this server, in the order they run in.
#[derive(Clone)]
pub struct Chain {
    plugins: Arc<[Link]>,
    /// Of the steps as a whole.
    timers: Arc<[Timer; 2]>,
    metrics: Option<AdmissionMetrics>,
    cluster: Arc<dyn Cluster>,
    authorizer: Option<Arc<dyn Authorizer>>,
}

/// A plugin with how long it takes in the steps that it has.
struct Link {
    plugin: Box<dyn Plugin>,
    admit: Option<Timer>,
    validate: Option<Timer>,
}

impl Link {
    fn new(plugin: Box<dyn Plugin>, metrics: Option<&AdmissionMetrics>) -> Self {
        let (name, steps) = (plugin.name(), plugin.steps());
        let family = metrics.map(|metrics| &metrics.plugins);
        let timer = |has: bool, step| has.then(|| Timer::new(family, &[name, step]));
        Self {
            admit: timer(steps.admits(), ADMIT),
            validate: timer(steps.validates(), VALIDATE),
            plugin,
        }
    }
}

/// A name that is no plugin's, or a plugin that cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChainError {
    #[error("{flag} plugin \"{name}\" is unknown")]
    Unknown { flag: &'static str, name: String },
    #[error("{0} in enable-admission-plugins and disable-admission-plugins overlapped")]
    Overlap(String),
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
            }
        }
        let loaded = |kind: &str, does: fn(Steps) -> bool| {
            let names = plugins.iter().filter(|plugin| does(plugin.steps()));
            let names: Vec<&str> = names.map(|plugin| plugin.name()).collect();
            if !names.is_empty() {
                tracing::info!(
                    "Loaded {} {kind} admission controller(s) successfully in the following order: {}.",
                    names.len(),
                    names.join(",")
                );
            }
        };
        loaded("mutating", Steps::admits);
        loaded("validating", Steps::validates);
        let metrics = settings.metrics.clone();
        let link = |plugin| Link::new(plugin, metrics.as_ref());
        let steps = metrics.as_ref().map(|metrics| &metrics.steps);
        Ok(Self {
            plugins: plugins.into_iter().map(link).collect(),
            timers: Arc::new([ADMIT, VALIDATE].map(|step| Timer::new(steps, &[step]))),
            metrics,
            cluster,
            authorizer: settings.authorizer.clone(),
        })
    }

    /// The names of all plugins there are, in order.
    pub fn known() -> impl Iterator<Item = &'static str> {
        PLUGINS.iter().map(|row| row.name)
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.plugins.iter().map(|link| link.plugin.name()).collect()
    }

    /// Whether any plugin is asked about an operation.
    pub fn handles(&self, operation: Operation) -> bool {
        self.plugins
            .iter()
            .any(|link| link.plugin.handles(operation))
    }

    /// Lets every plugin change the object, twice when it must be (see [`Reinvocation`]).
    pub async fn admit(&self, attributes: &mut Attributes) -> Verdict {
        attributes.reinvocation = Reinvocation::default();
        let start = Instant::now();
        let mut verdict = self.round(attributes).await;
        if verdict.is_ok() && attributes.reinvocation.wanted {
            attributes.reinvocation.second = true;
            verdict = self.round(attributes).await;
        }
        self.observe(false, attributes.operation, verdict.is_err(), start);
        verdict
    }

    /// A step is over.
    fn observe(&self, validate: bool, operation: Operation, rejected: bool, start: Instant) {
        let Some(metrics) = &self.metrics else { return };
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(start);
        self.timers[usize::from(validate)].observe(operation, rejected, elapsed);
        let summary = &metrics.summary;
        summary.observe(validate, operation, rejected, now, elapsed);
    }

    async fn round(&self, attributes: &mut Attributes) -> Verdict {
        let operation = attributes.operation;
        // One plugin starts when the one before it ends.
        let mut start = Instant::now();
        for Link { plugin, admit, .. } in &*self.plugins {
            let Some(timer) = admit.as_ref().filter(|_| plugin.handles(operation)) else {
                continue;
            };
            let verdict = plugin.admit(attributes, &*self.cluster).await;
            let end = Instant::now();
            timer.observe(operation, verdict.is_err(), end - start);
            verdict?;
            start = end;
        }
        Ok(())
    }

    /// Lets every plugin judge the final object.
    pub async fn validate(&self, attributes: &Attributes) -> Verdict {
        rights::check(attributes, self.authorizer.as_ref(), &*self.cluster).await?;
        let start = Instant::now();
        let verdict = self.judge(attributes).await;
        self.observe(true, attributes.operation, verdict.is_err(), start);
        verdict
    }

    async fn judge(&self, attributes: &Attributes) -> Verdict {
        let operation = attributes.operation;
        let mut start = Instant::now();
        for link in &*self.plugins {
            let Link {
                plugin, validate, ..
            } = link;
            let Some(timer) = validate.as_ref().filter(|_| plugin.handles(operation)) else {
                continue;
            };
            let verdict = plugin.validate(attributes, &*self.cluster).await;
            let end = Instant::now();
            timer.observe(operation, verdict.is_err(), end - start);
            verdict?;
            start = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::Pod;
    use apimachinery::status::StatusError;
    use component_base::auth::BoxFuture;
    use component_base::metrics::{Metrics, MetricsOptions};

    use super::*;
    use crate::admission::plugins::testing::create;
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

    #[tokio::test]
    async fn steps_and_plugins_are_timed() {
        let metrics = Metrics::for_daemon(MetricsOptions::default());
        let settings = Settings {
            metrics: Some(AdmissionMetrics::new(&metrics)),
            ..Settings::default()
        };
        let off: Vec<String> = Chain::known()
            .filter(|name| !matches!(*name, "RuntimeClass" | "AlwaysDeny"))
            .map(str::to_owned)
            .collect();
        let chain = Chain::new(&names(&["AlwaysDeny"]), &off, &settings, Arc::new(Nothing));
        let chain = chain.expect("known names");
        let mut attributes = create(Pod::default());
        assert!(chain.admit(&mut attributes).await.is_err());
        let text = String::from_utf8(metrics.text()).unwrap();
        for line in [
            "# HELP apiserver_admission_controller_admission_duration_seconds [STABLE] Admission controller latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).",
            r#"apiserver_admission_controller_admission_duration_seconds_count{name="RuntimeClass",operation="CREATE",rejected="false",type="admit"} 1"#,
            r#"apiserver_admission_controller_admission_duration_seconds_count{name="AlwaysDeny",operation="CREATE",rejected="true",type="admit"} 1"#,
            r#"apiserver_admission_step_admission_duration_seconds_count{operation="CREATE",rejected="true",type="admit"} 1"#,
            r#"apiserver_admission_step_admission_duration_seconds_summary_count{operation="CREATE",rejected="true",type="admit"} 1"#,
        ] {
            assert!(text.lines().any(|have| have == line), "{line} in {text}");
        }
        assert!(
            !text.contains(r#"type="validate""#),
            "made with the first value"
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
