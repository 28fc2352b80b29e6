//! Refuses what a namespace's quotas do not allow, and charges them with what they do. Upstream:
//! apiserver/pkg/admission/plugin/resourcequota.
//!
//! The charge is a guarded update of each quota's status before the object is stored. Requests of one namespace take turns here, so
//! that within one server they do not race; other servers are met as conflicts and the check is made anew. A charge for a request
//! that fails later is taken back by the resource quota controller.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use api_types::Time;
use api_types::core::v1::{
    PersistentVolumeClaim, Pod, ResourceQuota as Quota, ScopeSelector,
    ScopedResourceSelectorRequirement, Service,
};
use apimachinery::field::{self, ErrorList, Path};
use apimachinery::quota::{self, Amounts, Counted};
use apimachinery::status::StatusError;
use component_base::auth::BoxFuture;
use parking_lot::Mutex;
use serde::Deserialize;

use crate::admission::{
    Attributes, Cluster, Operation, Plugin, Steps, UpdateOutcome, Verdict, configuration,
};
use crate::registry::errors;
use crate::registry::object::Object;

/// How often a check is made anew after somebody else charged a quota meanwhile.
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

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
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
            let quotas = cluster.list("", "resourcequotas", &attributes.namespace);
            let quotas = quotas.await?;
            self.check_limited(attributes, &quotas)?;
            if quotas.is_empty() {
                return Ok(());
            }
            let turn = self.turn(&attributes.namespace);
            let _mine = turn.lock().await;
            for _ in 0..ATTEMPTS {
                if self.charge(attributes, cluster).await? == UpdateOutcome::Updated {
                    return Ok(());
                }
            }
            Err(attributes.forbidden("status of the namespace's quotas kept changing while the request was checked; try again"))
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

    /// Refuses what is limited by the configuration and by no quota.
    fn check_limited(&self, attributes: &Attributes, quotas: &[Arc<Object>]) -> Verdict {
        let Some(object) = attributes
            .object
            .as_ref()
            .filter(|_| !self.limited.is_empty())
        else {
            return Ok(());
        };
        let new = counted(object);
        let (group, resource, _) = attributes.endpoint();
        let usage = |object| quota::usage(group, resource, object, Time::now());
        let used = usage(new);
        let mut names = BTreeSet::new();
        let mut scopes = Vec::new();
        for limited in &self.limited {
            let matched = limited.match_scopes.iter();
            scopes.extend(matched.filter(|scope| quota::matches_scope(scope, new)));
            if (&*limited.api_group, &*limited.resource) == (group, resource) {
                let is_limited = |name: &str| {
                    limited
                        .match_contains
                        .iter()
                        .any(|part| name.contains(part))
                };
                let counted = used.iter().filter(|(_, amount)| amount.signum() > 0);
                names.extend(
                    counted
                        .map(|(name, _)| name.as_str())
                        .filter(|name| is_limited(name)),
                );
            }
        }
        let mut grows = used.clone();
        if attributes.operation == Operation::Update
            && let Some(old) = attributes.old_object.as_deref().map(counted)
        {
            grows = quota::subtract_to_zero(&used, &usage(old));
        }
        if grows.values().all(|amount| amount.is_zero()) {
            return Ok(());
        }
        for quota in quotas.iter().filter_map(|object| object.get::<Quota>()) {
            let covers = |scope: &&ScopedResourceSelectorRequirement| {
                quota::scopes(quota)
                    .iter()
                    .any(|own| own.scope_name == scope.scope_name && quota::matches_scope(own, new))
            };
            scopes.retain(|scope| !covers(scope));
            if quota::in_scope(quota, new) {
                let covers = |name: &str| {
                    quota.status.hard.contains_key(name)
                        && quota::limits_resource(name, group, resource)
                };
                names.retain(|name| !covers(name));
            }
        }
        if !names.is_empty() {
            let names: Vec<&str> = names.into_iter().collect();
            return Err(attributes.forbidden(format!(
                "insufficient quota to consume: {}",
                names.join(",")
            )));
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

    async fn charge(
        &self,
        attributes: &Attributes,
        cluster: &dyn Cluster,
    ) -> Result<UpdateOutcome, StatusError> {
        let quotas = cluster
            .list("", "resourcequotas", &attributes.namespace)
            .await?;
        let mut charged = Vec::new();
        for quota in quotas.iter().filter_map(|object| object.get::<Quota>()) {
            charged.extend(check(quota, attributes)?);
        }
        if attributes.dry_run {
            return Ok(UpdateOutcome::Updated);
        }
        for quota in charged {
            if cluster
                .update_status("", "resourcequotas", Object::from(quota))
                .await?
                == UpdateOutcome::Conflict
            {
                return Ok(UpdateOutcome::Conflict);
            }
        }
        Ok(UpdateOutcome::Updated)
    }
}

/// Which writes change usage.
fn counts(attributes: &Attributes) -> bool {
    let create = attributes.operation == Operation::Create;
    match attributes.endpoint() {
        ("", "pods", "resize") => !create,
        ("", "services" | "persistentvolumeclaims", "") => true,
        (_, _, "") => create,
        _ => false,
    }
}

fn counted(object: &Object) -> Counted<'_> {
    if let Some(pod) = object.get::<Pod>() {
        return Counted::Pod(pod);
    }
    if let Some(service) = object.get::<Service>() {
        return Counted::Service(service);
    }
    object
        .get::<PersistentVolumeClaim>()
        .map_or(Counted::Other, Counted::PersistentVolumeClaim)
}

