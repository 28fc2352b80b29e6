//! Admission webhooks and policies. Upstream: pkg/apis/admissionregistration/validation.

use std::collections::HashSet;

use api_types::admissionregistration::v1::*;

use super::*;
use crate::admission::matching::compile_condition;
use crate::admission::policy::composition::{Compiler, Expression, Place};

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];
const NO_SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const MUTATING_OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const MOST_MATCH_CONDITIONS: usize = 64;
const MOST_AUDIT_ANNOTATIONS: usize = 20;
const LONGEST_AUDIT_EXPRESSION: usize = 5 * 1024;

/// What the names of configurations from manifests end with, and no name of a stored object does.
pub(crate) const STATIC_SUFFIX: &str = ".static.k8s.io";

fn metadata(metadata: &ObjectMeta) -> ErrorList {
    plain_object_meta(metadata, false, rules::name_is_dns_subdomain)
}

fn optional_one_of(value: Option<&String>, supported: &[&str], path: &Path) -> ErrorList {
    value.map_or_else(ErrorList::new, |value| one_of(value, supported, path))
}

fn has_wildcard(values: &[String]) -> bool {
    values.iter().any(|value| value == "*")
}

fn lone_wildcard(values: &[String], others: &str, path: &Path) -> ErrorList {
    if values.len() > 1 && has_wildcard(values) {
        let detail = format!("if '*' is present, must not specify other {others}");
        field::invalid(path, values, detail).into()
    } else {
        ErrorList::new()
    }
}

// === Webhooks ===

/// A webhook of either kind.
struct Hook<'a> {
    name: &'a str,
    client: &'a WebhookClientConfig,
    rules: &'a [RuleWithOperations],
    failure_policy: Option<&'a String>,
    match_policy: Option<&'a String>,
    selectors: [Option<&'a LabelSelector>; 2],
    side_effects: Option<&'a String>,
    timeout_seconds: Option<i32>,
    review_versions: &'a [String],
    reinvocation_policy: Option<&'a String>,
    match_conditions: &'a [MatchCondition],
}

macro_rules! hook {
    ($hook:expr, $reinvocation:expr) => {
        Hook {
            name: &$hook.name,
            client: &$hook.client_config,
            rules: &$hook.rules,
            failure_policy: $hook.failure_policy.as_ref(),
            match_policy: $hook.match_policy.as_ref(),
            selectors: [
                $hook.namespace_selector.as_deref(),
                $hook.object_selector.as_deref(),
            ],
            side_effects: $hook.side_effects.as_ref(),
            timeout_seconds: $hook.timeout_seconds,
            review_versions: &$hook.admission_review_versions,
            reinvocation_policy: $reinvocation,
            match_conditions: &$hook.match_conditions,
        }
    };
}

fn validating(configuration: &ValidatingWebhookConfiguration) -> Vec<Hook<'_>> {
    let hooks = configuration.webhooks.iter();
    hooks.map(|hook| hook!(hook, None)).collect()
}

fn mutating(configuration: &MutatingWebhookConfiguration) -> Vec<Hook<'_>> {
    let hooks = configuration.webhooks.iter();
    hooks
        .map(|hook| hook!(hook, hook.reinvocation_policy.as_ref()))
        .collect()
}

pub(crate) fn validate_validating_webhooks(
    configuration: &ValidatingWebhookConfiguration,
    old: Option<&ValidatingWebhookConfiguration>,
) -> ErrorList {
    let mut errors = metadata(&configuration.metadata);
    errors.extend(webhooks(&validating(configuration), old.map(validating)));
    errors
}

pub(crate) fn validate_mutating_webhooks(
    configuration: &MutatingWebhookConfiguration,
    old: Option<&MutatingWebhookConfiguration>,
) -> ErrorList {
    let mut errors = metadata(&configuration.metadata);
    errors.extend(webhooks(&mutating(configuration), old.map(mutating)));
    errors
}

/// What is stored already and would no longer be taken.
struct Lenient {
    match_conditions: bool,
    side_effects: bool,
    review_versions: bool,
    names: bool,
    selectors: bool,
}

