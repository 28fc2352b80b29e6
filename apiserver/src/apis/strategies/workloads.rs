//! The kinds of apps and batch, and replication controllers. Upstream: pkg/registry/apps, pkg/registry/batch and
//! pkg/registry/core/replicationcontroller.

use api_types::apps::v1::*;
use api_types::batch::v1::{CronJob, Job, JobSpec};
use api_types::core::v1::ReplicationController;
use apimachinery::field::{ErrorList, Path};

use super::pod_fields::drop_disabled_template_fields;
use super::pod_warnings::{claim_spec_warnings, template_warnings};
use super::{Generation, Kind, Row, Status, host_name_warning, path, row};
use crate::apis::gates;
use crate::apis::validation::batch::{CONTROLLER_UID_LABELS, JOB_NAME_LABELS};
use crate::apis::validation::{apps, batch, core};
use crate::registry::strategy::GarbageCollection;

pub(super) static ROWS: &[Row] = &[
    row("apps", "Deployment", "", &DEPLOYMENT),
    row("apps", "Deployment", "status", &DEPLOYMENT_STATUS),
    row("apps", "ReplicaSet", "", &REPLICA_SET),
    row("apps", "ReplicaSet", "status", &REPLICA_SET_STATUS),
    row("apps", "DaemonSet", "", &DAEMON_SET),
    row("apps", "DaemonSet", "status", &DAEMON_SET_STATUS),
    row("apps", "StatefulSet", "", &STATEFUL_SET),
    row("apps", "StatefulSet", "status", &STATEFUL_SET_STATUS),
    row("apps", "ControllerRevision", "", &CONTROLLER_REVISION),
    row("batch", "Job", "", &JOB),
    row("batch", "Job", "status", &JOB_STATUS),
    row("batch", "CronJob", "", &CRON_JOB),
    row("batch", "CronJob", "status", &CRON_JOB_STATUS),
    row("", "ReplicationController", "", &REPLICATION_CONTROLLER),
    row(
        "",
        "ReplicationController",
        "status",
        &REPLICATION_CONTROLLER_STATUS,
    ),
];

const IN_NAMES: &str = "Pod names and hostnames";

fn spec_template() -> Path {
    path(&["spec", "template"])
}

// === apps ===

static DEPLOYMENT: Kind<Deployment> = Kind {
    prepare: |_, deployment| drop_disabled_template_fields(&mut deployment.spec.template, None),
    prepare_update: |_, deployment, old| {
        drop_disabled_template_fields(&mut deployment.spec.template, Some(&old.spec.template));
    },
    warn: |_, deployment| {
        let name = host_name_warning(&deployment.metadata.name, IN_NAMES);
        let template = template_warnings(&spec_template(), &deployment.spec.template);
        name.into_iter().chain(template).collect()
    },
    warn_update: |_, deployment, old| {
        if deployment.metadata.generation == old.metadata.generation {
            return Vec::new();
        }
        template_warnings(&spec_template(), &deployment.spec.template)
    },
    generation: Generation::SpecOrAnnotations,
    ..Kind::new(
        |_, deployment| apps::validate_deployment(deployment),
        |_, deployment, old| apps::validate_deployment_update(deployment, old),
    )
};

static DEPLOYMENT_STATUS: Status<Deployment> = Status {
    prepare: |_, deployment, old| {
        deployment.metadata.labels.clone_from(&old.metadata.labels);
        let unused = old.status.terminating_replicas.is_none();
        if unused && !gates::enabled("DeploymentReplicaSetTerminatingReplicas") {
            deployment.status.terminating_replicas = None;
        }
    },
    ..Status::new(|_, deployment, old| apps::validate_deployment_status_update(deployment, old))
};

static REPLICA_SET: Kind<ReplicaSet> = Kind {
    prepare: |_, set| drop_disabled_template_fields(&mut set.spec.template, None),
    prepare_update: |_, set, old| {
        drop_disabled_template_fields(&mut set.spec.template, Some(&old.spec.template));
    },
    warn: |_, set| {
        let name = host_name_warning(&set.metadata.name, IN_NAMES);
        let template = template_warnings(&spec_template(), &set.spec.template);
        name.into_iter().chain(template).collect()
    },
    warn_update: |_, set, old| {
        if set.metadata.generation == old.metadata.generation {
            return Vec::new();
        }
        template_warnings(&spec_template(), &set.spec.template)
    },
    generation: Generation::Spec,
    ..Kind::new(
        |_, set| apps::validate_replica_set(set),
        |_, set, old| apps::validate_replica_set_update(set, old),
    )
};

static REPLICA_SET_STATUS: Status<ReplicaSet> = Status {
    prepare: |_, set, old| {
        let unused = old.status.terminating_replicas.is_none();
        if unused && !gates::enabled("DeploymentReplicaSetTerminatingReplicas") {
            set.status.terminating_replicas = None;
        }
    },
    ..Status::new(|_, set, old| apps::validate_replica_set_status_update(set, old))
};

