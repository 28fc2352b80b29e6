//! Jobs and cron jobs. Upstream: pkg/apis/batch/validation and the options that pkg/registry/batch makes.

use std::collections::{BTreeMap, BTreeSet};

use api_types::batch::v1::*;
use api_types::core::v1::{Affinity, PodTemplateSpec};
use apimachinery::labels::Selector;
use apimachinery::quote::quote;

use super::pod_options::PodOptions;
use super::pods::validate_pod_template_spec;
use super::*;

pub(crate) const JOB_NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
pub(crate) const CONTROLLER_UID_LABELS: [&str; 2] =
    ["controller-uid", "batch.kubernetes.io/controller-uid"];

/// What an update of a job may do beyond the usual.
#[derive(Clone, Copy)]
struct JobOptions {
    pod: PodOptions,
    prefixed_labels: bool,
    mutable_scheduling: bool,
    mutable_resources: bool,
}

impl JobOptions {
    fn new(job: &Job, old: Option<&Job>) -> JobOptions {
        let pod = PodOptions::of_template(&job.spec.template, old.map(|old| &old.spec.template));
        let mut options = JobOptions {
            pod,
            prefixed_labels: true,
            mutable_scheduling: false,
            mutable_resources: false,
        };
        let Some(old) = old else { return options };
        options.pod.allow_invalid_label_value_in_selector |=
            rules::label_selector_has_invalid_label_value(old.spec.selector.as_deref());
        let suspended = old.spec.suspend == Some(true);
        let not_started = old.status.start_time.is_none();
        let idle =
            suspended && (not_started || is_true(old, "Suspended")) && old.status.active == 0;
        options.mutable_scheduling = suspended && not_started;
        options.mutable_resources = idle && gates::enabled("MutablePodResourcesForSuspendedJobs");
        if gates::enabled("MutableSchedulingDirectivesForSuspendedJobs") {
            options.mutable_scheduling = idle;
        }
        let labels = &old.spec.template.metadata.labels;
        options.prefixed_labels = labels.contains_key(JOB_NAME_LABELS[1])
            && labels.contains_key(CONTROLLER_UID_LABELS[1]);
        options
    }
}

fn condition(job: &Job, ty: &str, status: &str) -> bool {
    let mut conditions = job.status.conditions.iter();
    conditions.any(|condition| condition.type_ == ty && condition.status == status)
}

fn is_true(job: &Job, ty: &str) -> bool {
    condition(job, ty, "True")
}

pub fn validate_job(job: &Job) -> ErrorList {
    job_rules(job, &JobOptions::new(job, None))
}

fn job_rules(job: &Job, options: &JobOptions) -> ErrorList {
    let mut errors = object_meta(&job.metadata, true, rules::name_is_dns_subdomain);
    errors.extend(generated_selector(job, options.prefixed_labels));
    errors.extend(selected_spec(&job.spec, &Path::new("spec"), &options.pod));
    if job.spec.completion_mode.as_deref() == Some("Indexed")
        && let Some(completions) = job.spec.completions.filter(|completions| *completions > 0)
    {
        let longest = format!("{}-{}", job.metadata.name, completions - 1);
        if !rules::is_dns1123_label(&longest).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {longest}");
            errors.push(field::invalid(
                &path(&["metadata", "name"]),
                &job.metadata.name,
                detail,
            ));
        }
    }
    errors
}

fn has_label(template: &PodTemplateSpec, key: &'static str, value: &str) -> Option<Error> {
    let path = path(&["spec", "template", "metadata", "labels"]).key(key);
    let labels = &template.metadata.labels;
    match labels.get(key) {
        None => Some(field::required(&path, format!("must be '{value}'"))),
        Some(found) if found != value => {
            Some(field::invalid(&path, labels, format!("must be '{value}'")))
        }
        Some(_) => None,
    }
}