fn webhooks(hooks: &[Hook<'_>], old: Option<Vec<Hook<'_>>>) -> ErrorList {
    let lenient = old.map_or(
        Lenient {
            match_conditions: false,
            side_effects: false,
            review_versions: false,
            names: false,
            selectors: false,
        },
        |old| leniency(hooks, &old),
    );
    let mut errors = ErrorList::new();
    let mut names = HashSet::new();
    for (i, hook) in hooks.iter().enumerate() {
        let path = Path::new("webhooks").index(i);
        errors.extend(webhook(hook, &lenient, &path));
        errors.extend(review_versions(
            hook.review_versions,
            !lenient.review_versions,
            &path.child("admissionReviewVersions"),
        ));
        if !lenient.names && !hook.name.is_empty() && !names.insert(hook.name) {
            errors.push(field::duplicate(&path.child("name"), hook.name));
        }
    }
    errors
}

fn leniency(hooks: &[Hook<'_>], old: &[Hook<'_>]) -> Lenient {
    let known = |versions: &[String]| {
        versions.is_empty()
            || versions
                .iter()
                .any(|version| REVIEW_VERSIONS.contains(&version.as_str()))
    };
    let mut names = HashSet::new();
    Lenient {
        match_conditions: hooks.len() == old.len()
            && hooks
                .iter()
                .zip(old)
                .all(|(hook, old)| hook.match_conditions == old.match_conditions),
        side_effects: !old.iter().all(|hook| {
            hook.side_effects
                .is_some_and(|effects| NO_SIDE_EFFECTS.contains(&effects.as_str()))
        }),
        review_versions: !old.iter().all(|hook| known(hook.review_versions)),
        names: !old.iter().all(|hook| names.insert(hook.name)),
        selectors: old
            .iter()
            .flat_map(|hook| hook.selectors)
            .any(|selector| !label_selector(selector, &Path::nil()).is_empty()),
    }
}

fn webhook(hook: &Hook<'_>, lenient: &Lenient, path: &Path) -> ErrorList {
    let mut errors = rules::is_fully_qualified_name(&path.child("name"), hook.name);
    for (i, rule) in hook.rules.iter().enumerate() {
        errors.extend(rule_with_operations(rule, &path.child("rules").index(i)));
    }
    errors.extend(optional_one_of(
        hook.failure_policy,
        &FAILURE_POLICIES,
        &path.child("failurePolicy"),
    ));
    errors.extend(optional_one_of(
        hook.match_policy,
        &MATCH_POLICIES,
        &path.child("matchPolicy"),
    ));
    let effects: &[&str] = if lenient.side_effects {
        &SIDE_EFFECTS
    } else {
        &NO_SIDE_EFFECTS
    };
    let effects_path = path.child("sideEffects");
    match hook.side_effects {
        None => errors.push(field::required(
            &effects_path,
            format!("must specify one of {}", effects.join(", ")),
        )),
        Some(value) => errors.extend(one_of(value, effects, &effects_path)),
    }
    if let Some(seconds) = hook
        .timeout_seconds
        .filter(|seconds| !(1..=30).contains(seconds))
    {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.push(field::invalid(
            &path.child("timeoutSeconds"),
            seconds,
            detail,
        ));
    }
    for (selector, child) in hook
        .selectors
        .into_iter()
        .zip(["namespaceSelector", "objectSelector"])
    {
        let path = path.child(child);
        errors.extend(label_selector_allowing(selector, lenient.selectors, &path));
    }
    errors.extend(optional_one_of(
        hook.reinvocation_policy,
        &REINVOCATION_POLICIES,
        &path.child("reinvocationPolicy"),
    ));
    let client_path = path.child("clientConfig");
    match (&hook.client.url, &hook.client.service) {
        (Some(url), None) => errors.extend(webhook_url(url, &client_path.child("url"))),
        (None, Some(service)) => {
            let service = WebhookService {
                namespace: &service.namespace,
                name: &service.name,
                path: service.path.as_deref(),
                port: service.port,
            };
            errors.extend(webhook_service(&service, &client_path.child("service")));
        }
        _ => errors.push(field::required(
            &client_path,
            "exactly one of url or service is required",
        )),
    }
    if !lenient.match_conditions {
        errors.extend(match_conditions(
            hook.match_conditions,
            false,
            &path.child("matchConditions"),
        ));
    }
    errors
}

fn review_versions(versions: &[String], needs_known: bool, path: &Path) -> ErrorList {
    let known = REVIEW_VERSIONS.join(", ");
    if versions.is_empty() {
        return field::required(path, format!("must specify one of {known}")).into();
    }
    let mut errors = ErrorList::new();
    let mut seen = HashSet::new();
    for (i, version) in versions.iter().enumerate() {
        if seen.insert(version) {
            errors.extend(invalids(
                &path.index(i),
                version,
                rules::is_dns1035_label(version),
            ));
        } else {
            errors.push(field::invalid(&path.index(i), version, "duplicate version"));
        }
    }
    if needs_known
        && !versions
            .iter()
            .any(|version| REVIEW_VERSIONS.contains(&version.as_str()))
    {
        let detail = format!("must include at least one of {known}");
        errors.push(field::invalid(path, versions, detail));
    }
    errors
}

pub(super) fn webhook_url(url: &str, path: &Path) -> ErrorList {
    const FORM: &str = "; desired format: https://host[/path]";
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, rest)) if !scheme.contains('/') => (scheme.to_ascii_lowercase(), rest),
        _ => (String::new(), rest),
    };
    let authority = rest.strip_prefix("//").unwrap_or_default();
    let authority = authority.split('/').next().unwrap_or_default();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let mut errors = ErrorList::new();
    if scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(field::invalid(path, scheme, detail));
    }
    if host.is_empty() {
        let detail = format!("host must be specified{FORM}");
        errors.push(field::invalid(path, host, detail));
    }
    if let Some(user) = user {
        let detail = "user information is not permitted in the URL";
        errors.push(field::invalid(path, user, detail));
    }
    if !fragment.is_empty() {
        let detail = "fragments are not permitted in the URL";
        errors.push(field::invalid(path, fragment, detail));
    }
    if !query.is_empty() {
        let detail = "query parameters are not permitted in the URL";
        errors.push(field::invalid(path, query, detail));
    }
    errors
}

/// The service of a webhook, as every group with webhooks has it.
pub(super) struct WebhookService<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) path: Option<&'a str>,
    pub(super) port: Option<i32>,
}

