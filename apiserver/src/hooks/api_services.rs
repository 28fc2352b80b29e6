//! An APIService for every group version that this server answers itself.
//! Upstream: pkg/controlplane/apiserver/aggregator.go and kube-aggregator's autoregister controller.

use std::collections::BTreeSet;

use api_types::apiregistration::v1::APIService;
use apimachinery::status::StatusError;

use crate::apis::strategies::api_registration::local_is_available;
use crate::loopback::Loopback;
use crate::server::ApiServer;

/// Says which APIServices this server keeps, and when.
pub(crate) const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// Priority of the group. Unknown ones come last.
pub(crate) fn group_priority(group: &str) -> i32 {
    match group {
        "" => 18_000,
        "apps" => 17_800,
        "events.k8s.io" => 17_750,
        "authentication.k8s.io" => 17_700,
        "authorization.k8s.io" => 17_600,
        "autoscaling" => 17_500,
        "batch" => 17_400,
        "certificates.k8s.io" => 17_300,
        "networking.k8s.io" => 17_200,
        "policy" => 17_100,
        "rbac.authorization.k8s.io" => 17_000,
        "storage.k8s.io" => 16_800,
        "apiextensions.k8s.io" | "admissionregistration.k8s.io" => 16_700,
        "scheduling.k8s.io" => 16_600,
        "coordination.k8s.io" => 16_500,
        "node.k8s.io" => 16_300,
        "discovery.k8s.io" | "resource.k8s.io" => 16_200,
        "flowcontrol.apiserver.k8s.io" => 16_100,
        "internal.apiserver.k8s.io" => 16_000,
        _ => 15_900,
    }
}

/// Priority of a version within its group.
pub(crate) fn version_priority(group: &str, version: &str) -> i32 {
    match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io" | "resource.k8s.io", "v1") => 21,
        ("resource.k8s.io", "v1beta2") => 15,
        ("coordination.k8s.io", "v1beta1") => 13,
        ("coordination.k8s.io", "v1alpha2") | ("admissionregistration.k8s.io", "v1beta1") => 12,
        ("admissionregistration.k8s.io" | "internal.apiserver.k8s.io", "v1alpha1") => 9,
        ("scheduling.k8s.io", "v1alpha2") => 2,
        (_, "v1") => 15,
        (_, version) if version.contains("beta") => 9,
        _ => 1,
    }
}

pub(super) async fn run(server: &ApiServer, client: &Loopback) -> Result<(), StatusError> {
    let served: BTreeSet<(&str, &str)> = server
        .resources
        .built_in()
        .iter()
        .map(|row| (row.info.group, row.info.version))
        // The group of APIServices itself is not aggregated.
        .filter(|(group, _)| *group != "apiregistration.k8s.io")
        .collect();
    for (group, version) in &served {
        let name = format!("{version}.{group}");
        let wanted = wanted(&name, group, version);
        let stored = match client.get::<APIService>("", &name).await? {
            None => client.create(wanted).await?,
            // Taken over by its user.
            Some(found) if !found.metadata.labels.contains_key(AUTOMANAGED) => continue,
            Some(found) if found.spec == wanted.spec => found,
            Some(mut found) => {
                found.spec = wanted.spec;
                client.update(found).await?
            }
        };
        // One that an older server has stored.
        if stored.status.conditions.is_empty() {
            let mut stored = stored;
            stored.status.conditions.push(local_is_available());
            client.update_status(stored).await?;
        }
    }
    for old in client.list::<APIService>("").await? {
        let local = old.spec.service.is_none();
        let ours = old
            .metadata
            .labels
            .get(AUTOMANAGED)
            .is_some_and(|kind| kind == "onstart");
        if ours && local && !served.contains(&(old.spec.group.as_str(), old.spec.version.as_str()))
        {
            client.delete::<APIService>("", &old.metadata.name).await?;
        }
    }
    Ok(())
}

fn wanted(name: &str, group: &str, version: &str) -> APIService {
    let mut wanted = APIService::default();
    name.clone_into(&mut wanted.metadata.name);
    wanted
        .metadata
        .labels
        .insert(AUTOMANAGED.to_owned(), "onstart".to_owned());
    group.clone_into(&mut wanted.spec.group);
    version.clone_into(&mut wanted.spec.version);
    wanted.spec.group_priority_minimum = group_priority(group);
    wanted.spec.version_priority = version_priority(group, version);
    wanted
}

#[cfg(test)]
mod tests {
    use api_types::resources::RESOURCES;

    use super::*;

    #[test]
    fn newer_versions_come_first() {
        // In discovery order, the versions of a group come from the newest on.
        for (i, info) in RESOURCES.iter().enumerate() {
            for later in RESOURCES[i + 1..]
                .iter()
                .filter(|it| it.group == info.group)
            {
                let priority = |version| version_priority(info.group, version);
                let (first, second) = (priority(info.version), priority(later.version));
                assert!(first >= second, "{info:?} and {later:?}");
            }
        }
        assert_eq!(version_priority("coordination.k8s.io", "v1alpha2"), 12);
        assert_eq!(version_priority("resource.k8s.io", "v1alpha3"), 1);
    }
}
