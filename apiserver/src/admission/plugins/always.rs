//! Plugins that need to know nothing of the cluster: AlwaysAdmit, AlwaysDeny, DenyServiceExternalIPs and
//! LimitPodHardAntiAffinityTopology. Upstream: the packages of these names in plugin/pkg/admission.

use api_types::core::v1::{Pod, Service};
use component_base::auth::BoxFuture;

use crate::admission::{Attributes, Cluster, Operation, Plugin, Steps, Verdict};

pub(super) struct AlwaysAdmit;

impl Plugin for AlwaysAdmit {
    fn name(&self) -> &'static str {
        "AlwaysAdmit"
    }

    fn steps(&self) -> Steps {
        Steps::Both
    }

    fn handles(&self, _: Operation) -> bool {
        true
    }
}

pub(super) struct AlwaysDeny;

impl Plugin for AlwaysDeny {
    fn name(&self) -> &'static str {
        "AlwaysDeny"
    }

    fn steps(&self) -> Steps {
        Steps::Both
    }

    fn handles(&self, _: Operation) -> bool {
        true
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            Err(attributes.forbidden("admission control is denying all modifications"))
        })
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            Err(attributes.forbidden("admission control is denying all modifications"))
        })
    }
}

/// CVE-2020-8554: an external address lets a user capture traffic to it.
pub(super) struct DenyServiceExternalIps;

impl Plugin for DenyServiceExternalIps {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
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
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is("", "services") {
                return Ok(());
            }
            let Some(new) = attributes.object::<Service>() else {
                return Ok(());
            };
            let before = attributes
                .old::<Service>()
                .map(|service| service.spec.external_ips.as_slice())
                .unwrap_or_default();
            if new
                .spec
                .external_ips
                .iter()
                .all(|address| before.contains(address))
            {
                return Ok(());
            }
            Err(attributes.forbidden("Use of external IPs is denied by admission control"))
        })
    }
}

/// Required anti-affinity on wide topologies would let one pod keep others out of whole zones.
pub(super) struct LimitPodHardAntiAffinityTopology;

impl Plugin for LimitPodHardAntiAffinityTopology {
    fn name(&self) -> &'static str {
        "LimitPodHardAntiAffinityTopology"
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
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is_main("", "pods") {
                return Ok(());
            }
            let affinity = attributes
                .object::<Pod>()
                .and_then(|pod| pod.spec.affinity.as_ref())
                .and_then(|affinity| affinity.pod_anti_affinity.as_ref());
            for term in affinity
                .iter()
                .flat_map(|affinity| &affinity.required_during_scheduling_ignored_during_execution)
            {
                if term.topology_key != "kubernetes.io/hostname" {
                    return Err(attributes.forbidden(format!(
                        "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {} but only key kubernetes.io/hostname is allowed",
                        term.topology_key
                    )));
                }
            }
            Ok(())
        })
    }
}