fn generated_selector(job: &Job, prefixed: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(selector) = &job.spec.selector else {
        return errors;
    };
    if job.spec.manual_selector == Some(true) {
        return errors;
    }
    let (uid, name) = (job.metadata.uid.as_str(), job.metadata.name.as_str());
    if uid.is_empty() {
        errors.push(field::required(&path(&["metadata", "uid"]), ""));
    }
    let mut expected = BTreeMap::new();
    for i in 0..if prefixed { 2 } else { 1 } {
        for (key, value) in [(CONTROLLER_UID_LABELS[i], uid), (JOB_NAME_LABELS[i], name)] {
            errors.extend(has_label(&job.spec.template, key, value));
            expected.insert(key.to_owned(), value.to_owned());
        }
    }
    if let Ok(labels) = Selector::from_label_selector(Some(selector))
        && !labels.matches(&expected)
    {
        let value = go_value::bad_value(&**selector);
        errors.push(field::invalid(
            &path(&["spec", "selector"]),
            value,
            "`selector` not auto-generated",
        ));
    }
    errors
}

fn selected_spec(spec: &JobSpec, path: &Path, options: &PodOptions) -> ErrorList {
    let mut errors = job_spec(spec, path, options);
    let selector = spec.selector.as_deref();
    let selector_path = path.child("selector");
    if selector.is_none() {
        errors.push(field::required(&selector_path, ""));
    }
    let keep_invalid = options.allow_invalid_label_value_in_selector;
    errors.extend(label_selector_allowing(
        selector,
        keep_invalid,
        &selector_path,
    ));
    if let Ok(labels) = Selector::from_label_selector(selector)
        && !labels.matches(&spec.template.metadata.labels)
    {
        let path = path.child("template").child("metadata").child("labels");
        let detail = "`selector` does not match template `labels`";
        errors.push(field::invalid(
            &path,
            &spec.template.metadata.labels,
            detail,
        ));
    }
    errors
}

fn job_spec(spec: &JobSpec, path: &Path, options: &PodOptions) -> ErrorList {
    let mut errors = ErrorList::new();
    for (value, child) in [
        (spec.parallelism.map(i64::from), "parallelism"),
        (spec.completions.map(i64::from), "completions"),
        (spec.active_deadline_seconds, "activeDeadlineSeconds"),
        (spec.backoff_limit.map(i64::from), "backoffLimit"),
        (
            spec.ttl_seconds_after_finished.map(i64::from),
            "ttlSecondsAfterFinished",
        ),
        (
            spec.backoff_limit_per_index.map(i64::from),
            "backoffLimitPerIndex",
        ),
        (spec.max_failed_indexes.map(i64::from), "maxFailedIndexes"),
    ] {
        if let Some(value) = value {
            errors.extend(nonnegative(value, &path.child(child)));
        }
    }
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        let path = path.child("backoffLimitPerIndex");
        errors.push(field::required(&path, "when maxFailedIndexes is specified"));
    }
    if let Some(manager) = &spec.managed_by {
        let path = path.child("managedBy");
        errors.extend(rules::is_domain_prefixed_path(&path, manager));
        if manager.len() > 63 {
            errors.push(field::too_long(&path, 63));
        }
    }
    errors.extend(completion_mode(spec, path));
    if let Some(policy) = &spec.pod_failure_policy {
        errors.extend(failure_policy(
            policy,
            spec,
            &path.child("podFailurePolicy").child("rules"),
        ));
    }
    if let Some(policy) = &spec.success_policy {
        let path = path.child("successPolicy");
        if spec.completion_mode.as_deref() == Some("Indexed") {
            errors.extend(success_policy(policy, spec, &path.child("rules")));
        } else {
            let value = go_value::bad_value(&**policy);
            errors.push(field::invalid(
                &path,
                value,
                "requires indexed completion mode",
            ));
        }
    }
    if let Some(policy) = &spec.pod_replacement_policy {
        let known: &[&str] = if spec.pod_failure_policy.is_some() {
            &["Failed"]
        } else {
            &["Failed", "TerminatingOrFailed"]
        };
        errors.extend(one_of(policy, known, &path.child("podReplacementPolicy")));
    }
    let template_path = path.child("template");
    errors.extend(validate_pod_template_spec(
        &spec.template,
        &template_path,
        options,
    ));
    let restart_path = template_path.child("spec").child("restartPolicy");
    match spec.template.spec.restart_policy.as_str() {
        "Always" | "" => {
            let detail = r#"valid values: "OnFailure", "Never""#;
            errors.push(field::required(&restart_path, detail));
        }
        "OnFailure" if spec.pod_failure_policy.is_some() => {
            let detail = r#"only "Never" is supported when podFailurePolicy is specified"#;
            errors.push(field::invalid(&restart_path, "OnFailure", detail));
        }
        other => errors.extend(one_of(other, &["OnFailure", "Never"], &restart_path)),
    }
    errors
}

