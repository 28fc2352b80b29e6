//! The two priority classes of system pods. Upstream: pkg/registry/scheduling/rest.

use api_types::scheduling::v1::PriorityClass;
use apimachinery::status::StatusError;

use crate::loopback::Loopback;

/// Name, value, description.
const CLASSES: [(&str, i32, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// Whether a class is one of the system's.
pub(crate) fn is_system(class: &str) -> bool {
    CLASSES.iter().any(|(name, ..)| *name == class)
}

pub(super) async fn run(client: &Loopback) -> Result<(), StatusError> {
    for (name, value, description) in CLASSES {
        if client.get::<PriorityClass>("", name).await?.is_some() {
            continue;
        }
        let mut class = PriorityClass {
            value,
            description: description.to_owned(),
            ..PriorityClass::default()
        };
        name.clone_into(&mut class.metadata.name);
        client.ensure(class).await?;
    }
    Ok(())
}
