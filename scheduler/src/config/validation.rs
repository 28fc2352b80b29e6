//! What a configuration must not say. Upstream: apis/config/validation.

use std::collections::BTreeSet;

use api_types::kube_scheduler_config::v1::{
    DefaultPreemptionArgs, Extender, InterPodAffinityArgs, KubeSchedulerConfiguration,
    KubeSchedulerProfile, NodeResourcesBalancedAllocationArgs, NodeResourcesFitArgs,
    PodTopologySpreadArgs, VolumeBindingArgs,
};
use apimachinery::field::{self, Error, ErrorList, Path};
use apimachinery::resource::is_extended_resource_name;
use component_base::component_config::{validate_client_connection, validate_leader_election};

use super::args::PluginArgs;

/// All mistakes of a configuration whose defaults are filled in.
pub fn validate(config: &KubeSchedulerConfiguration) -> ErrorList {
    let mut errors: Vec<Error> = Vec::new();
    errors.extend(
        validate_client_connection(&config.client_connection, &Path::new("clientConnection")).0,
    );
    let election = Path::new("leaderElection");
    errors.extend(validate_leader_election(&config.leader_election, &election).0);
    let lock = &config.leader_election.resource_lock;
    if config.leader_election.leader_elect == Some(true) && lock != "leases" {
        errors.push(field::invalid(
            &election.child("resourceLock"),
            lock.clone(),
            "resourceLock value must be \"leases\"",
        ));
    }
    let parallelism = config.parallelism.unwrap_or(0);
    if parallelism <= 0 {
        errors.push(field::invalid(
            &Path::new("parallelism"),
            i64::from(parallelism),
            "should be an integer value greater than zero",
        ));
    }
    let profiles = Path::new("profiles");
    for (i, profile) in config.profiles.iter().enumerate() {
        let path = profiles.index(i);
        validate_profile(&path, profile, &mut errors);
        let name =
            |profile: &KubeSchedulerProfile| profile.scheduler_name.clone().unwrap_or_default();
        if let Some(first) = config.profiles[..i]
            .iter()
            .position(|other| name(other) == name(profile))
        {
            errors.push(field::duplicate(
                &path.child("schedulerName"),
                profiles.index(first).child("schedulerName").to_string(),
            ));
        }
        let sort = |profile: &KubeSchedulerProfile| {
            profile
                .plugins
                .as_deref()
                .map(|plugins| plugins.queue_sort.clone())
                .unwrap_or_default()
        };
        if i > 0 && sort(profile) != sort(&config.profiles[0]) {
            errors.push(field::invalid(
                &path.child("plugins").child("queueSort"),
                format!("{:?}", sort(profile).enabled),
                "must be the same for all profiles",
            ));
        }
    }
    validate_percentage(
        &Path::new("percentageOfNodesToScore"),
        config.percentage_of_nodes_to_score,
        &mut errors,
    );
    let initial = config.pod_initial_backoff_seconds.unwrap_or(0);
    let max = config.pod_max_backoff_seconds.unwrap_or(0);
    if initial <= 0 {
        errors.push(field::invalid(
            &Path::new("podInitialBackoffSeconds"),
            initial,
            "must be greater than 0",
        ));
    }
    if max < initial {
        errors.push(field::invalid(
            &Path::new("podMaxBackoffSeconds"),
            max,
            "must be greater than or equal to PodInitialBackoffSeconds",
        ));
    }
    validate_extenders(&Path::new("extenders"), &config.extenders, &mut errors);
    ErrorList(errors)
}

fn validate_percentage(path: &Path, percentage: Option<i32>, errors: &mut Vec<Error>) {
    if let Some(percentage) = percentage.filter(|percentage| !(0..=100).contains(percentage)) {
        errors.push(field::invalid(
            path,
            i64::from(percentage),
            "not in valid range [0-100]",
        ));
    }
}