fn completion_mode(spec: &JobSpec, path: &Path) -> ErrorList {
    const MANY: i32 = 100_000;
    let mut errors = ErrorList::new();
    let mode = spec.completion_mode.as_deref();
    let (parallelism_path, failed_path) =
        (path.child("parallelism"), path.child("maxFailedIndexes"));
    if let Some(mode) = mode {
        errors.extend(one_of(
            mode,
            &["NonIndexed", "Indexed"],
            &path.child("completionMode"),
        ));
    }
    if mode == Some("Indexed") {
        if spec.completions.is_none() {
            let detail = "when completion mode is Indexed";
            errors.push(field::required(&path.child("completions"), detail));
        }
        if let Some(parallelism) = spec.parallelism.filter(|parallelism| *parallelism > MANY) {
            let detail =
                format!("must be less than or equal to {MANY} when completion mode is Indexed");
            errors.push(field::invalid(&parallelism_path, parallelism, detail));
        }
        if let Some(failed) = spec.max_failed_indexes {
            if spec
                .completions
                .is_some_and(|completions| failed > completions)
            {
                let detail = "must be less than or equal to completions";
                errors.push(field::invalid(&failed_path, failed, detail));
            }
            if failed > MANY {
                let detail = format!("must be less than or equal to {MANY}");
                errors.push(field::invalid(&failed_path, failed, detail));
            }
        }
        let many = spec
            .completions
            .is_some_and(|completions| completions > MANY);
        if many && spec.backoff_limit_per_index.is_some() {
            if spec.max_failed_indexes.is_none() {
                let detail = format!("must be specified when completions is above {MANY}");
                errors.push(field::required(&failed_path, detail));
            }
            let detail = format!(
                "must be less than or equal to 10000 when completions are above {MANY} and used with backoff limit per index"
            );
            for (value, path) in [
                (spec.parallelism, &parallelism_path),
                (spec.max_failed_indexes, &failed_path),
            ] {
                if let Some(value) = value.filter(|value| *value > 10_000) {
                    errors.push(field::invalid(path, value, detail.clone()));
                }
            }
        }
    }
    if matches!(mode, None | Some("NonIndexed")) {
        for (value, child) in [
            (spec.backoff_limit_per_index, "backoffLimitPerIndex"),
            (spec.max_failed_indexes, "maxFailedIndexes"),
        ] {
            if let Some(value) = value {
                errors.push(field::invalid(
                    &path.child(child),
                    value,
                    "requires indexed completion mode",
                ));
            }
        }
    }
    errors
}

// === Policies ===

fn valid_values(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| quote(value)).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

/// A required text whose absence is answered with the known values.
fn listed(value: &str, known: &[&str], path: &Path) -> ErrorList {
    if value.is_empty() {
        field::required(path, valid_values(known)).into()
    } else {
        one_of(value, known, path)
    }
}

fn failure_policy(policy: &PodFailurePolicy, spec: &JobSpec, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if policy.rules.len() > 20 {
        errors.push(field::too_many(path, Some(policy.rules.len()), 20));
    }
    let template = &spec.template.spec;
    let containers = template.containers.iter().chain(&template.init_containers);
    let names: BTreeSet<&str> = containers
        .map(|container| container.name.as_str())
        .collect();
    for (i, rule) in policy.rules.iter().enumerate() {
        errors.extend(failure_rule(rule, spec, &names, &path.index(i)));
    }
    errors
}

