//! Pod groups: what they are made from exists, they stay while pods are in them, and jobs in gangs keep their size.
//! Upstream: plugin/pkg/admission/{podgroup,scheduling/podgroupprotection,job}.

use api_types::batch::v1::Job;
use api_types::scheduling::v1alpha2::{PodGroup, Workload};
use apimachinery::owner_ref::is_controlled_by;
use apimachinery::quote::quote;
use component_base::auth::BoxFuture;

use crate::admission::{Attributes, Cluster, Freshness, Operation, Plugin, Steps, Verdict};

const GROUP: &str = "scheduling.k8s.io";
const POD_GROUPS: &str = "podgroups";
const WORKLOADS: &str = "workloads";
const FINALIZER: &str = "scheduling.k8s.io/podgroup-protection";

/// The feature of all of these.
pub(super) const FEATURE: &str = "GenericWorkload";

pub(super) struct PodGroupProtection {
    pub(super) enabled: bool,
}

impl Plugin for PodGroupProtection {
    fn name(&self) -> &'static str {
        "PodGroupProtection"
    }

    fn steps(&self) -> Steps {
        Steps::Admit
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !self.enabled || !attributes.is_main(GROUP, POD_GROUPS) {
                return Ok(());
            }
            if let Some(group) = attributes.object_mut::<PodGroup>()
                && !group.metadata.finalizers.iter().any(|it| it == FINALIZER)
            {
                group.metadata.finalizers.push(FINALIZER.to_owned());
            }
            Ok(())
        })
    }
}

pub(super) struct PodGroupWorkloadExists {
    pub(super) enabled: bool,
}

impl Plugin for PodGroupWorkloadExists {
    fn name(&self) -> &'static str {
        "PodGroupWorkloadExists"
    }

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !self.enabled || !attributes.is_main(GROUP, POD_GROUPS) {
                return Ok(());
            }
            let group = attributes.object::<PodGroup>();
            let reference = group.and_then(|group| group.spec.pod_group_template_ref.as_deref());
            let Some(reference) = reference.and_then(|it| it.workload.as_deref()) else {
                return Ok(());
            };
            let (namespace, name) = (&attributes.namespace, &reference.workload_name);
            let rejected =
                |why: String| Err(attributes.forbidden(format!("PodGroup rejected: {why}")));
            let mut found = None;
            // A group may come right after its workload, before the cache has it.
            for freshness in [Freshness::Cached, Freshness::Consistent] {
                if found.is_none() {
                    found = cluster
                        .get(GROUP, WORKLOADS, namespace, name, freshness)
                        .await?;
                }
            }
            let workload = found.as_ref().and_then(|found| found.get::<Workload>());
            let Some(workload) = workload else {
                return rejected(format!("Workload {} not found", quote(name)));
            };
            if workload.metadata.deletion_timestamp.is_some() {
                return rejected(format!("Workload {} is being deleted", quote(name)));
            }
            let template = &reference.pod_group_template_name;
            let mut templates = workload.spec.pod_group_templates.iter();
            if templates.any(|it| it.name == *template) {
                return Ok(());
            }
            rejected(format!(
                "PodGroupTemplate {} not found in Workload {}",
                quote(template),
                quote(name)
            ))
        })
    }
}

pub(super) struct JobValidation {
    pub(super) enabled: bool,
}

impl Plugin for JobValidation {
    fn name(&self) -> &'static str {
        "JobValidation"
    }

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !self.enabled || !attributes.is_main("batch", "jobs") {
                return Ok(());
            }
            let (Some(new), Some(old)) = (attributes.object::<Job>(), attributes.old::<Job>())
            else {
                return Ok(());
            };
            if new.spec.parallelism == old.spec.parallelism {
                return Ok(());
            }
            let Some(gang) = gang_of(old, cluster).await else {
                return Ok(());
            };
            Err(attributes.forbidden(format!(
                "cannot change parallelism for a Job referencing gang-scheduled PodGroup {}",
                quote(&gang)
            )))
        })
    }
}

/// The group that a job's pods are in, if they are scheduled all at once. Groups that cannot be read count as none, as upstream.
async fn gang_of(job: &Job, cluster: &dyn Cluster) -> Option<String> {
    let namespace = &job.metadata.namespace;
    let is_gang = |group: &PodGroup| group.spec.scheduling_policy.gang.is_some();
    let named = job.spec.template.spec.scheduling_group.as_deref();
    if let Some(name) = named.and_then(|group| group.pod_group_name.as_deref()) {
        let found = cluster.get(GROUP, POD_GROUPS, namespace, name, Freshness::Cached);
        let found = found.await.ok().flatten()?;
        let group = found.get::<PodGroup>().filter(|group| is_gang(group))?;
        return Some(group.metadata.name.clone());
    }
    let groups = cluster.list(GROUP, POD_GROUPS, namespace).await.ok()?;
    let groups = groups.iter().filter_map(|found| found.get::<PodGroup>());
    groups
        .filter(|group| is_controlled_by(&group.metadata, &job.metadata) && is_gang(group))
        .map(|group| group.metadata.name.clone())
        .next()
}
