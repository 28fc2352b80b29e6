//! Pod groups and workloads. Upstream: pkg/registry/scheduling.

use api_types::scheduling::v1alpha2::{PodGroup, PodGroupSpec, PodGroupTemplate, Workload};

use super::{Kind, Row, Status, row};
use crate::apis::gates;
use crate::apis::validation::pod_groups;

const GROUP: &str = "scheduling.k8s.io";

pub(super) static ROWS: &[Row] = &[
    row(GROUP, "PodGroup", "", &POD_GROUP),
    row(GROUP, "PodGroup", "status", &POD_GROUP_STATUS),
    row(GROUP, "Workload", "", &WORKLOAD),
];

/// Drops fields of features that are off, unless the old spec, or template, has them.
macro_rules! drop_disabled {
    ($spec:expr, $old:expr) => {{
        let (spec, old) = (&mut $spec, $old);
        let unless = |gate: &str, in_use: bool| !gates::enabled(gate) && !in_use;
        if unless(
            "TopologyAwareWorkloadScheduling",
            old.is_some_and(|old| old.scheduling_constraints.is_some()),
        ) {
            spec.scheduling_constraints = None;
        }
        if unless(
            "DRAWorkloadResourceClaims",
            old.is_some_and(|old| !old.resource_claims.is_empty()),
        ) {
            spec.resource_claims.clear();
        }
        let preemption = "WorkloadAwarePreemption";
        if unless(
            preemption,
            old.is_some_and(|old| old.disruption_mode.is_some()),
        ) {
            spec.disruption_mode = None;
        }
        if unless(
            preemption,
            old.is_some_and(|old| !old.priority_class_name.is_empty()),
        ) {
            spec.priority_class_name.clear();
        }
        if unless(preemption, old.is_some_and(|old| old.priority.is_some())) {
            spec.priority = None;
        }
    }};
}

static POD_GROUP: Kind<PodGroup> = Kind {
    prepare: |_, group| {
        drop_disabled!(group.spec, None::<&PodGroupSpec>);
        // The default, which upstream sets again whenever it reads the group.
        let mode = &mut group.spec.disruption_mode;
        mode.get_or_insert_with(|| "Pod".to_owned());
    },
    prepare_update: |_, group, old| drop_disabled!(group.spec, Some(&old.spec)),
    ..Kind::new(
        |_, group| pod_groups::validate_pod_group(group),
        |_, group, old| pod_groups::validate_pod_group_update(group, old),
    )
};

static POD_GROUP_STATUS: Status<PodGroup> = Status {
    keeps_metadata: true,
    prepare: |_, group, old| {
        if !gates::enabled("DRAWorkloadResourceClaims") && old.spec.resource_claims.is_empty() {
            group.status.resource_claim_statuses.clear();
        }
    },
    ..Status::new(|_, group, old| pod_groups::validate_pod_group_status_update(group, old))
};

static WORKLOAD: Kind<Workload> = Kind {
    prepare: |_, workload| {
        for template in &mut workload.spec.pod_group_templates {
            drop_disabled!(*template, None::<&PodGroupTemplate>);
        }
    },
    prepare_update: |_, workload, old| {
        let mut old = old.spec.pod_group_templates.iter();
        for template in &mut workload.spec.pod_group_templates {
            drop_disabled!(*template, old.next());
        }
    },
    reset_fields: &[],
    ..Kind::new(
        |_, workload| pod_groups::validate_workload(workload),
        |_, workload, old| pod_groups::validate_workload_update(workload, old),
    )
};
