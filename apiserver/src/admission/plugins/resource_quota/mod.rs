//! Refuses what a namespace's quotas do not allow, and charges them with what they do. Upstream:
//! apiserver/pkg/admission/plugin/resourcequota.
//!
//! The charge is a guarded update of each quota's status before the object is stored. Requests of one namespace take turns here, so
//! that within one server they do not race; other servers are met as conflicts, and the check is made anew for the quotas that were not
//! charged. A charge for a request that fails later is taken back by the resource quota controller.

mod request;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use api_types::core::v1::{
    ResourceQuota as Quota, ScopeSelector, ScopedResourceSelectorRequirement,
};
use apimachinery::field::{self, ErrorList, Path};
use apimachinery::gvk::GroupResource;
use apimachinery::quota;
use apimachinery::status::{self, StatusError};
use component_base::auth::BoxFuture;
use parking_lot::Mutex;
use serde::Deserialize;

use self::request::{Devices, Request, counts};
use crate::admission::{
    Attributes, Cluster, Freshness, Operation, Plugin, Steps, UpdateOutcome, Verdict, configuration,
};
use crate::registry::errors;
use crate::registry::object::Object;
use crate::registry::store::OPTIMISTIC_LOCK_ERROR;

/// How often a request is checked while somebody else keeps charging the same quotas.
const ATTEMPTS: usize = 4;

pub(super) struct ResourceQuota {
    limited: Vec<LimitedResource>,
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

/// What nobody may use without a quota that covers it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LimitedResource {
    api_group: String,
    resource: String,
    /// Parts of names of what is counted.
    match_contains: Vec<String>,
    #[serde(deserialize_with = "scopes")]
    match_scopes: Vec<ScopedResourceSelectorRequirement>,
}

fn scopes<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<ScopedResourceSelectorRequirement>, D::Error> {
    let list = serde_json::Value::deserialize(deserializer)?;
    let selector = serde_json::json!({ "matchExpressions": list }).to_string();
    let selector = api_types::decode_json::<ScopeSelector>(selector.as_bytes());
    selector
        .map(|selector| selector.match_expressions)
        .map_err(serde::de::Error::custom)
}

impl ResourceQuota {
    /// Reads the plugin's configuration.
    pub(super) fn new(text: Option<&[u8]>) -> Result<Self, String> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Configuration {
            limited_resources: Vec<LimitedResource>,
        }
        const KINDS: [(&str, &str); 3] = [
            ("apiserver.config.k8s.io/v1", "ResourceQuotaConfiguration"),
            ("resourcequota.admission.k8s.io/v1beta1", "Configuration"),
            ("resourcequota.admission.k8s.io/v1alpha1", "Configuration"),
        ];
        let known = |path: &str, name: &str| match path {
            "" => name == "limitedResources",
            "limitedResources" => {
                ["apiGroup", "resource", "matchContains", "matchScopes"].contains(&name)
            }
            _ => ["scopeName", "operator", "values"].contains(&name),
        };
        let configuration: Configuration = match text {
            Some(text) => configuration::strict(text, &KINDS, &known)?,
            None => Configuration::default(),
        };
        let limited = configuration.limited_resources;
        let mut errors = ErrorList::new();
        for (index, resource) in limited.iter().enumerate() {
            if resource.resource.is_empty() {
                let path = Path::new("limitedResources").index(index).child("resource");
                errors.push(field::required(&path, ""));
            }
        }
        match errors.aggregate() {
            Some(problems) => Err(problems),
            None => Ok(Self {
                limited,
                turns: Mutex::default(),
            }),
        }
    }
}

impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if attributes.namespace.is_empty() || !counts(attributes) {
                return Ok(());
            }
            let namespace = &attributes.namespace;
            let quotas = || cluster.list("", "resourcequotas", namespace);
            if self.limited.is_empty() && quotas().await?.is_empty() {
                return Ok(());
            }
            let turn = self.turn(namespace);
            let _mine = turn.lock().await;
            self.charge(attributes, cluster, quotas().await?).await
        })
    }
}

impl ResourceQuota {
    fn turn(&self, namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock();
        if let Some(turn) = turns.get(namespace).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(namespace.to_owned(), Arc::downgrade(&turn));
        turn
    }