fn failure_rule(
    rule: &PodFailurePolicyRule,
    spec: &JobSpec,
    names: &BTreeSet<&str>,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let action_path = path.child("action");
    if rule.action == "FailIndex" {
        if spec.backoff_limit_per_index.is_none() {
            let detail = "requires the backoffLimitPerIndex to be set";
            errors.push(field::invalid(&action_path, &rule.action, detail));
        }
    } else {
        errors.extend(listed(
            &rule.action,
            &["Count", "FailIndex", "FailJob", "Ignore"],
            &action_path,
        ));
    }
    if let Some(codes) = &rule.on_exit_codes {
        errors.extend(exit_codes(codes, names, &path.child("onExitCodes")));
    }
    let conditions_path = path.child("onPodConditions");
    if rule.on_pod_conditions.len() > 20 {
        errors.push(field::too_many(
            &conditions_path,
            Some(rule.on_pod_conditions.len()),
            20,
        ));
    }
    for (i, pattern) in rule.on_pod_conditions.iter().enumerate() {
        let path = conditions_path.index(i);
        errors.extend(qualified_name(&pattern.type_, &path.child("type")));
        errors.extend(listed(
            &pattern.status,
            &["False", "True", "Unknown"],
            &path.child("status"),
        ));
    }
    let detail = match (
        rule.on_exit_codes.is_some(),
        rule.on_pod_conditions.is_empty(),
    ) {
        (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return errors,
    };
    errors.push(field::invalid(path, BadValue::Omitted, detail));
    errors
}

fn exit_codes(
    codes: &PodFailurePolicyOnExitCodesRequirement,
    names: &BTreeSet<&str>,
    path: &Path,
) -> ErrorList {
    let mut errors = listed(&codes.operator, &["In", "NotIn"], &path.child("operator"));
    if let Some(name) = &codes.container_name
        && !names.contains(name.as_str())
    {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.push(field::invalid(&path.child("containerName"), name, detail));
    }
    let path = path.child("values");
    let values = &codes.values;
    if values.is_empty() {
        errors.push(field::invalid(
            &path,
            go_value::bad_list(values),
            "at least one value is required",
        ));
    } else if values.len() > 255 {
        errors.push(field::too_many(&path, Some(values.len()), 255));
    }
    let mut seen = BTreeSet::new();
    for (i, value) in values.iter().enumerate() {
        if codes.operator == "In" && *value == 0 {
            errors.push(field::invalid(
                &path.index(i),
                *value,
                "must not be 0 for the In operator",
            ));
        }
        if !seen.insert(value) {
            errors.push(field::duplicate(&path.index(i), *value));
        }
    }
    if !values.is_sorted() {
        errors.push(field::invalid(
            &path,
            go_value::bad_list(values),
            "must be ordered",
        ));
    }
    errors
}

fn success_policy(policy: &SuccessPolicy, spec: &JobSpec, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if policy.rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(field::required(path, detail));
    }
    if policy.rules.len() > 20 {
        errors.push(field::too_many(path, Some(policy.rules.len()), 20));
    }
    // Upstream needs completions here, whose absence is an error already.
    let completions = spec.completions.unwrap_or(0);
    for (i, rule) in policy.rules.iter().enumerate() {
        let path = path.index(i);
        if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(field::required(&path, detail));
        }
        let mut total = 0;
        if let Some(indexes) = &rule.succeeded_indexes {
            let path = path.child("succeededIndexes");
            if indexes.len() > 64 * 1024 {
                errors.push(field::too_long(&path, 64 * 1024));
            }
            match count_indexes(indexes, completions) {
                Ok(count) => total = count,
                Err(problem) => {
                    let detail = format!("error parsing succeededIndexes: {problem}");
                    errors.push(field::invalid(&path, indexes, detail));
                }
            }
        }
        if let Some(count) = rule.succeeded_count {
            let path = path.child("succeededCount");
            errors.extend(nonnegative(count.into(), &path));
            if count > completions {
                let detail = format!(
                    "must be less than or equal to {completions} (the number of specified completions)"
                );
                errors.push(field::invalid(&path, count, detail));
            }
            if rule.succeeded_indexes.is_some() && count > total {
                let detail = format!(
                    "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
                );
                errors.push(field::invalid(&path, count, detail));
            }
        }
    }
    errors
}