pub(super) fn webhook_service(service: &WebhookService<'_>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    // Upstream hands the two over in the wrong order, so each is missed under the other's name.
    if service.namespace.is_empty() {
        errors.push(field::required(&path.child("name"), ""));
    }
    if service.name.is_empty() {
        errors.push(field::required(&path.child("namespace"), ""));
    }
    let port = service.port.unwrap_or_default();
    let problems = rules::is_valid_port_num(port.into());
    if !problems.is_empty() {
        let detail = format!("port is not valid: {}", problems.join(", "));
        errors.push(field::invalid(&path.child("port"), port, detail));
    }
    let text = service.path.unwrap_or_default();
    if !matches!(text, "" | "/") {
        errors.extend(service_path(text, &path.child("path")));
    }
    errors
}

fn service_path(text: &str, path: &Path) -> ErrorList {
    if text == "//" {
        return field::invalid(path, text, "segment[0] may not be empty").into();
    }
    let mut errors = ErrorList::new();
    if !text.starts_with('/') {
        errors.push(field::invalid(path, text, "must start with a '/'"));
    }
    let rest: String = text.chars().skip(1).collect();
    let rest = rest.strip_suffix('/').unwrap_or(&rest);
    for (i, step) in rest.split('/').enumerate() {
        if step.is_empty() {
            let detail = format!("segment[{i}] may not be empty");
            let value = field::Lazily(|| BadValue::from(text));
            errors.push(field::invalid(path, value, detail));
            continue;
        }
        for problem in rules::is_dns1123_subdomain(step) {
            let detail = format!("segment[{i}]: {problem}");
            let value = field::Lazily(|| BadValue::from(text));
            errors.push(field::invalid(path, value, detail));
        }
    }
    errors
}

// === Rules ===

fn rule_with_operations(rule: &RuleWithOperations, path: &Path) -> ErrorList {
    let operations_path = path.child("operations");
    let mut errors = ErrorList::new();
    if rule.operations.is_empty() {
        errors.push(field::required(&operations_path, ""));
    }
    errors.extend(lone_wildcard(
        &rule.operations,
        "operations",
        &operations_path,
    ));
    for (i, operation) in rule.operations.iter().enumerate() {
        errors.extend(one_of(operation, &OPERATIONS, &operations_path.index(i)));
    }
    let rule = &rule.rule;
    let (groups_path, versions_path) = (path.child("apiGroups"), path.child("apiVersions"));
    if rule.api_groups.is_empty() {
        errors.push(field::required(&groups_path, ""));
    }
    errors.extend(lone_wildcard(&rule.api_groups, "API groups", &groups_path));
    if rule.api_versions.is_empty() {
        errors.push(field::required(&versions_path, ""));
    }
    errors.extend(lone_wildcard(
        &rule.api_versions,
        "API versions",
        &versions_path,
    ));
    for (i, version) in rule.api_versions.iter().enumerate() {
        if version.is_empty() {
            errors.push(field::required(&versions_path.index(i), ""));
        }
    }
    errors.extend(resources(&rule.resources, &path.child("resources")));
    errors.extend(optional_one_of(
        rule.scope.as_ref(),
        &SCOPES,
        &path.child("scope"),
    ));
    errors
}

/// Resources and subresources of which none is covered by another.
fn resources(resources: &[String], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if resources.is_empty() {
        errors.push(field::required(path, ""));
    }
    let (mut all_of, mut of_all) = (HashSet::new(), HashSet::new());
    let (mut everything, mut every_resource, mut a_resource) = (false, false, false);
    for (i, text) in resources.iter().enumerate() {
        let path = path.index(i);
        if text.is_empty() {
            errors.push(field::required(&path, ""));
            continue;
        }
        everything |= text == "*/*";
        every_resource |= text == "*";
        let Some((resource, subresource)) = text.split_once('/') else {
            // The last one counts, as upstream has it.
            a_resource = text != "*";
            continue;
        };
        if all_of.contains(resource) {
            let detail = format!("if '{resource}/*' is present, must not specify {text}");
            errors.push(field::invalid(&path, text, detail));
        }
        if of_all.contains(subresource) {
            let detail = format!("if '*/{subresource}' is present, must not specify {text}");
            errors.push(field::invalid(&path, text, detail));
        }
        if subresource == "*" {
            all_of.insert(resource);
        }
        if resource == "*" {
            of_all.insert(subresource);
        }
    }
    if resources.len() > 1 && everything {
        let detail = "if '*/*' is present, must not specify other resources";
        errors.push(field::invalid(path, resources, detail));
    }
    if every_resource && a_resource {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.push(field::invalid(path, resources, detail));
    }
    errors
}

fn named_rule(rule: &NamedRuleWithOperations, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = HashSet::new();
    for (i, name) in rule.resource_names.iter().enumerate() {
        let path = path.child("resourceNames").index(i);
        errors.extend(invalids(
            &path,
            name,
            rules::content::is_path_segment_name(name),
        ));
        if !seen.insert(name) {
            errors.push(field::duplicate(&path, name));
        }
    }
    errors.extend(rule_with_operations(&rule.rule_with_operations, path));
    errors
}