/// The quota with the request charged to it; None when the request costs it nothing.
fn check(quota: &Quota, attributes: &Attributes) -> Result<Option<Quota>, StatusError> {
    let Some(object) = attributes.object.as_ref() else {
        return Ok(None);
    };
    let (group, resource, _) = attributes.endpoint();
    let new = counted(object);
    let name = &quota.metadata.name;
    let limited: BTreeSet<&str> = quota
        .status
        .hard
        .keys()
        .map(String::as_str)
        .filter(|name| quota::limits_resource(name, group, resource))
        .collect();
    if limited.is_empty() || !quota::in_scope(quota, new) {
        return Ok(None);
    }
    if let Counted::Pod(pod) = new
        && let Some(problem) = quota::unspecified(pod, &limited)
    {
        return Err(attributes.forbidden(format!("failed quota: {name}: {problem}")));
    }
    let uncounted: Vec<&str> = limited
        .iter()
        .copied()
        .filter(|name| !quota.status.used.contains_key(*name))
        .collect();
    if !uncounted.is_empty() {
        return Err(attributes.forbidden(format!(
            "status unknown for quota: {name}, resources: {}",
            uncounted.join(",")
        )));
    }
    let delta = delta(quota, attributes, new);
    let requested = quota::mask(&delta, |name| quota.status.hard.contains_key(name));
    if requested.is_empty() {
        return Ok(None);
    }
    let used = quota::add(&quota.status.used, &requested);
    let exceeded: BTreeSet<&str> = requested
        .keys()
        .map(String::as_str)
        .filter(|name| {
            used.get(*name)
                .zip(quota.status.hard.get(*name))
                .is_some_and(|(used, hard)| used.cmp(hard).is_gt())
        })
        .collect();
    if !exceeded.is_empty() {
        let show = |amounts: &Amounts| {
            quota::pretty(&quota::mask(amounts, |name| exceeded.contains(name)))
        };
        return Err(attributes.forbidden(format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            show(&requested),
            show(&quota.status.used),
            show(&quota.status.hard)
        )));
    }
    let mut charged = quota.clone();
    charged.status.used = used;
    Ok(Some(charged))
}

/// What the request adds to the usage: for an update of an object that counted before, only what is more.
fn delta(quota: &Quota, attributes: &Attributes, new: Counted<'_>) -> Amounts {
    let now = Time::now();
    let usage = |object| {
        quota::usage(
            &attributes.resource.group,
            &attributes.resource.resource,
            object,
            now,
        )
    };
    let mut delta = usage(new);
    if attributes.operation == Operation::Update
        && let Some(old) = attributes.old_object.as_deref().map(counted)
        && quota::in_scope(quota, old)
    {
        delta = quota::subtract_to_zero(&delta, &usage(old));
    }
    delta.retain(|_, amount| !amount.is_zero());
    delta
}
