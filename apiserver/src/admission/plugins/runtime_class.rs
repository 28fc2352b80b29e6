//! A pod of a runtime class gets the class's overhead and scheduling rules. Upstream: plugin/pkg/admission/runtimeclass.

use api_types::core::v1::Pod;
use api_types::node::v1::RuntimeClass as Class;
use apimachinery::status::StatusError;
use component_base::auth::BoxFuture;

use super::pod_toleration_restriction::merged;
use crate::admission::{Attributes, Cluster, Freshness, Operation, Plugin, Steps, Verdict};
use crate::registry::sent_empty::has_empty_overhead;

pub(super) struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
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
            let Some(class) = class_of(attributes, cluster).await? else {
                return Ok(());
            };
            let Some(pod) = attributes.object_mut::<Pod>() else {
                return Ok(());
            };
            match apply(pod, &class) {
                Ok(()) => Ok(()),
                Err(reason) => Err(attributes.forbidden(reason)),
            }
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
            let class = class_of(attributes, cluster).await?;
            let Some(pod) = attributes.object::<Pod>() else {
                return Ok(());
            };
            let overhead = class
                .as_ref()
                .and_then(|class| class.overhead.as_ref())
                .map(|overhead| &overhead.pod_fixed);
            match overhead {
                Some(fixed) if pod.spec.overhead != *fixed => {
                    Err(attributes.forbidden("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"))
                }
                // One of nothing, as JSON can say it, is set as well.
                None if !pod.spec.overhead.is_empty()
                    || attributes.object.as_ref().is_some_and(has_empty_overhead) =>
                {
                    Err(attributes.forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
                }
                _ => Ok(()),
            }
        })
    }
}

async fn class_of(
    attributes: &Attributes,
    cluster: &dyn Cluster,
) -> Result<Option<Class>, StatusError> {
    if !attributes.is_main("", "pods") {
        return Ok(None);
    }
    let Some(name) = attributes
        .object::<Pod>()
        .and_then(|pod| pod.spec.runtime_class_name.as_deref())
    else {
        return Ok(None);
    };
    for freshness in [Freshness::Cached, Freshness::Consistent] {
        if let Some(object) = cluster
            .get("node.k8s.io", "runtimeclasses", "", name, freshness)
            .await?
        {
            return Ok(object.get::<Class>().cloned());
        }
    }
    Err(attributes.forbidden(format!("pod rejected: RuntimeClass {name:?} not found")))
}

fn apply(pod: &mut Pod, class: &Class) -> Result<(), String> {
    if let Some(overhead) = &class.overhead {
        if !pod.spec.overhead.is_empty() && pod.spec.overhead != overhead.pod_fixed {
            return Err(
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
                    .to_owned(),
            );
        }
        pod.spec.overhead.clone_from(&overhead.pod_fixed);
    }
    let Some(scheduling) = &class.scheduling else {
        return Ok(());
    };
    for (label, value) in &scheduling.node_selector {
        match pod.spec.node_selector.get(label) {
            Some(own) if own != value => {
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{label}] = {value}; pod.spec.nodeSelector[{label}] = {own}"
                ));
            }
            _ => {
                pod.spec.node_selector.insert(label.clone(), value.clone());
            }
        }
    }
    let tolerations = [&pod.spec.tolerations[..], &scheduling.tolerations].concat();
    pod.spec.tolerations = merged(&tolerations);
    Ok(())
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::Toleration;
    use api_types::node::v1::Scheduling;

    use super::*;

    #[test]
    fn scheduling_rules_of_pod_and_class_are_merged() {
        let toleration = |key: &str, effect: &str| Toleration {
            key: key.into(),
            operator: "Exists".into(),
            effect: effect.into(),
            ..Toleration::default()
        };
        let mut scheduling = Scheduling::default();
        scheduling.node_selector.insert("k".into(), "v".into());
        scheduling.tolerations = vec![toleration("a", ""), toleration("b", "NoSchedule")];
        let class = Class {
            scheduling: Some(Box::new(scheduling)),
            ..Class::default()
        };
        let mut pod = Pod::default();
        pod.spec.tolerations = vec![toleration("a", "NoExecute"), toleration("b", "")];
        assert_eq!(apply(&mut pod, &class), Ok(()));
        assert_eq!(pod.spec.node_selector["k"], "v");
        assert_eq!(
            pod.spec.tolerations,
            [toleration("b", ""), toleration("a", "")],
            "what another covers goes"
        );
        pod.spec.node_selector.insert("k".into(), "w".into());
        assert_eq!(
            apply(&mut pod, &class).unwrap_err(),
            "conflict: runtimeClass.scheduling.nodeSelector[k] = v; pod.spec.nodeSelector[k] = w"
        );
    }
}