    async fn charge(
        &self,
        attributes: &Attributes,
        cluster: &dyn Cluster,
        mut quotas: Vec<Arc<Object>>,
    ) -> Verdict {
        let devices = Devices::of(attributes, cluster).await?;
        let Some(request) = Request::new(attributes, &devices) else {
            return Ok(());
        };
        let mut remaining = ATTEMPTS;
        loop {
            let is_first = remaining == ATTEMPTS;
            let charged = self.check(&request, &quotas, is_first)?;
            if attributes.dry_run {
                return Ok(());
            }
            let mut lost = Vec::new();
            for quota in charged {
                let name = quota.metadata.name.clone();
                let update = cluster.update_status("", "resourcequotas", Object::from(quota));
                if update.await? == UpdateOutcome::Conflict {
                    lost.push(name);
                }
            }
            let Some(last) = lost.last() else {
                return Ok(());
            };
            remaining -= 1;
            if remaining == 0 {
                let quotas = GroupResource {
                    group: String::new(),
                    resource: "resourcequotas".to_owned(),
                };
                return Err(status::conflict(&quotas, last, OPTIMISTIC_LOCK_ERROR));
            }
            // Those that were charged are done with, and those that are gone ask for nothing.
            quotas.clear();
            for name in &lost {
                let namespace = &attributes.namespace;
                let fresh = Freshness::Consistent;
                let quota = cluster.get("", "resourcequotas", namespace, name, fresh);
                quotas.extend(quota.await?);
            }
        }
    }

    /// The quotas with the request charged to them: those that it costs something.
    fn check(
        &self,
        request: &Request<'_>,
        quotas: &[Arc<Object>],
        all: bool,
    ) -> Result<Vec<Quota>, StatusError> {
        let quotas = || quotas.iter().filter_map(|object| object.get::<Quota>());
        let mut matching = Vec::new();
        let mut covered = BTreeSet::new();
        for quota in quotas() {
            if let Some(names) = request.limited_by(quota)? {
                matching.push(quota);
                covered.extend(names);
            }
        }
        request.check_sign()?;
        let grows = match &matching[..] {
            [] => !request.grows.is_empty(),
            matching => matching
                .iter()
                .any(|quota| !request.delta(quota).is_empty()),
        };
        if !grows {
            return Ok(Vec::new());
        }
        if all {
            self.check_limited(request, quotas(), &covered)?;
        }
        let charged = matching
            .into_iter()
            .map(|quota| request.charge(quota).transpose());
        charged.flatten().collect()
    }

    /// Refuses what is limited by the configuration and by no quota. `covered` are the names that quotas limit.
    fn check_limited<'q>(
        &self,
        request: &Request<'_>,
        quotas: impl Iterator<Item = &'q Quota>,
        covered: &BTreeSet<&str>,
    ) -> Verdict {
        let attributes = request.attributes;
        let mut names = BTreeSet::new();
        let mut scopes = Vec::new();
        for limited in &self.limited {
            let matched = limited.match_scopes.iter();
            scopes.extend(matched.filter(|scope| quota::matches_scope(scope, request.new)));
            if attributes.is(&limited.api_group, &limited.resource) {
                let is_limited = |name: &str| {
                    limited
                        .match_contains
                        .iter()
                        .any(|part| name.contains(part))
                };
                names.extend(request.used.keys().filter(|name| is_limited(name)));
            }
        }
        names.retain(|name| !covered.contains(name.as_str()));
        if !names.is_empty() {
            let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
            return Err(attributes.forbidden(format!(
                "insufficient quota to consume: {}",
                names.join(",")
            )));
        }
        for quota in quotas {
            let covers = |scope: &&ScopedResourceSelectorRequirement| {
                quota::scopes(quota).iter().any(|own| {
                    own.scope_name == scope.scope_name && quota::matches_scope(own, request.new)
                })
            };
            scopes.retain(|scope| !covers(scope));
        }
        if scopes.is_empty() {
            return Ok(());
        }
        // As Go prints a list of structs.
        let shown = scopes.iter().map(|scope| {
            let (name, operator) = (&scope.scope_name, &scope.operator);
            format!("{{{name} {operator} [{}]}}", scope.values.join(" "))
        });
        let shown: Vec<String> = shown.collect();
        Err(errors::plain(format!(
            "insufficient quota to match these scopes: [{}]",
            shown.join(" ")
        )))
    }
}