fn match_resources(resources: &MatchResources, path: &Path) -> ErrorList {
    let mut errors = match &resources.match_policy {
        None => field::required(&path.child("matchPolicy"), "").into(),
        Some(policy) => one_of(policy, &MATCH_POLICIES, &path.child("matchPolicy")),
    };
    for (selector, child) in [
        (&resources.namespace_selector, "namespaceSelector"),
        (&resources.object_selector, "objectSelector"),
    ] {
        let path = path.child(child);
        match selector {
            None => errors.push(field::required(&path, "")),
            Some(selector) => errors.extend(label_selector(Some(selector), &path)),
        }
    }
    for (list, child) in [
        (&resources.resource_rules, "resourceRules"),
        (&resources.exclude_resource_rules, "excludeResourceRules"),
    ] {
        for (i, rule) in list.iter().enumerate() {
            errors.extend(named_rule(rule, &path.child(child).index(i)));
        }
    }
    errors
}

/// Nothing can be changed of what is being deleted.
fn mutating_operations(resources: &MatchResources, path: &Path) -> ErrorList {
    let path = path.child("resourceRules").child("operations");
    let rules = resources.resource_rules.iter();
    let operations = rules.flat_map(|rule| &rule.rule_with_operations.operations);
    operations
        .flat_map(|operation| one_of(operation, &MUTATING_OPERATIONS, &path))
        .collect()
}

/// What the compiler has to say of an expression; `value` is what the error shows.
fn compiled(path: &Path, value: &str, error: Option<&str>) -> ErrorList {
    match error {
        None => ErrorList::new(),
        Some(error) if error.starts_with("program instantiation failed") => {
            field::internal(path, error).into()
        }
        Some(error) => field::invalid(path, value, error).into(),
    }
}

fn expression(path: &Path, value: &str, compiled_as: &Expression) -> ErrorList {
    compiled(path, value, compiled_as.error())
}

/// `params` are a policy's.
fn match_conditions(conditions: &[MatchCondition], params: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if conditions.len() > MOST_MATCH_CONDITIONS {
        let count = Some(conditions.len());
        errors.push(field::too_many(path, count, MOST_MATCH_CONDITIONS));
    }
    let mut names = HashSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let path = path.index(i);
        let name_path = path.child("name");
        let (text, text_path) = (condition.expression.trim(), path.child("expression"));
        if text.is_empty() {
            errors.push(field::required(&text_path, ""));
        } else {
            let error = compile_condition(text, params).err();
            errors.extend(compiled(&text_path, text, error.as_deref()));
        }
        if condition.name.is_empty() {
            errors.push(field::required(&name_path, ""));
            continue;
        }
        errors.extend(qualified_name(&condition.name, &name_path));
        if !names.insert(&condition.name) {
            errors.push(field::duplicate(&name_path, &condition.name));
        }
    }
    errors
}

// === Policies ===

fn failure_policy(policy: Option<&String>, path: &Path) -> ErrorList {
    let path = path.child("failurePolicy");
    match policy {
        None => field::required(&path, "").into(),
        Some(policy) => one_of(policy, &FAILURE_POLICIES, &path),
    }
}

fn param_kind(kind: &ParamKind, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let version_path = path.child("apiVersion");
    let api_version = kind.api_version.as_str();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let mut bad_version =
        |value: &str, detail: String| errors.push(field::invalid(&version_path, value, detail));
    if api_version.matches('/').count() > 1 {
        let detail = format!("unexpected GroupVersion string: {api_version}");
        bad_version(api_version, detail);
    } else if !api_version.is_empty() {
        let problems = rules::is_dns1123_subdomain(group);
        if !group.is_empty() && !problems.is_empty() {
            bad_version(group, problems.join(","));
        }
        let problems = rules::is_dns1035_label(version);
        if version.is_empty() {
            bad_version(api_version, "version must be specified".to_owned());
        } else if !problems.is_empty() {
            bad_version(version, problems.join(","));
        }
    } else {
        errors.push(field::required(&version_path, ""));
    }
    let kind_path = path.child("kind");
    let problems = rules::is_dns1035_label(&kind.kind.to_lowercase());
    if kind.kind.is_empty() {
        errors.push(field::required(&kind_path, ""));
    } else if !problems.is_empty() {
        let problems = problems.join(",");
        let detail = format!("may have mixed case, but should otherwise match: {problems}");
        errors.push(field::invalid(&kind_path, &kind.kind, detail));
    }
    errors
}

/// What a policy applies to. At least one rule is needed, for it says what is looked at.
fn match_constraints(constraints: Option<&MatchResources>, path: &Path) -> ErrorList {
    let path = path.child("matchConstraints");
    let Some(constraints) = constraints else {
        return field::required(&path, "").into();
    };
    let mut errors = match_resources(constraints, &path);
    if constraints.resource_rules.is_empty() {
        errors.push(field::required(&path.child("resourceRules"), ""));
    }
    errors
}

fn variables(compiler: &mut Compiler, variables: &[Variable], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, variable) in variables.iter().enumerate() {
        let path = path.child("variables").index(i);
        let name_path = path.child("name");
        if variable.name.trim().is_empty() {
            errors.push(field::required(&name_path, "name is not specified"));
        } else if !cel::is_identifier(&variable.name) {
            let detail = "must be a valid CEL identifier";
            errors.push(field::invalid(&name_path, &variable.name, detail));
        }
        let (text, path) = (&variable.expression, path.child("expression"));
        if text.trim().is_empty() {
            let detail = "expression is not specified";
            errors.push(field::required(&path, detail));
        } else {
            let variable = compiler.variable(&variable.name, text);
            errors.extend(expression(&path, text, &variable));
        }
    }
    errors
}

