//! AlwaysPullImages: credentials are checked for every pod, so that a private image that is on the node already is not for all.
//! Upstream: plugin/pkg/admission/alwayspullimages.

use std::collections::HashSet;

use api_types::core::v1::{Pod, PodSpec};
use apimachinery::field::{self, Path};
use component_base::auth::BoxFuture;

use crate::admission::{Attributes, Cluster, Operation, Plugin, Steps, Verdict};
use crate::registry::errors;

const ALWAYS: &str = "Always";

pub(super) struct AlwaysPullImages;

impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn steps(&self) -> Steps {
        Steps::Both
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
            if !is_about(attributes) {
                return Ok(());
            }
            if let Some(pod) = attributes.object_mut::<Pod>() {
                for policy in policies_mut(&mut pod.spec) {
                    ALWAYS.clone_into(policy);
                }
            }
            Ok(())
        })
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let Some(pod) = attributes.object::<Pod>().filter(|_| is_about(attributes)) else {
                return Ok(());
            };
            let refusals = policies(&pod.spec)
                .filter(|(_, policy)| *policy != ALWAYS)
                .map(|(path, policy)| {
                    let error = field::not_supported(&path, policy, &[ALWAYS]);
                    attributes.forbidden(error).to_string()
                });
            match field::aggregate(refusals) {
                Some(refusals) => Err(errors::plain(refusals)),
                None => Ok(()),
            }
        })
    }
}

/// New pods, and pods that get another image.
fn is_about(attributes: &Attributes) -> bool {
    if !attributes.is_main("", "pods") {
        return false;
    }
    let (Operation::Update, Some(new), Some(old)) = (
        attributes.operation,
        attributes.object::<Pod>(),
        attributes.old::<Pod>(),
    ) else {
        return true;
    };
    let known: HashSet<&str> = images(&old.spec).collect();
    !images(&new.spec).all(|image| known.contains(image))
}

fn images(spec: &PodSpec) -> impl Iterator<Item = &str> {
    let containers = spec.init_containers.iter().chain(&spec.containers);
    let ephemeral = spec.ephemeral_containers.iter();
    containers
        .map(|container| &*container.image)
        .chain(ephemeral.map(|container| &*container.ephemeral_container_common.image))
}

fn policies_mut(spec: &mut PodSpec) -> impl Iterator<Item = &mut String> {
    let containers = spec.init_containers.iter_mut().chain(&mut spec.containers);
    let ephemeral = spec.ephemeral_containers.iter_mut();
    let volumes = spec.volumes.iter_mut();
    containers
        .map(|container| &mut container.image_pull_policy)
        .chain(
            ephemeral.map(|container| &mut container.ephemeral_container_common.image_pull_policy),
        )
        .chain(
            volumes
                .filter_map(|volume| Some(&mut volume.volume_source.image.as_mut()?.pull_policy)),
        )
}

fn policies(spec: &PodSpec) -> impl Iterator<Item = (Path, &str)> {
    let root = Path::new("spec");
    let of_containers = |name: &'static str| {
        let list = root.child(name);
        move |index| list.index(index).child("imagePullPolicy")
    };
    let (init, main, ephemeral) = (
        of_containers("initContainers"),
        of_containers("containers"),
        of_containers("ephemeralContainers"),
    );
    let volumes = root.child("volumes");
    let rows = spec.init_containers.iter().enumerate();
    let rows = rows.map(move |(index, container)| (init(index), &*container.image_pull_policy));
    let more = spec.containers.iter().enumerate();
    let rows = rows
        .chain(more.map(move |(index, container)| (main(index), &*container.image_pull_policy)));
    let more = spec.ephemeral_containers.iter().enumerate();
    let rows = rows.chain(more.map(move |(index, container)| {
        let container = &container.ephemeral_container_common;
        (ephemeral(index), &*container.image_pull_policy)
    }));
    let more = spec.volumes.iter().enumerate();
    rows.chain(more.filter_map(move |(index, volume)| {
        let image = volume.volume_source.image.as_ref()?;
        let path = volumes.index(index).child("image").child("pullPolicy");
        Some((path, &*image.pull_policy))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::plugins::testing::{Few, create, update};

    fn pod(image: &str, policy: &str) -> Pod {
        let pod = serde_json::json!({"spec": {
            "initContainers": [{"name": "i", "image": image, "imagePullPolicy": policy}],
            "containers": [{"name": "c", "image": image, "imagePullPolicy": policy}],
            "volumes": [{"name": "e"}, {"name": "v", "image": {"reference": "r", "pullPolicy": policy}}],
        }});
        api_types::decode_json(pod.to_string().as_bytes()).expect("a pod")
    }

    fn set(attributes: &Attributes) -> Vec<&str> {
        let pod = attributes.object::<Pod>().expect("a pod");
        policies(&pod.spec).map(|(_, policy)| policy).collect()
    }

    async fn refusal(attributes: &Attributes) -> Option<String> {
        let cluster = Few::default();
        let verdict = AlwaysPullImages.validate(attributes, &cluster).await;
        verdict.err().map(|error| error.to_string())
    }

    #[tokio::test]
    async fn every_image_is_pulled() {
        let mut attributes = create(pod("a", "IfNotPresent"));
        assert_eq!(
            refusal(&attributes).await.as_deref(),
            Some(
                "[pods \"p\" is forbidden: spec.initContainers[0].imagePullPolicy: Unsupported value: \"IfNotPresent\": supported values: \"Always\", \
                 pods \"p\" is forbidden: spec.containers[0].imagePullPolicy: Unsupported value: \"IfNotPresent\": supported values: \"Always\", \
                 pods \"p\" is forbidden: spec.volumes[1].image.pullPolicy: Unsupported value: \"IfNotPresent\": supported values: \"Always\"]"
            )
        );
        let cluster = Few::default();
        let verdict = AlwaysPullImages.admit(&mut attributes, &cluster).await;
        assert!(verdict.is_ok());
        assert_eq!(set(&attributes), ["Always"; 3]);
        assert_eq!(refusal(&attributes).await, None);
    }

    #[tokio::test]
    async fn updates_without_another_image_pass() {
        let cluster = Few::default();
        let mut same = update(pod("a", "Never"), pod("a", "Never"));
        let verdict = AlwaysPullImages.admit(&mut same, &cluster).await;
        assert!(verdict.is_ok());
        assert_eq!(set(&same), ["Never"; 3]);
        assert_eq!(refusal(&same).await, None);
        let mut other = update(pod("a", "Never"), pod("b", "Never"));
        assert!(refusal(&other).await.is_some());
        let verdict = AlwaysPullImages.admit(&mut other, &cluster).await;
        assert!(verdict.is_ok());
        assert_eq!(set(&other), ["Always"; 3]);
        let mut ephemeral = Attributes {
            subresource: "ephemeralcontainers".to_owned(),
            ..update(pod("a", "Never"), pod("b", "Never"))
        };
        let verdict = AlwaysPullImages.admit(&mut ephemeral, &cluster).await;
        assert!(verdict.is_ok());
        assert_eq!(set(&ephemeral), ["Never"; 3]);
        assert_eq!(refusal(&ephemeral).await, None);
    }
}