/// The number of indexes in a text such as `0,2-5`.
fn count_indexes(text: &str, completions: i32) -> Result<i32, String> {
    let mut total = 0;
    let mut last: Option<i32> = None;
    for interval in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = interval_of(interval, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!(
                "non-increasing order, previous: {last}, current: {first}"
            ));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn interval_of(interval: &str, completions: i32) -> Result<(i32, i32), String> {
    let index = |text: &str| {
        let number: i64 = text.parse().map_err(|_| {
            format!(
                "cannot convert string to integer for index: {}",
                quote(text)
            )
        })?;
        match i32::try_from(number) {
            Ok(number) if number < completions => Ok(number),
            _ => Err(format!("too large index: {}", quote(text))),
        }
    };
    let parts: Vec<&str> = interval.split('-').collect();
    match parts[..] {
        [only] => index(only).map(|only| (only, only)),
        [first, end] => {
            let (first, end) = (index(first)?, index(end)?);
            if first >= end {
                return Err(format!(
                    "non-increasing order, previous: {first}, current: {end}"
                ));
            }
            Ok((first, end))
        }
        _ => Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            quote(interval)
        )),
    }
}

/// The first index that is in both texts. Intervals that are malformed are skipped.
fn overlap(completed: &str, failed: &str, completions: i32) -> Option<i32> {
    let intervals = |text: &str| -> Vec<(i32, i32)> {
        let parts = text.split(',');
        parts
            .filter_map(|interval| interval_of(interval, completions).ok())
            .collect()
    };
    let (completed, failed) = (intervals(completed), intervals(failed));
    let (mut i, mut j) = (0, 0);
    while let (Some(a), Some(b)) = (completed.get(i), failed.get(j)) {
        if a.0 <= b.1 && b.0 <= a.1 {
            return Some(a.0.max(b.0));
        }
        if a.0 <= b.0 {
            i += 1;
        } else {
            j += 1;
        }
    }
    None
}

// === Update ===

pub fn validate_job_update(new: &Job, old: &Job) -> ErrorList {
    let options = JobOptions::new(new, Some(old));
    let mut errors = job_rules(new, &options);
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    let path = Path::new("spec");
    let (spec, before) = (&new.spec, &old.spec);
    errors.extend(selected_spec(spec, &path, &options.pod));
    errors.extend(completions_change(spec, before, &path.child("completions")));
    errors.extend(immutable(
        &spec.selector,
        &before.selector,
        &path.child("selector"),
        || go_value::bad_option(spec.selector.as_deref()),
    ));
    errors.extend(template_change(spec, before, &options, &path));
    errors.extend(immutable(
        &spec.completion_mode,
        &before.completion_mode,
        &path.child("completionMode"),
        || spec.completion_mode.as_deref().into(),
    ));
    errors.extend(immutable(
        &spec.pod_failure_policy,
        &before.pod_failure_policy,
        &path.child("podFailurePolicy"),
        || go_value::bad_option(spec.pod_failure_policy.as_deref()),
    ));
    let per_index_path = path.child("backoffLimitPerIndex");
    errors.extend(immutable(
        &spec.backoff_limit_per_index,
        &before.backoff_limit_per_index,
        &per_index_path,
        || spec.backoff_limit_per_index.into(),
    ));
    errors.extend(immutable(
        &spec.managed_by,
        &before.managed_by,
        &path.child("managedBy"),
        || spec.managed_by.as_deref().into(),
    ));
    errors.extend(immutable(
        &spec.success_policy,
        &before.success_policy,
        &path.child("successPolicy"),
        || go_value::bad_option(spec.success_policy.as_deref()),
    ));
    errors
}

fn completions_change(spec: &JobSpec, old: &JobSpec, path: &Path) -> ErrorList {
    if spec.completion_mode.as_deref() != Some("Indexed") {
        return immutable(&spec.completions, &old.completions, path, || {
            spec.completions.into()
        });
    }
    match spec.completions {
        Some(completions)
            if spec.completions != old.completions && spec.parallelism != Some(completions) =>
        {
            // The path that upstream prints starts at the root.
            let detail = "can only be modified in tandem with spec.parallelism";
            field::invalid(path, completions, detail).into()
        }
        _ => ErrorList::new(),
    }
}