pub(crate) fn validate_validating_policy(
    policy: &ValidatingAdmissionPolicy,
    old: Option<&ValidatingAdmissionPolicy>,
) -> ErrorList {
    let mut errors = metadata(&policy.metadata);
    let (path, spec) = (Path::new("spec"), &policy.spec);
    errors.extend(failure_policy(spec.failure_policy.as_ref(), &path));
    if let Some(kind) = &spec.param_kind {
        errors.extend(param_kind(kind, &path.child("paramKind")));
    }
    errors.extend(match_constraints(spec.match_constraints.as_deref(), &path));
    let same_conditions = old.is_some_and(|old| {
        old.spec.param_kind == spec.param_kind && old.spec.match_conditions == spec.match_conditions
    });
    if !same_conditions {
        errors.extend(match_conditions(
            &spec.match_conditions,
            spec.param_kind.is_some(),
            &path.child("matchConditions"),
        ));
    }
    let mut compiler = Compiler::new(spec.param_kind.is_some(), !spec.variables.is_empty());
    errors.extend(variables(&mut compiler, &spec.variables, &path));
    let (validations_path, annotations_path) =
        (path.child("validations"), path.child("auditAnnotations"));
    if spec.validations.is_empty() && spec.audit_annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.push(field::required(&validations_path, detail));
        errors.push(field::required(&annotations_path, detail));
        return errors;
    }
    for (i, item) in spec.validations.iter().enumerate() {
        errors.extend(validation(&mut compiler, item, &validations_path.index(i)));
    }
    if spec.audit_annotations.len() > MOST_AUDIT_ANNOTATIONS {
        let detail = format!("must not have more than {MOST_AUDIT_ANNOTATIONS} auditAnnotations");
        let value = go_value::bad_list(&spec.audit_annotations);
        errors.push(field::invalid(&annotations_path, value, detail));
    }
    let mut keys = HashSet::new();
    for (i, item) in spec.audit_annotations.iter().enumerate() {
        let path = annotations_path.index(i);
        let name = &policy.metadata.name;
        errors.extend(audit_annotation(&mut compiler, name, item, &path));
        if !keys.insert(&item.key) {
            errors.push(field::duplicate(&path.child("key"), &item.key));
        }
    }
    errors
}

fn validation(compiler: &mut Compiler, validation: &Validation, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (text, text_path) = (&validation.expression, path.child("expression"));
    if text.trim().is_empty() {
        errors.push(field::required(&text_path, "expression is not specified"));
    } else {
        let condition = compiler.compile(Place::Validation, text);
        errors.extend(expression(&text_path, text, &condition));
    }
    const BLANK: &str = "must be non-empty if specified";
    let blank = |text: &str| !text.is_empty() && text.trim().is_empty();
    let (text, text_path) = (
        &validation.message_expression,
        path.child("messageExpression"),
    );
    if blank(text) {
        errors.push(field::invalid(&text_path, text, BLANK));
    } else if !text.is_empty() {
        let message = compiler.compile(Place::Message, text);
        errors.extend(expression(&text_path, text, &message));
    }
    let (message, message_path) = (&validation.message, path.child("message"));
    if blank(message) {
        errors.push(field::invalid(&message_path, message, BLANK));
    } else if message.trim().contains(['\n', '\r']) {
        let detail = "must not contain line breaks";
        errors.push(field::invalid(&message_path, message, detail));
    }
    errors.extend(optional_one_of(
        validation.reason.as_ref(),
        &REASONS,
        &path.child("reason"),
    ));
    errors
}

fn audit_annotation(
    compiler: &mut Compiler,
    policy: &str,
    annotation: &AuditAnnotation,
    path: &Path,
) -> ErrorList {
    let key_path = path.child("key");
    let mut errors = if policy.is_empty() {
        let detail = "requires metadata.name be non-empty";
        field::invalid(&key_path, &annotation.key, detail).into()
    } else {
        qualified_name(&format!("{policy}/{}", annotation.key), &key_path)
    };
    let (path, text) = (
        path.child("valueExpression"),
        annotation.value_expression.trim(),
    );
    if text.is_empty() {
        errors.push(field::required(&path, "valueExpression is not specified"));
    } else if text.len() > LONGEST_AUDIT_EXPRESSION {
        let detail = format!("must not exceed {LONGEST_AUDIT_EXPRESSION} bytes in length");
        errors.push(field::required(&path, detail));
    } else {
        let value = compiler.compile(Place::AuditAnnotation, text);
        errors.extend(expression(&path, &annotation.value_expression, &value));
    }
    errors
}

pub(crate) fn validate_validating_policy_status(policy: &ValidatingAdmissionPolicy) -> ErrorList {
    let path = Path::new("status");
    let mut errors = ErrorList::new();
    let warnings = policy.status.type_checking.iter();
    let warnings = warnings.flat_map(|checking| &checking.expression_warnings);
    for (i, warning) in warnings.enumerate() {
        let path = path.child("typeChecking").child("expressionWarnings");
        let path = path.index(i);
        if warning.warning.is_empty() {
            errors.push(field::required(&path.child("warning"), ""));
        }
        if warning.field_ref.trim().is_empty() {
            errors.push(field::required(&path.child("fieldRef"), ""));
        }
    }
    errors.extend(rules::validate_conditions(
        &policy.status.conditions,
        &path.child("conditions"),
    ));
    errors
}

