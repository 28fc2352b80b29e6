//! AlwaysPullImages: images are pulled for each pod, so that its credentials are checked: a private image that is on the node already
//! is no free lunch. Upstream: plugin/pkg/admission/alwayspullimages, which leaves ephemeral containers out.

use std::collections::HashSet;

use api_types::core::v1::{Pod, PodSpec};
use apimachinery::field::{self, Path};
use component_base::auth::BoxFuture;

use crate::admission::{Attributes, Cluster, Operation, Plugin, Verdict};
use crate::registry::errors;

const ALWAYS: &str = "Always";

pub(super) struct AlwaysPullImages;

impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
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
            if applies(attributes)
                && let Some(pod) = attributes.object_mut::<Pod>()
            {
                for policy in policies_of(&mut pod.spec) {
                    ALWAYS.clone_into(policy);
                }
            }
            Ok(())
        })
    }

    /// Others may have changed the pod since.
    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !applies(attributes) {
                return Ok(());
            }
            let Some(pod) = attributes.object::<Pod>() else {
                return Ok(());
            };
            let wrong = wrong_policies(&pod.spec).into_iter().map(|(path, policy)| {
                let error = field::not_supported(&path, policy, &[ALWAYS]);
                attributes.forbidden(error.to_string()).message.clone()
            });
            // A list of errors is no Status of upstream's.
            match field::aggregate(wrong) {
                Some(message) => Err(errors::plain(message)),
                None => Ok(()),
            }
        })
    }
}

/// It is about pods with images that they did not have.
fn applies(attributes: &Attributes) -> bool {
    if !attributes.is("", "pods")
        || !matches!(attributes.subresource.as_str(), "" | "ephemeralcontainers")
    {
        return false;
    }
    match (attributes.operation, attributes.old::<Pod>()) {
        (Operation::Update, Some(old)) => {
            let before = images_of(&old.spec);
            let new = attributes.object::<Pod>();
            new.is_none_or(|new| !images_of(&new.spec).is_subset(&before))
        }
        _ => true,
    }
}

/// The images of all containers.
fn images_of(spec: &PodSpec) -> HashSet<&str> {
    let containers = spec.init_containers.iter().chain(&spec.containers);
    let ephemeral = spec.ephemeral_containers.iter();
    let ephemeral = ephemeral.map(|container| &container.ephemeral_container_common.image);
    let images = containers.map(|container| &container.image);
    images.chain(ephemeral).map(String::as_str).collect()
}

/// The pull policies of all containers and of volumes that are images.
fn policies_of(spec: &mut PodSpec) -> impl Iterator<Item = &mut String> {
    let containers = spec.init_containers.iter_mut().chain(&mut spec.containers);
    let containers = containers.map(|container| &mut container.image_pull_policy);
    let ephemeral = spec.ephemeral_containers.iter_mut();
    let ephemeral =
        ephemeral.map(|container| &mut container.ephemeral_container_common.image_pull_policy);
    let volumes = spec.volumes.iter_mut();
    let images = volumes.filter_map(|volume| volume.volume_source.image.as_mut());
    let volumes = images.map(|image| &mut image.pull_policy);
    containers.chain(ephemeral).chain(volumes)
}

/// Those that are not as they should be, and where they are.
fn wrong_policies(spec: &PodSpec) -> Vec<(Path, &str)> {
    let spec_path = Path::new("spec");
    let at = |list: &'static str, index: usize| spec_path.child(list).index(index);
    let mut policies = Vec::new();
    for (list, containers) in [
        ("initContainers", &spec.init_containers),
        ("containers", &spec.containers),
    ] {
        for (index, container) in containers.iter().enumerate() {
            let path = at(list, index).child("imagePullPolicy");
            policies.push((path, container.image_pull_policy.as_str()));
        }
    }
    for (index, container) in spec.ephemeral_containers.iter().enumerate() {
        let path = at("ephemeralContainers", index).child("imagePullPolicy");
        let container = &container.ephemeral_container_common;
        policies.push((path, container.image_pull_policy.as_str()));
    }
    for (index, volume) in spec.volumes.iter().enumerate() {
        if let Some(image) = &volume.volume_source.image {
            let path = at("volumes", index).child("image").child("pullPolicy");
            policies.push((path, image.pull_policy.as_str()));
        }
    }
    policies.retain(|(_, policy)| *policy != ALWAYS);
    policies
}
