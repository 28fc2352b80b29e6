//! Tolerations that pods get by default: of nodes that do not answer, for a while, and of nodes kept for a resource they ask for.
//! Upstream: plugin/pkg/admission/{defaulttolerationseconds,extendedresourcetoleration}.

use std::collections::BTreeSet;

use api_types::core::v1::{Pod, Toleration};
use apimachinery::resource::is_extended_resource_name;
use component_base::auth::BoxFuture;

use super::Settings;
use crate::admission::{Attributes, Cluster, Operation, Plugin, Steps, Verdict};

pub(super) struct DefaultTolerationSeconds {
    tolerations: [Toleration; 2],
}

impl DefaultTolerationSeconds {
    pub(super) fn new(settings: &Settings) -> Self {
        let toleration = |key: &str, seconds| Toleration {
            key: key.to_owned(),
            operator: "Exists".to_owned(),
            effect: "NoExecute".to_owned(),
            toleration_seconds: Some(seconds),
            ..Toleration::default()
        };
        Self {
            tolerations: [
                toleration(
                    "node.kubernetes.io/not-ready",
                    settings.not_ready_toleration_seconds,
                ),
                toleration(
                    "node.kubernetes.io/unreachable",
                    settings.unreachable_toleration_seconds,
                ),
            ],
        }
    }
}

impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn steps(&self) -> Steps {
        Steps::Admit
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if attributes.is_main("", "pods")
                && let Some(pod) = attributes.object_mut::<Pod>()
            {
                add(&mut pod.spec.tolerations, &self.tolerations);
            }
            Ok(())
        })
    }
}

/// Adds those whose taint no toleration of the pod's own is about.
fn add(tolerations: &mut Vec<Toleration>, defaults: &[Toleration]) {
    let own = tolerations.clone();
    for default in defaults {
        let about = |toleration: &Toleration| {
            (toleration.key == default.key || toleration.key.is_empty())
                && (toleration.effect == default.effect || toleration.effect.is_empty())
        };
        if !own.iter().any(about) {
            tolerations.push(default.clone());
        }
    }
}

pub(super) struct ExtendedResourceToleration;

impl Plugin for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn steps(&self) -> Steps {
        Steps::Admit
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is_main("", "pods") {
                return Ok(());
            }
            let Some(pod) = attributes.object_mut::<Pod>() else {
                return Ok(());
            };
            tolerate_resources(pod);
            Ok(())
        })
    }
}

/// Adds a toleration for each extended resource that the pod asks for.
fn tolerate_resources(pod: &mut Pod) {
    let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    let resources: BTreeSet<String> = containers
        .flat_map(|container| container.resources.requests.keys())
        .filter(|name| is_extended_resource_name(name))
        .cloned()
        .collect();
    for key in resources {
        let toleration = Toleration {
            key,
            operator: "Exists".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Toleration::default()
        };
        let mut found = false;
        for own in &mut pod.spec.tolerations {
            // How long does not tell two tolerations apart.
            let seconds = own.toleration_seconds.take();
            if *own == toleration {
                found = true;
            } else {
                own.toleration_seconds = seconds;
            }
        }
        if !found {
            pod.spec.tolerations.push(toleration);
        }
    }
}

#[cfg(test)]
mod tests {
    use api_types::Quantity;
    use api_types::core::v1::Container;

    use super::*;

    #[test]
    fn a_pod_with_its_own_toleration_gets_no_default() {
        let plugin = DefaultTolerationSeconds::new(&Settings::default());
        let own = |key: &str, effect: &str| Toleration {
            key: key.into(),
            effect: effect.into(),
            operator: "Exists".into(),
            ..Toleration::default()
        };
        #[track_caller]
        fn check(plugin: &DefaultTolerationSeconds, mut given: Vec<Toleration>, expected: &[&str]) {
            let before = given.len();
            add(&mut given, &plugin.tolerations);
            assert_eq!(
                given[before..]
                    .iter()
                    .map(|toleration| toleration.key.as_str())
                    .collect::<Vec<_>>(),
                expected
            );
        }
        let (not_ready, unreachable) = (
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unreachable",
        );
        check(&plugin, vec![], &[not_ready, unreachable]);
        check(&plugin, vec![own(not_ready, "NoExecute")], &[unreachable]);
        check(
            &plugin,
            vec![own(not_ready, "NoSchedule")],
            &[not_ready, unreachable],
        );
        check(&plugin, vec![own("", "")], &[]);
        check(&plugin, vec![own("other", "")], &[not_ready, unreachable]);
    }

    #[test]
    fn taints_of_extended_resources_are_tolerated_for_scheduling_only() {
        let mut pod = Pod::default();
        let mut container = Container::default();
        for name in ["cpu", "example.com/gpu", "a.kubernetes.io/x"] {
            let one = Quantity::parse("1").expect("a quantity");
            container.resources.requests.insert(name.to_owned(), one);
        }
        pod.spec.init_containers.push(container);
        tolerate_resources(&mut pod);
        let gpu = Toleration {
            key: "example.com/gpu".into(),
            operator: "Exists".into(),
            effect: "NoSchedule".into(),
            ..Toleration::default()
        };
        assert_eq!(pod.spec.tolerations, std::slice::from_ref(&gpu));
        // Such a toleration with an end loses it; one for every effect is another.
        let every = Toleration {
            effect: String::new(),
            ..gpu.clone()
        };
        let ends = Toleration {
            toleration_seconds: Some(1),
            ..gpu.clone()
        };
        pod.spec.tolerations = vec![ends, every.clone()];
        tolerate_resources(&mut pod);
        assert_eq!(pod.spec.tolerations, [gpu, every]);
    }
}