static DAEMON_SET: Kind<DaemonSet> = Kind {
    prepare: |_, set| {
        if apps::template_generation(set) < 1 {
            apps::set_template_generation(set, 1);
        }
        drop_disabled_template_fields(&mut set.spec.template, None);
    },
    prepare_update: |_, set, old| {
        drop_disabled_template_fields(&mut set.spec.template, Some(&old.spec.template));
        // The template's generation is the server's, whatever the request says.
        let changed = set.spec.template != old.spec.template;
        apps::set_template_generation(set, apps::template_generation(old) + i64::from(changed));
    },
    warn: |_, set| template_warnings(&spec_template(), &set.spec.template),
    warn_update: |_, set, old| {
        if apps::template_generation(set) == apps::template_generation(old) {
            return Vec::new();
        }
        template_warnings(&spec_template(), &set.spec.template)
    },
    generation: Generation::Spec,
    ..Kind::new(
        |_, set| apps::validate_daemon_set(set),
        |_, set, old| apps::validate_daemon_set_update(set, old),
    )
};

static DAEMON_SET_STATUS: Status<DaemonSet> = Status {
    prepare: |_, set, old| apps::set_template_generation(set, apps::template_generation(old)),
    ..Status::new(|_, set, old| apps::validate_daemon_set_status_update(set, old))
};

static STATEFUL_SET: Kind<StatefulSet> = Kind {
    prepare: |_, set| prepare_stateful_set(set, None),
    prepare_update: |_, set, old| prepare_stateful_set(set, Some(old)),
    warn: |_, set| {
        let mut warnings = template_warnings(&spec_template(), &set.spec.template);
        for (i, claim) in set.spec.volume_claim_templates.iter().enumerate() {
            let path = path(&["spec", "volumeClaimTemplates"]).index(i);
            warnings.extend(claim_spec_warnings(&claim.spec, &path));
        }
        warnings.extend(endless_history(set));
        warnings
    },
    warn_update: |_, set, old| {
        let mut warnings = Vec::new();
        if set.metadata.generation != old.metadata.generation {
            warnings = template_warnings(&spec_template(), &set.spec.template);
        }
        for (i, claim) in set.spec.volume_claim_templates.iter().enumerate() {
            let path = path(&["spec", "volumeClaimTemplates"])
                .index(i)
                .child("Spec");
            warnings.extend(claim_spec_warnings(&claim.spec, &path));
        }
        warnings.extend(endless_history(set));
        warnings
    },
    generation: Generation::Spec,
    ..Kind::new(
        |_, set| apps::validate_stateful_set(set),
        |_, set, old| apps::validate_stateful_set_update(set, old),
    )
};

static STATEFUL_SET_STATUS: Status<StatefulSet> =
    Status::new(|_, set, old| apps::validate_stateful_set_status_update(set, old));

fn prepare_stateful_set(set: &mut StatefulSet, old: Option<&StatefulSet>) {
    let uses = |set: &StatefulSet| {
        let rolling = set.spec.update_strategy.rolling_update.as_ref();
        rolling.is_some_and(|rolling| rolling.max_unavailable.is_some())
    };
    if !gates::enabled("MaxUnavailableStatefulSet")
        && !old.is_some_and(uses)
        && let Some(rolling) = &mut set.spec.update_strategy.rolling_update
    {
        rolling.max_unavailable = None;
    }
    drop_disabled_template_fields(&mut set.spec.template, old.map(|old| &old.spec.template));
}

fn endless_history(set: &StatefulSet) -> Option<String> {
    let warning = "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended";
    let negative = set
        .spec
        .revision_history_limit
        .is_some_and(|limit| limit < 0);
    negative.then(|| warning.to_owned())
}

static CONTROLLER_REVISION: Kind<ControllerRevision> = Kind::new(
    |_, revision| apps::validate_controller_revision(revision),
    |_, revision, old| apps::validate_controller_revision_update(revision, old),
);

// === batch ===

static JOB: Kind<Job> = Kind {
    prepare: |_, job| {
        if job.spec.manual_selector != Some(true) {
            generate_selector(job);
        }
        drop_disabled_job_fields(&mut job.spec, None);
    },
    prepare_update: |_, job, old| drop_disabled_job_fields(&mut job.spec, Some(&old.spec)),
    warn: |_, job| {
        let name = host_name_warning(&job.metadata.name, IN_NAMES);
        name.into_iter()
            .chain(job_warnings(&job.spec, &Path::new("spec")))
            .collect()
    },
    warn_update: |_, job, old| {
        if job.metadata.generation == old.metadata.generation {
            return Vec::new();
        }
        job_warnings(&job.spec, &Path::new("spec"))
    },
    generation: Generation::Spec,
    garbage_collection: GarbageCollection::OrphanDependents,
    ..Kind::new(
        |_, job| batch::validate_job(job),
        |_, job, old| batch::validate_job_update(job, old),
    )
};

static JOB_STATUS: Status<Job> =
    Status::new(|_, job, old| batch::validate_job_status_update(job, old));