fn template_change(spec: &JobSpec, old: &JobSpec, options: &JobOptions, path: &Path) -> ErrorList {
    let template = &spec.template;
    let mut before = old.template.clone();
    if options.mutable_scheduling {
        let node_affinity = template
            .spec
            .affinity
            .as_ref()
            .map(|affinity| affinity.node_affinity.clone());
        match (&mut before.spec.affinity, node_affinity) {
            (Some(affinity), None) => {
                affinity.node_affinity = None;
                if **affinity == Affinity::default() {
                    before.spec.affinity = None;
                }
            }
            (None, Some(node_affinity)) => {
                before.spec.affinity = Some(Box::new(Affinity {
                    node_affinity,
                    ..Affinity::default()
                }));
            }
            (Some(affinity), Some(node_affinity)) => affinity.node_affinity = node_affinity,
            (None, None) => {}
        }
        before
            .spec
            .node_selector
            .clone_from(&template.spec.node_selector);
        before
            .spec
            .tolerations
            .clone_from(&template.spec.tolerations);
        before
            .metadata
            .annotations
            .clone_from(&template.metadata.annotations);
        before.metadata.labels.clone_from(&template.metadata.labels);
        before
            .spec
            .scheduling_gates
            .clone_from(&template.spec.scheduling_gates);
    }
    if old.suspend != Some(true) || !options.mutable_resources {
        return immutable(template, &before, &path.child("template"), || {
            go_value::bad_value(template)
        });
    }
    for (list, before) in [
        (&template.spec.containers, &mut before.spec.containers),
        (
            &template.spec.init_containers,
            &mut before.spec.init_containers,
        ),
    ] {
        if list.len() == before.len() {
            for (container, before) in list.iter().zip(before) {
                if container.name == before.name {
                    before.resources = container.resources.clone();
                }
            }
        }
    }
    immutable(
        &template.spec,
        &before.spec,
        &path.child("template.spec"),
        || go_value::bad_value(&template.spec),
    )
}

pub fn validate_job_status_update(new: &Job, old: &Job) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(super::job_status::validate_status(new, old));
    errors
}

/// What the two texts of indexes of a status say wrong, by the checks that are asked for.
pub(super) struct Indexes<'a> {
    pub job: &'a Job,
    pub completed_changed: bool,
    pub failed_changed: bool,
}

impl Indexes<'_> {
    pub(super) fn parse(&self, path: &Path) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, status) = (&self.job.spec, &self.job.status);
        let Some(completions) = spec.completions else {
            return errors;
        };
        if self.completed_changed
            && let Err(problem) = count_indexes(&status.completed_indexes, completions)
        {
            let detail = format!("error parsing completedIndexes: {problem}");
            errors.push(field::invalid(
                &path.child("completedIndexes"),
                &status.completed_indexes,
                detail,
            ));
        }
        if self.failed_changed
            && spec.backoff_limit_per_index.is_some()
            && let Some(failed) = &status.failed_indexes
            && let Err(problem) = count_indexes(failed, completions)
        {
            let detail = format!("error parsing failedIndexes: {problem}");
            errors.push(field::invalid(&path.child("failedIndexes"), failed, detail));
        }
        errors
    }

    pub(super) fn fit_the_job(&self, path: &Path) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, status) = (&self.job.spec, &self.job.status);
        let indexed = spec.completion_mode.as_deref() == Some("Indexed");
        if self.completed_changed && !status.completed_indexes.is_empty() && !indexed {
            let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
            errors.push(field::invalid(
                &path.child("completedIndexes"),
                &status.completed_indexes,
                detail,
            ));
        }
        let Some(failed) = &status.failed_indexes else {
            return errors;
        };
        let failed_path = path.child("failedIndexes");
        if self.failed_changed && spec.backoff_limit_per_index.is_none() {
            let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            errors.push(field::invalid(&failed_path, failed, detail));
        }
        if (self.failed_changed || self.completed_changed)
            && let Some(completions) = spec.completions
            && let Some(index) = overlap(&status.completed_indexes, failed, completions)
        {
            let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
            errors.push(field::invalid(&failed_path, failed, detail));
        }
        errors
    }
}