pub(crate) fn validate_mutating_policy(
    policy: &MutatingAdmissionPolicy,
    old: Option<&MutatingAdmissionPolicy>,
) -> ErrorList {
    let mut errors = metadata(&policy.metadata);
    let (path, spec) = (Path::new("spec"), &policy.spec);
    errors.extend(failure_policy(spec.failure_policy.as_ref(), &path));
    if let Some(kind) = &spec.param_kind {
        errors.extend(param_kind(kind, &path.child("paramKind")));
    }
    errors.extend(match_constraints(spec.match_constraints.as_deref(), &path));
    if let Some(constraints) = &spec.match_constraints {
        errors.extend(mutating_operations(
            constraints,
            &path.child("matchConstraints"),
        ));
    }
    let same_conditions = old.is_some_and(|old| {
        old.spec.param_kind == spec.param_kind && old.spec.match_conditions == spec.match_conditions
    });
    if !same_conditions {
        errors.extend(match_conditions(
            &spec.match_conditions,
            spec.param_kind.is_some(),
            &path.child("matchConditions"),
        ));
    }
    let mut compiler = Compiler::new(spec.param_kind.is_some(), true);
    errors.extend(variables(&mut compiler, &spec.variables, &path));
    let mutations_path = path.child("mutations");
    if spec.mutations.is_empty() {
        let detail = "mutations must contain at least one item";
        errors.push(field::required(&mutations_path, detail));
    }
    for (i, item) in spec.mutations.iter().enumerate() {
        errors.extend(mutation(&mut compiler, item, &mutations_path.index(i)));
    }
    errors.extend(required_one_of(
        &spec.reinvocation_policy,
        &REINVOCATION_POLICIES,
        &path.child("reinvocationPolicy"),
    ));
    errors
}

fn mutation(compiler: &mut Compiler, mutation: &Mutation, path: &Path) -> ErrorList {
    let patch = mutation.json_patch.as_ref().map(|it| &it.expression);
    let apply = mutation
        .apply_configuration
        .as_ref()
        .map(|it| &it.expression);
    let (place, own, own_child, other, other_child) = match mutation.patch_type.as_str() {
        "JSONPatch" => (
            Place::JsonPatch,
            patch,
            "jsonPatch",
            apply,
            "applyConfiguration",
        ),
        "ApplyConfiguration" => (
            Place::ApplyConfiguration,
            apply,
            "applyConfiguration",
            patch,
            "jsonPatch",
        ),
        kind => {
            let kinds = ["ApplyConfiguration", "JSONPatch"];
            return required_one_of(kind, &kinds, &path.child("patchType"));
        }
    };
    let kind = &mutation.patch_type;
    let mut errors = ErrorList::new();
    let own_path = path.child(own_child);
    match own {
        None => {
            let detail = format!("must be specified when patchType is {kind}");
            errors.push(field::required(&own_path, detail));
        }
        Some(text) if text.trim().is_empty() => {
            errors.push(field::required(&own_path.child("expression"), ""));
        }
        Some(text) => {
            let path = own_path.child("expression");
            let text = text.trim();
            errors.extend(expression(&path, text, &compiler.compile(place, text)));
        }
    }
    if other.is_some() {
        let detail = format!("must not be specified when patchType is {kind}");
        let value = format!("{{{other_child}}}");
        errors.push(field::invalid(&path.child(other_child), value, detail));
    }
    errors
}

// === Bindings ===

fn policy_name(name: &str, path: &Path) -> ErrorList {
    let path = path.child("policyName");
    if name.is_empty() {
        field::required(&path, "").into()
    } else {
        dns_subdomain(name, &path)
    }
}

fn param_ref(reference: Option<&ParamRef>, path: &Path) -> ErrorList {
    let path = path.child("paramRef");
    let mut errors = ErrorList::new();
    let Some(reference) = reference else {
        return errors;
    };
    let (name, selector) = (reference.name.as_str(), reference.selector.as_deref());
    let exclusive = "name and selector are mutually exclusive";
    if !name.is_empty() {
        let path = path.child("name");
        errors.extend(invalids(
            &path,
            name,
            rules::content::is_path_segment_name(name),
        ));
        if selector.is_some() {
            errors.push(field::forbidden(&path, exclusive));
        }
    }
    if let Some(selector) = selector {
        let path = path.child("selector");
        errors.extend(label_selector(Some(selector), &path));
        if !name.is_empty() {
            errors.push(field::forbidden(&path, exclusive));
        }
    }
    if name.is_empty() && selector.is_none() {
        let detail = "one of name or selector must be specified";
        errors.push(field::required(&path, detail));
    }
    errors.extend(required_one_of(
        reference
            .parameter_not_found_action
            .as_deref()
            .unwrap_or_default(),
        &["Deny", "Allow"],
        &path.child("parameterNotFoundAction"),
    ));
    errors
}