/// Ties a job to its pods by the job's UID, which is unique where a name is not.
fn generate_selector(job: &mut Job) {
    let labels = &mut job.spec.template.metadata.labels;
    for key in JOB_NAME_LABELS {
        labels
            .entry(key.to_owned())
            .or_insert_with(|| job.metadata.name.clone());
    }
    for key in CONTROLLER_UID_LABELS {
        labels
            .entry(key.to_owned())
            .or_insert_with(|| job.metadata.uid.clone());
    }
    let selector = job.spec.selector.get_or_insert_default();
    selector
        .match_labels
        .entry(CONTROLLER_UID_LABELS[1].to_owned())
        .or_insert_with(|| job.metadata.uid.clone());
}

fn drop_disabled_job_fields(spec: &mut JobSpec, old: Option<&JobSpec>) {
    let unused = |gate: &str, in_use: fn(&JobSpec) -> bool| {
        !gates::enabled(gate) && !old.is_some_and(in_use)
    };
    if old.is_none() && !gates::enabled("JobManagedBy") {
        spec.managed_by = None;
    }
    if unused("JobSuccessPolicy", |old| old.success_policy.is_some()) {
        spec.success_policy = None;
    }
    if unused("JobBackoffLimitPerIndex", |old| {
        old.backoff_limit_per_index.is_some()
    }) {
        spec.backoff_limit_per_index = None;
    }
    if unused("JobBackoffLimitPerIndex", |old| {
        old.max_failed_indexes.is_some()
    }) {
        spec.max_failed_indexes = None;
    }
    if unused("JobPodReplacementPolicy", |old| {
        old.pod_replacement_policy.is_some()
    }) {
        spec.pod_replacement_policy = None;
    }
    drop_disabled_template_fields(&mut spec.template, old.map(|old| &old.template));
}

fn job_warnings(spec: &JobSpec, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let indexed = spec.completion_mode.as_deref() == Some("Indexed");
    if indexed && spec.completions.unwrap_or(0) > 100_000 && spec.parallelism.unwrap_or(0) > 10_000
    {
        warnings.push(format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
    warnings.extend(template_warnings(&path.child("template"), &spec.template));
    warnings
}

static CRON_JOB: Kind<CronJob> = Kind {
    prepare: |_, job| drop_disabled_template_fields(&mut job.spec.job_template.spec.template, None),
    prepare_update: |_, job, old| {
        let old = &old.spec.job_template.spec.template;
        drop_disabled_template_fields(&mut job.spec.job_template.spec.template, Some(old));
    },
    warn: |_, job| {
        let name = host_name_warning(&job.metadata.name, IN_NAMES);
        let path = path(&["spec", "jobTemplate", "spec"]);
        name.into_iter()
            .chain(job_warnings(&job.spec.job_template.spec, &path))
            .collect()
    },
    warn_update: |_, job, old| {
        let mut warnings = Vec::new();
        if job.metadata.generation != old.metadata.generation {
            let path = path(&["spec", "jobTemplate", "spec"]);
            warnings = job_warnings(&job.spec.job_template.spec, &path);
        }
        if job.spec.schedule.contains("TZ") {
            warnings.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
        }
        warnings
    },
    generation: Generation::Spec,
    ..Kind::new(
        |_, job| batch::validate_cron_job(job),
        |_, job, old| batch::validate_cron_job_update(job, old),
    )
};

static CRON_JOB_STATUS: Status<CronJob> = Status::new(|_, _, _| ErrorList::default());

// === ReplicationController ===

static REPLICATION_CONTROLLER: Kind<ReplicationController> = Kind {
    prepare: |_, controller| {
        if let Some(template) = &mut controller.spec.template {
            drop_disabled_template_fields(template, None);
        }
    },
    prepare_update: |_, controller, old| {
        if let Some(template) = &mut controller.spec.template {
            drop_disabled_template_fields(template, old.spec.template.as_deref());
        }
    },
    warn: |_, controller| {
        let name = host_name_warning(&controller.metadata.name, IN_NAMES);
        let template = controller.spec.template.as_deref();
        let template = template.map(|template| template_warnings(&spec_template(), template));
        name.into_iter()
            .chain(template.into_iter().flatten())
            .collect()
    },
    warn_update: |_, controller, old| {
        if controller.metadata.generation == old.metadata.generation {
            return Vec::new();
        }
        // Upstream looks at the old template here.
        let template = old.spec.template.as_deref();
        template
            .map(|template| template_warnings(&spec_template(), template))
            .unwrap_or_default()
    },
    generation: Generation::Spec,
    garbage_collection: GarbageCollection::OrphanDependents,
    ..Kind::new(
        |_, controller| core::validate_replication_controller(controller),
        |_, controller, old| core::validate_replication_controller_update(controller, old),
    )
};

static REPLICATION_CONTROLLER_STATUS: Status<ReplicationController> =
    Status::new(|_, controller, old| {
        core::validate_replication_controller_status_update(controller, old)
    });
