//! PodNodeSelector: pods run on the nodes that their namespace is for. Upstream: plugin/pkg/admission/podnodeselector.

use std::collections::BTreeMap;

use api_types::core::v1::{Namespace, Pod};
use apimachinery::field::Path;
use apimachinery::status::{self, StatusError};
use apimachinery::validation::{is_label_value, is_qualified_name};
use component_base::auth::BoxFuture;
use serde_json::Value;

use super::namespaces;
use crate::admission::configuration::unversioned;
use crate::admission::{Attributes, Cluster, Freshness, Operation, Plugin, Steps, Verdict};
use crate::registry::errors;

const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
/// The configuration's member for namespaces without the annotation.
const DEFAULT: &str = "clusterDefaultNodeSelector";

type Labels = BTreeMap<String, String>;

pub(super) struct PodNodeSelector {
    /// Selectors by namespace: what its pods may choose among. One is for all namespaces.
    selectors: BTreeMap<String, String>,
}

impl PodNodeSelector {
    /// A configuration that cannot be read is none, as upstream.
    pub(super) fn new(text: Option<&[u8]>) -> Self {
        let members = text.map(unversioned).and_then(Result::ok);
        let mut members = members.unwrap_or_default();
        let selectors = match members.remove("podNodeSelectorPluginConfig") {
            Some(Value::Object(selectors)) => selectors
                .into_iter()
                .filter_map(|(namespace, selector)| {
                    Some((namespace, selector.as_str()?.to_owned()))
                })
                .collect(),
            _ => BTreeMap::new(),
        };
        Self { selectors }
    }

    fn configured(&self, namespace: &str) -> Result<Labels, StatusError> {
        let selector = self.selectors.get(namespace).map_or("", String::as_str);
        parse(selector).map_err(errors::plain)
    }

    /// The labels that nodes have to have for pods of a namespace.
    async fn required(&self, name: &str, cluster: &dyn Cluster) -> Result<Labels, StatusError> {
        let mut namespace = namespaces::find(name, Freshness::Cached, cluster).await?;
        if namespace.is_none() {
            namespace = namespaces::find(name, Freshness::Consistent, cluster).await?;
        }
        let Some(Namespace { metadata, .. }) = namespace else {
            return Err(status::internal(format!("namespace {name} does not exist")));
        };
        match metadata.annotations.get(ANNOTATION) {
            Some(selector) => parse(selector).map_err(errors::plain),
            None => self.configured(DEFAULT),
        }
    }

    fn check(&self, attributes: &Attributes, required: &Labels) -> Verdict {
        let Some(pod) = attributes.object::<Pod>() else {
            return Ok(());
        };
        let selector = &pod.spec.node_selector;
        let refused = |why: &str| {
            let name = &pod.metadata.name;
            Err(status::forbidden(&attributes.group_resource(), name, why))
        };
        let conflicts = |(key, value): (&String, &String)| {
            selector.get(key).is_some_and(|selected| selected != value)
        };
        if required.iter().any(conflicts) {
            return refused(
                "pod node label selector conflicts with its namespace node label selector",
            );
        }
        let allowed = self.configured(&attributes.namespace)?;
        let is_allowed = |(key, value): (&String, &String)| allowed.get(key) == Some(value);
        if !allowed.is_empty() && !selector.iter().all(is_allowed) {
            return refused("pod node label selector labels conflict with its namespace whitelist");
        }
        Ok(())
    }
}

impl Plugin for PodNodeSelector {
    fn name(&self) -> &'static str {
        "PodNodeSelector"
    }

    fn steps(&self) -> Steps {
        Steps::Both
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is_main("", "pods") {
                return Ok(());
            }
            let required = self.required(&attributes.namespace, cluster).await?;
            if let Some(pod) = attributes.object_mut::<Pod>() {
                let selector = &mut pod.spec.node_selector;
                for (key, value) in &required {
                    selector.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
            self.check(attributes, &required)
        })
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is_main("", "pods") {
                return Ok(());
            }
            let required = self.required(&attributes.namespace, cluster).await?;
            self.check(attributes, &required)
        })
    }
}

/// Labels of a list of `key=value`. Upstream: labels.ConvertSelectorToLabelsMap.
fn parse(selector: &str) -> Result<Labels, String> {
    let mut labels = Labels::new();
    if selector.is_empty() {
        return Ok(labels);
    }
    for label in selector.split(',') {
        let parts: Vec<&str> = label.split('=').collect();
        let [key, value] = parts[..] else {
            return Err(format!("invalid selector: [{}]", parts.join(" ")));
        };
        let (key, value) = (key.trim(), value.trim());
        let invalid = |path: &Path, given: &str, problems: Vec<String>| {
            let error = apimachinery::field::invalid(path, given, problems.join("; "));
            Err(error.to_string())
        };
        let problems = is_qualified_name(key);
        if !problems.is_empty() {
            return invalid(&Path::new("key"), key, problems);
        }
        let problems = is_label_value(value);
        if !problems.is_empty() {
            return invalid(&Path::new("values").key(key), value, problems);
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let labels = Labels::from([
            ("a".to_owned(), "b".to_owned()),
            ("c".to_owned(), String::new()),
        ]);
        assert_eq!(parse("a=b, c ="), Ok(labels));
        assert_eq!(parse(""), Ok(Labels::new()));
        assert_eq!(parse("a"), Err("invalid selector: [a]".to_owned()));
        assert_eq!(parse("a==b"), Err("invalid selector: [a  b]".to_owned()));
        assert!(parse("a b=c").is_err_and(|why| why.starts_with("key: Invalid value: \"a b\": ")));
    }
}