pub(crate) fn validate_validating_binding(binding: &ValidatingAdmissionPolicyBinding) -> ErrorList {
    let mut errors = metadata(&binding.metadata);
    let (path, spec) = (Path::new("spec"), &binding.spec);
    errors.extend(policy_name(&spec.policy_name, &path));
    errors.extend(param_ref(spec.param_ref.as_deref(), &path));
    if let Some(resources) = &spec.match_resources {
        errors.extend(match_resources(resources, &path.child("matchResources")));
    }
    let (path, actions) = (path.child("validationActions"), &spec.validation_actions);
    let mut seen = HashSet::new();
    for (i, action) in actions.iter().enumerate() {
        let path = path.index(i);
        errors.extend(one_of(action, &["Audit", "Deny", "Warn"], &path));
        if !seen.insert(action.as_str()) {
            errors.push(field::duplicate(&path, action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(field::invalid(&path, actions, detail));
    }
    if actions.is_empty() {
        let detail = "at least one validation action is required";
        errors.push(field::required(&path, detail));
    }
    errors
}

pub(crate) fn validate_mutating_binding(binding: &MutatingAdmissionPolicyBinding) -> ErrorList {
    let mut errors = metadata(&binding.metadata);
    let (path, spec) = (Path::new("spec"), &binding.spec);
    errors.extend(policy_name(&spec.policy_name, &path));
    errors.extend(param_ref(spec.param_ref.as_deref(), &path));
    if let Some(resources) = &spec.match_resources {
        let path = path.child("matchResources");
        errors.extend(match_resources(resources, &path));
        errors.extend(mutating_operations(resources, &path));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(errors: ErrorList, want: &[&str]) {
        let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(got, want);
    }

    fn decode<T: api_types::Described>(mut json: serde_json::Value) -> T {
        json["metadata"] = json!({"name": "a"});
        api_types::decode_json(json.to_string().as_bytes()).unwrap()
    }

    fn hooks(hook: serde_json::Value) -> ValidatingWebhookConfiguration {
        let mut whole = json!({
            "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://host/path"},
        });
        for (key, value) in hook.as_object().unwrap() {
            whole[key] = value.clone();
        }
        decode(json!({"webhooks": [whole]}))
    }

    #[track_caller]
    fn check_hook(hook: serde_json::Value, want: &[&str]) {
        check(validate_validating_webhooks(&hooks(hook), None), want);
    }

    #[test]
    fn webhooks_say_where_and_when_they_are_called() {
        check_hook(json!({}), &[]);
        check_hook(
            json!({"name": "nonsense", "sideEffects": "Some", "timeoutSeconds": 31}),
            &[
                "webhooks[0].name: Invalid value: \"nonsense\": should be a domain with at least three segments separated by dots",
                "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            ],
        );
        check_hook(
            json!({"clientConfig": {"url": "http://u@h/p?x=y#z"}}),
            &[
                "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                "webhooks[0].clientConfig.url: Invalid value: \"u\": user information is not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"z\": fragments are not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"x=y\": query parameters are not permitted in the URL",
            ],
        );
        check_hook(
            json!({"clientConfig": {"service": {"name": "n", "port": 443, "path": "a//"}}}),
            &[
                "webhooks[0].clientConfig.service.name: Required value",
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//\": must start with a '/'",
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//\": segment[0] may not be empty",
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//\": segment[1] may not be empty",
            ],
        );
        check_hook(
            json!({"admissionReviewVersions": ["v9", "v9"], "clientConfig": {}}),
            &[
                "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
                "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v9\": duplicate version",
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v9\",\"v9\"]: must include at least one of v1, v1beta1",
            ],
        );
        check_hook(
            json!({"rules": [{"operations": ["*", "CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["a/*", "a/b", "*", "c"]}]}),
            &[
                "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations",
                "webhooks[0].rules[0].resources[1]: Invalid value: \"a/b\": if 'a/*' is present, must not specify a/b",
                "webhooks[0].rules[0].resources: Invalid value: [\"a/*\",\"a/b\",\"*\",\"c\"]: if '*' is present, must not specify other resources without subresources",
            ],
        );
    }

    #[test]
    fn what_is_stored_may_stay() {
        let old = hooks(
            json!({"sideEffects": "Some", "admissionReviewVersions": ["v9"], "matchConditions": [{"name": ""}]}),
        );
        check(validate_validating_webhooks(&old, Some(&old)), &[]);
        assert_eq!(validate_validating_webhooks(&old, None).len(), 4);
    }

    #[test]
    fn policies() {
        check(
            validate_validating_policy(&decode(json!({"spec": {"failurePolicy": "Fail"}})), None),
            &[
                "spec.matchConstraints: Required value",
                "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
            ],
        );
        let constraints = json!({"matchPolicy": "Exact", "namespaceSelector": {}, "objectSelector": {},
            "resourceRules": [{"operations": ["DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]});
        check(
            validate_validating_policy(
                &decode(
                    json!({"spec": {"failurePolicy": "Fail", "matchConstraints": constraints, "paramKind": {"apiVersion": "a/b/c"},
                    "validations": [{"message": " ", "reason": "Nonsense"}], "variables": [{"name": "a b", "expression": "1"}],
                    "auditAnnotations": [{"key": "k", "valueExpression": ""}]}}),
                ),
                None,
            ),
            &[
                "spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
                "spec.paramKind.kind: Required value",
                "spec.variables[0].name: Invalid value: \"a b\": must be a valid CEL identifier",
                "spec.validations[0].expression: Required value: expression is not specified",
                "spec.validations[0].message: Invalid value: \" \": must be non-empty if specified",
                "spec.validations[0].reason: Unsupported value: \"Nonsense\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
                "spec.auditAnnotations[0].valueExpression: Required value: valueExpression is not specified",
            ],
        );
        check(
            validate_mutating_policy(
                &decode(
                    json!({"spec": {"failurePolicy": "Fail", "matchConstraints": constraints, "mutations": [
                        {"patchType": "JSONPatch", "applyConfiguration": {"expression": "x"}},
                    ]}}),
                ),
                None,
            ),
            &[
                "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\"",
                "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
                "spec.mutations[0].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when patchType is JSONPatch",
                "spec.reinvocationPolicy: Required value",
            ],
        );
    }

    #[track_caller]
    fn check_expressions(spec: serde_json::Value, want: &[&str]) {
        let constraints = json!({"matchPolicy": "Exact", "namespaceSelector": {}, "objectSelector": {},
            "resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]});
        let mut spec = spec;
        spec["failurePolicy"] = json!("Fail");
        spec["matchConstraints"] = constraints;
        let policy = json!({"spec": spec});
        if policy["spec"].get("mutations").is_some() {
            check(validate_mutating_policy(&decode(policy), None), want);
        } else {
            check(validate_validating_policy(&decode(policy), None), want);
        }
    }

    #[test]
    fn expressions_are_compiled() {
        check_expressions(
            json!({"variables": [{"name": "x", "expression": "object.a."}, {"name": "y", "expression": "[1]"}],
                "matchConditions": [{"name": "a", "expression": " 1 "}, {"name": "b", "expression": "params.a"}],
                "validations": [
                    {"expression": "variables.y == 'a'", "messageExpression": "1"},
                    {"expression": "authorizer.path('/').check('get').allowed()", "messageExpression": "string(authorizer)"},
                ],
                "auditAnnotations": [{"key": "k", "valueExpression": " 1 "}]}),
            &[
                "spec.matchConditions[0].expression: Invalid value: \"1\": must evaluate to bool but got int",
                "spec.matchConditions[1].expression: Invalid value: \"params.a\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n | params.a\n | ^",
                "spec.variables[0].expression: Invalid value: \"object.a.\": compilation failed: ERROR: <input>:1:10: Syntax error: no viable alternative at input '.'\n | object.a.\n | .........^",
                "spec.validations[0].expression: Invalid value: \"variables.y == 'a'\": compilation failed: ERROR: <input>:1:13: found no matching overload for '_==_' applied to '(list(int), string)'\n | variables.y == 'a'\n | ............^",
                "spec.validations[0].messageExpression: Invalid value: \"1\": must evaluate to string but got int",
                "spec.validations[1].messageExpression: Invalid value: \"string(authorizer)\": compilation failed: ERROR: <input>:1:8: undeclared reference to 'authorizer' (in container '')\n | string(authorizer)\n | .......^",
                "spec.auditAnnotations[0].valueExpression: Invalid value: \" 1 \": must evaluate to one of [string null_type] but got int",
            ],
        );
        check_expressions(
            json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
                "validations": [{"expression": "params.a == 1 && variables.x", "messageExpression": "params.b"}]}),
            &[
                "spec.validations[0].expression: Invalid value: \"params.a == 1 && variables.x\": compilation failed: ERROR: <input>:1:18: undeclared reference to 'variables' (in container '')\n | params.a == 1 && variables.x\n | .................^",
                "spec.validations[0].messageExpression: Invalid value: \"params.b\": must evaluate to string but got dyn",
            ],
        );
        check_expressions(
            json!({"reinvocationPolicy": "Never", "mutations": [
                {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": " Object{spec: Object.spec{replicas: 1}} "}},
                {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "object"}},
                {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: jsonpatch.escapeKey('/a'), value: 1}]"}},
                {"patchType": "JSONPatch", "jsonPatch": {"expression": "Object{}"}},
            ]}),
            &[
                "spec.mutations[1].applyConfiguration.expression: Invalid value: \"object\": must evaluate to Object but got dyn",
                "spec.mutations[3].jsonPatch.expression: Invalid value: \"Object{}\": must evaluate to list(JSONPatch) but got Object",
            ],
        );
    }

    #[test]
    fn bindings() {
        check(
            validate_validating_binding(&decode(json!({"spec": {}}))),
            &[
                "spec.policyName: Required value",
                "spec.validationActions: Required value: at least one validation action is required",
            ],
        );
        check(
            validate_validating_binding(&decode(
                json!({"spec": {"policyName": "p", "validationActions": ["Deny", "Warn", "Deny"],
                "paramRef": {"name": "n", "selector": {}, "parameterNotFoundAction": "Nonsense"}}}),
            )),
            &[
                "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
                "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
                "spec.paramRef.parameterNotFoundAction: Unsupported value: \"Nonsense\": supported values: \"Deny\", \"Allow\"",
                "spec.validationActions[2]: Duplicate value: \"Deny\"",
                "spec.validationActions: Invalid value: [\"Deny\",\"Warn\",\"Deny\"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
            ],
        );
        check(
            validate_mutating_binding(&decode(json!({"spec": {"policyName": "p"}}))),
            &[],
        );
    }
}