fn validate_profile(path: &Path, profile: &KubeSchedulerProfile, errors: &mut Vec<Error>) {
    if profile
        .scheduler_name
        .as_deref()
        .unwrap_or_default()
        .is_empty()
    {
        errors.push(field::required(&path.child("schedulerName"), ""));
    }
    validate_percentage(
        &path.child("percentageOfNodesToScore"),
        profile.percentage_of_nodes_to_score,
        errors,
    );
    let mut seen = BTreeSet::new();
    for (i, config) in profile.plugin_config.iter().enumerate() {
        let path = path.child("pluginConfig").index(i);
        if !seen.insert(&config.name) {
            errors.push(field::duplicate(&path, config.name.clone()));
        }
        let args = PluginArgs(config.args.raw.clone());
        let path = path.child("args");
        let outcome = match config.name.as_str() {
            "DefaultPreemption" => args.get().map(|args| preemption(&path, &args, errors)),
            "InterPodAffinity" => args.get().map(|args: InterPodAffinityArgs| {
                range(&path.child("hardPodAffinityWeight"), args.hard_pod_affinity_weight.unwrap_or(0), 0, 100, "not in valid range [0, 100]", errors);
            }),
            "NodeResourcesFit" => args.get().map(|args| fit(&path, &args, errors)),
            "NodeResourcesBalancedAllocation" => args.get().map(|args| balanced(&path, &args, errors)),
            "PodTopologySpread" => args.get().map(|args| spread(&path, &args, errors)),
            "VolumeBinding" => args.get().map(|args: VolumeBindingArgs| {
                let timeout = args.bind_timeout_seconds.unwrap_or(0);
                if timeout < 0 {
                    errors.push(field::invalid(&path.child("bindTimeoutSeconds"), timeout, "invalid BindTimeoutSeconds, should not be a negative value"));
                }
                if !args.shape.is_empty() {
                    errors.push(field::invalid(&path.child("shape"), format!("{:?}", args.shape), "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring"));
                }
            }),
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            errors.push(field::invalid(&path, config.name.clone(), error));
        }
    }
}

fn range(
    path: &Path,
    value: i32,
    min: i32,
    max: i32,
    message: &'static str,
    errors: &mut Vec<Error>,
) {
    if !(min..=max).contains(&value) {
        errors.push(field::invalid(path, i64::from(value), message));
    }
}

fn preemption(path: &Path, args: &DefaultPreemptionArgs, errors: &mut Vec<Error>) {
    let (percentage, absolute) = (
        args.min_candidate_nodes_percentage.unwrap_or(0),
        args.min_candidate_nodes_absolute.unwrap_or(0),
    );
    let (percentage_path, absolute_path) = (
        path.child("minCandidateNodesPercentage"),
        path.child("minCandidateNodesAbsolute"),
    );
    range(
        &percentage_path,
        percentage,
        0,
        100,
        "not in valid range [0, 100]",
        errors,
    );
    range(
        &absolute_path,
        absolute,
        0,
        i32::MAX,
        "not in valid range [0, inf)",
        errors,
    );
    if percentage == 0 && absolute == 0 {
        errors.push(field::invalid(
            &percentage_path,
            0_i64,
            "cannot be zero at the same time as minCandidateNodesAbsolute",
        ));
        errors.push(field::invalid(
            &absolute_path,
            0_i64,
            "cannot be zero at the same time as minCandidateNodesPercentage",
        ));
    }
}

fn fit(path: &Path, args: &NodeResourcesFitArgs, errors: &mut Vec<Error>) {
    for (i, group) in args.ignored_resource_groups.iter().enumerate() {
        if group.contains('/') {
            errors.push(field::invalid(
                &path.child("ignoredResourceGroups").index(i),
                group.clone(),
                "resource group name can't contain '/'",
            ));
        }
    }
    let path = path.child("scoringStrategy");
    let Some(strategy) = args.scoring_strategy.as_deref() else {
        return errors.push(field::required(&path, "ScoringStrategy field is required"));
    };
    let supported = [
        "LeastAllocated",
        "MostAllocated",
        "RequestedToCapacityRatio",
    ];
    if !supported.contains(&strategy.type_.as_str()) {
        errors.push(field::not_supported(
            &path.child("type"),
            strategy.type_.clone(),
            &supported,
        ));
    }
    for (i, resource) in strategy.resources.iter().enumerate() {
        if !(1..=100).contains(&resource.weight) {
            let message = format!(
                "resource weight of {} not in valid range (0, 100]",
                resource.name
            );
            errors.push(field::invalid(
                &path.child("resources").index(i).child("weight"),
                resource.weight,
                message,
            ));
        }
    }
    let ratio_path = path.child("requestedToCapacityRatio");
    match (
        strategy.type_.as_str(),
        strategy.requested_to_capacity_ratio.as_deref(),
    ) {
        ("RequestedToCapacityRatio", None) => {
            errors.push(field::required(
                &ratio_path,
                "must be specified when type is RequestedToCapacityRatio",
            ));
        }
        ("RequestedToCapacityRatio", Some(ratio)) => {
            let path = ratio_path.child("shape");
            if ratio.shape.is_empty() {
                errors.push(field::required(
                    &path,
                    "at least one point must be specified",
                ));
            }
            if let Some(i) = ratio
                .shape
                .windows(2)
                .position(|pair| pair[0].utilization >= pair[1].utilization)
            {
                errors.push(field::invalid(
                    &path.index(i + 1).child("utilization"),
                    i64::from(ratio.shape[i + 1].utilization),
                    "values must be sorted in increasing order",
                ));
            }
            for (i, point) in ratio.shape.iter().enumerate() {
                range(
                    &path.index(i).child("utilization"),
                    point.utilization,
                    0,
                    100,
                    "not in valid range [0, 100]",
                    errors,
                );
                range(
                    &path.index(i).child("score"),
                    point.score,
                    0,
                    10,
                    "not in valid range [0, 10]",
                    errors,
                );
            }
        }
        (_, Some(_)) => errors.push(field::forbidden(
            &ratio_path,
            "must be nil when type is not RequestedToCapacityRatio",
        )),
        _ => {}
    }
}