// === CronJob ===

pub fn validate_cron_job(job: &CronJob) -> ErrorList {
    let mut errors = object_meta(&job.metadata, true, rules::name_is_dns_subdomain);
    errors.extend(cron_spec(&job.spec, None));
    if job.metadata.name.len() > 52 {
        let detail = "must be no more than 52 characters";
        errors.push(field::invalid(
            &path(&["metadata", "name"]),
            &job.metadata.name,
            detail,
        ));
    }
    errors
}

pub fn validate_cron_job_update(new: &CronJob, old: &CronJob) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(cron_spec(&new.spec, Some(&old.spec)));
    errors
}

fn cron_spec(spec: &CronJobSpec, old: Option<&CronJobSpec>) -> ErrorList {
    let path = Path::new("spec");
    let schedule_path = path.child("schedule");
    let mut errors = ErrorList::new();
    if spec.schedule.is_empty() {
        errors.push(field::required(&schedule_path, ""));
    } else {
        if let Err(problem) = super::cron::check_schedule(&spec.schedule) {
            errors.push(field::invalid(&schedule_path, &spec.schedule, problem));
        }
        let allowed = old.is_some_and(|old| old.schedule.contains("TZ"));
        let detail = if !spec.schedule.contains("TZ") {
            None
        } else if !allowed {
            Some("cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
        } else {
            let both = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
            spec.time_zone.is_some().then_some(both)
        };
        if let Some(detail) = detail {
            errors.push(field::invalid(&schedule_path, &spec.schedule, detail));
        }
    }
    if let Some(seconds) = spec.starting_deadline_seconds {
        errors.extend(nonnegative(seconds, &path.child("startingDeadlineSeconds")));
    }
    if old.is_none_or(|old| old.time_zone != spec.time_zone) {
        errors.extend(time_zone(
            spec.time_zone.as_deref(),
            &path.child("timeZone"),
        ));
    }
    let policy_path = path.child("concurrencyPolicy");
    errors.extend(required_one_of(
        &spec.concurrency_policy,
        &["Allow", "Forbid", "Replace"],
        &policy_path,
    ));
    let job = &spec.job_template.spec;
    let options = PodOptions::of_template(
        &job.template,
        old.map(|old| &old.job_template.spec.template),
    );
    let job_path = path.child("jobTemplate").child("spec");
    errors.extend(job_spec(job, &job_path, &options));
    if let Some(selector) = &job.selector {
        let value = go_value::bad_value(&**selector);
        errors.push(field::invalid(
            &job_path.child("selector"),
            value,
            "`selector` will be auto-generated",
        ));
    }
    if job.manual_selector == Some(true) {
        errors.push(field::not_supported(
            &job_path.child("manualSelector"),
            true,
            &["nil", "false"],
        ));
    }
    for (limit, child) in [
        (
            spec.successful_jobs_history_limit,
            "successfulJobsHistoryLimit",
        ),
        (spec.failed_jobs_history_limit, "failedJobsHistoryLimit"),
    ] {
        if let Some(limit) = limit {
            errors.extend(nonnegative(limit.into(), &path.child(child)));
        }
    }
    errors
}

fn time_zone(zone: Option<&str>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(zone) = zone else { return errors };
    if zone.is_empty() {
        return field::invalid(path, zone, "timeZone must be nil or non-empty string").into();
    }
    let fine = |part: &str| {
        !matches!(part, "." | "..")
            && !part.starts_with('-')
            && (1..=14).contains(&part.len())
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+'))
    };
    if !zone.split('/').all(fine) {
        return field::invalid(path, zone, format!("unknown time zone {zone}")).into();
    }
    if zone.eq_ignore_ascii_case("local") {
        let detail =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(field::invalid(path, zone, detail));
    }
    if let Err(problem) = super::cron::check_time_zone(zone) {
        errors.push(field::invalid(path, zone, problem));
    }
    errors
}