fn balanced(path: &Path, args: &NodeResourcesBalancedAllocationArgs, errors: &mut Vec<Error>) {
    let mut seen = BTreeSet::new();
    for (i, resource) in args.resources.iter().enumerate() {
        let path = path.child("resources").index(i);
        if !seen.insert(&resource.name) {
            errors.push(field::duplicate(&path.child("name"), resource.name.clone()));
        }
        if resource.weight != 1 {
            errors.push(field::invalid(
                &path.child("weight"),
                resource.weight,
                "must be 1",
            ));
        }
    }
}

fn spread(path: &Path, args: &PodTopologySpreadArgs, errors: &mut Vec<Error>) {
    let type_path = path.child("defaultingType");
    match args.defaulting_type.as_str() {
        "System" if !args.default_constraints.is_empty() => {
            errors.push(field::invalid(
                &type_path,
                "System".to_owned(),
                "when .defaultConstraints are not empty",
            ));
        }
        "System" | "List" => {}
        other => errors.push(field::not_supported(
            &type_path,
            other.to_owned(),
            &["System", "List"],
        )),
    }
    let path = path.child("defaultConstraints");
    for (i, constraint) in args.default_constraints.iter().enumerate() {
        let at = path.index(i);
        if constraint.max_skew <= 0 {
            errors.push(field::invalid(
                &at.child("maxSkew"),
                i64::from(constraint.max_skew),
                "not in valid range (0, inf)",
            ));
        }
        if constraint.topology_key.is_empty() {
            errors.push(field::required(
                &at.child("topologyKey"),
                "can not be empty",
            ));
        }
        let when = &constraint.when_unsatisfiable;
        if when.is_empty() {
            errors.push(field::required(
                &at.child("whenUnsatisfiable"),
                "can not be empty",
            ));
        } else if !["DoNotSchedule", "ScheduleAnyway"].contains(&when.as_str()) {
            errors.push(field::not_supported(
                &at.child("whenUnsatisfiable"),
                when.clone(),
                &["DoNotSchedule", "ScheduleAnyway"],
            ));
        }
        if constraint.label_selector.is_some() {
            errors.push(field::forbidden(
                &at.child("labelSelector"),
                "constraint must not define a selector, as they deduced for each pod",
            ));
        }
        let repeats = args.default_constraints[..i].iter().any(|other| {
            other.topology_key == constraint.topology_key && other.when_unsatisfiable == *when
        });
        if repeats {
            errors.push(field::duplicate(
                &at,
                format!("{{{}, {when}}}", constraint.topology_key),
            ));
        }
    }
}

fn validate_extenders(path: &Path, extenders: &[Extender], errors: &mut Vec<Error>) {
    let mut managed = BTreeSet::new();
    for (i, extender) in extenders.iter().enumerate() {
        let path = path.index(i);
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            errors.push(field::invalid(
                &path.child("weight"),
                extender.weight,
                "must have a positive weight applied to it",
            ));
        }
        for (j, resource) in extender.managed_resources.iter().enumerate() {
            let path = path.child("managedResources").index(j).child("name");
            if !is_extended_resource_name(&resource.name) {
                errors.push(field::invalid(
                    &path,
                    resource.name.clone(),
                    "is an invalid extended resource name",
                ));
            }
            if !managed.insert(&resource.name) {
                errors.push(field::invalid(
                    &path,
                    resource.name.clone(),
                    "duplicate extender managed resource name",
                ));
            }
        }
    }
    let binders = extenders
        .iter()
        .filter(|extender| !extender.bind_verb.is_empty())
        .count();
    if binders > 1 {
        errors.push(field::invalid(
            path,
            format!("found {binders} extenders implementing bind"),
            "only one extender can implement bind",
        ));
    }
}
