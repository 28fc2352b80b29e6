//! Flow schemas and priority levels. Upstream: pkg/apis/flowcontrol/validation.

use api_types::flowcontrol::v1::*;

use super::*;
use crate::hooks::flow_control::{mandatory_flow_schema, mandatory_priority_level};

const MAX_PRECEDENCE: i32 = 10_000;
const EXEMPT: &str = "exempt";
const MAX_QUEUES: i32 = 10_000_000;
/// How many bits of a hash shuffle sharding can use.
const MAX_HASH_BITS: u32 = 60;
const VERBS: [&str; 9] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
];

// === FlowSchema ===

pub(crate) fn validate_flow_schema(schema: &FlowSchema) -> ErrorList {
    let mut errors = object_meta(&schema.metadata, false, rules::name_is_dns_subdomain);
    let (path, name) = (Path::new("spec"), schema.metadata.name.as_str());
    errors.extend(flow_schema_spec(name, &schema.spec, &path));
    if mandatory_flow_schema(name).is_some_and(|mandatory| mandatory.spec != schema.spec) {
        let detail = format!("spec of '{name}' must equal the fixed value");
        errors.push(field::invalid(
            &path,
            go_value::bad_value(&schema.spec),
            detail,
        ));
    }
    errors.extend(validate_flow_schema_status(schema));
    errors
}

pub(crate) fn validate_flow_schema_status(schema: &FlowSchema) -> ErrorList {
    condition_types(schema.status.conditions.iter().map(|it| it.type_.as_str()))
}

fn condition_types<'a>(kinds: impl Iterator<Item = &'a str>) -> ErrorList {
    let path = path(&["status", "conditions"]);
    let mut errors = ErrorList::new();
    let mut seen = std::collections::HashSet::new();
    for (i, kind) in kinds.enumerate() {
        let path = path.index(i).child("type");
        if !seen.insert(kind) {
            errors.push(field::duplicate(&path, kind));
        }
        if kind.is_empty() {
            errors.push(field::required(&path, ""));
        }
    }
    errors
}

fn flow_schema_spec(name: &str, spec: &FlowSchemaSpec, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let precedence_path = path.child("matchingPrecedence");
    let precedence = spec.matching_precedence;
    let mut bad_precedence =
        |detail: String| errors.push(field::invalid(&precedence_path, precedence, detail));
    if precedence <= 0 {
        bad_precedence("must be a positive value".to_owned());
    }
    if precedence > MAX_PRECEDENCE {
        bad_precedence(format!("must not be greater than {MAX_PRECEDENCE}"));
    }
    if precedence == 1 && name != EXEMPT {
        bad_precedence("only the schema named 'exempt' may have matchingPrecedence 1".to_owned());
    }
    if let Some(method) = &spec.distinguisher_method
        && !matches!(method.type_.as_str(), "ByNamespace" | "ByUser")
    {
        errors.push(field::not_supported(
            &path.child("distinguisherMethod").child("type"),
            go_value::bad_value(&**method),
            &["ByNamespace", "ByUser"],
        ));
    }
    let level_path = path.child("priorityLevelConfiguration").child("name");
    let level = &spec.priority_level_configuration.name;
    if level.is_empty() {
        errors.push(field::required(
            &level_path,
            "must reference a priority level",
        ));
    } else {
        errors.extend(dns_subdomain(level, &level_path));
    }
    for (i, rule) in spec.rules.iter().enumerate() {
        errors.extend(policy_rules(rule, &path.child("rules").index(i)));
    }
    errors
}

fn policy_rules(rule: &PolicyRulesWithSubjects, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let subjects_path = path.child("subjects");
    if rule.subjects.is_empty() {
        errors.push(field::required(
            &subjects_path,
            "subjects must contain at least one value",
        ));
    }
    for (i, subject) in rule.subjects.iter().enumerate() {
        errors.extend(flow_subject(subject, &subjects_path.index(i)));
    }
    if rule.resource_rules.is_empty() && rule.non_resource_rules.is_empty() {
        errors.push(field::required(
            path,
            "at least one of resourceRules and nonResourceRules has to be non-empty",
        ));
    }
    for (i, rule) in rule.resource_rules.iter().enumerate() {
        errors.extend(resource_rule(rule, &path.child("resourceRules").index(i)));
    }
    for (i, rule) in rule.non_resource_rules.iter().enumerate() {
        errors.extend(non_resource_rule(
            rule,
            &path.child("nonResourceRules").index(i),
        ));
    }
    errors
}

/// A subject says its kind and has the part of that kind only.
fn flow_subject(subject: &Subject, path: &Path) -> ErrorList {
    const KINDS: [(&str, &str); 3] = [
        ("ServiceAccount", "serviceAccount"),
        ("User", "user"),
        ("Group", "group"),
    ];
    let Some((kind, own)) = KINDS.into_iter().find(|(kind, _)| *kind == subject.kind) else {
        let kinds = ["Group", "ServiceAccount", "User"];
        return one_of(&subject.kind, &kinds, &path.child("kind"));
    };
    let mut errors = ErrorList::new();
    let own_path = path.child(own);
    let name_path = own_path.child("name");
    let user = subject.user.as_ref().map(|user| &user.name);
    let group = subject.group.as_ref().map(|group| &group.name);
    let account = subject.service_account.as_deref();
    let name = match kind {
        "ServiceAccount" => account.map(|account| &account.name),
        "User" => user,
        _ => group,
    };
    match name {
        None => {
            let detail = format!("{own} is required when subject kind is '{kind}'");
            errors.push(field::required(&own_path, detail));
        }
        Some(name) if name.is_empty() => errors.push(field::required(&name_path, "")),
        Some(name) if kind == "ServiceAccount" && name != "*" => {
            errors.extend(dns_subdomain(name, &name_path));
        }
        Some(_) => {}
    }
    if let Some(account) = account.filter(|_| kind == "ServiceAccount") {
        let path = own_path.child("namespace");
        if account.namespace.is_empty() {
            let detail = "must specify namespace for service account";
            errors.push(field::required(&path, detail));
        } else {
            errors.extend(dns_label(&account.namespace, &path));
        }
    }
    let present = [
        ("ServiceAccount", account.is_some()),
        ("User", user.is_some()),
        ("Group", group.is_some()),
    ];
    for ((other, field), (_, present)) in KINDS.into_iter().zip(present) {
        if present && other != kind {
            let detail = format!("{field} is forbidden when subject kind is not '{other}'");
            errors.push(field::forbidden(&path.child(field), detail));
        }
    }
    errors
}

fn has_wildcard(values: &[String]) -> bool {
    values.iter().any(|value| value == "*")
}

/// A wildcard stands alone.
fn lone_wildcard(values: &[String], others: &str, path: &Path) -> ErrorList {
    if has_wildcard(values) && values.len() > 1 {
        let detail = format!("if '*' is present, must not specify other {others}");
        field::invalid(path, values, detail).into()
    } else {
        ErrorList::new()
    }
}

fn verbs(values: &[String], path: &Path) -> ErrorList {
    let path = path.child("verbs");
    if values.is_empty() {
        field::required(&path, "verbs must contain at least one value").into()
    } else if !has_wildcard(values) && values.iter().any(|verb| !VERBS.contains(&verb.as_str())) {
        field::not_supported(&path, values, &VERBS).into()
    } else {
        lone_wildcard(values, "verbs", &path)
    }
}

fn non_resource_rule(rule: &NonResourcePolicyRule, path: &Path) -> ErrorList {
    let mut errors = verbs(&rule.verbs, path);
    let (path, urls) = (path.child("nonResourceURLs"), &rule.non_resource_urls);
    if urls.is_empty() {
        let detail = "nonResourceURLs must contain at least one value";
        errors.push(field::required(&path, detail));
    } else if has_wildcard(urls) {
        errors.extend(lone_wildcard(urls, "non-resource URLs", &path));
    } else {
        for (i, url) in urls.iter().enumerate() {
            if let Some(detail) = url_problem(url) {
                errors.push(field::invalid(&path.index(i), url, detail));
            }
        }
    }
    errors
}

fn url_problem(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    if url.is_empty() {
        Some("must not be empty")
    } else if !url.starts_with('/') {
        Some("must start with slash")
    } else if url.contains(' ') {
        Some("must not contain white-space")
    } else if url.contains("//") {
        Some("must not contain double slash")
    } else if stars > 1 || stars == 1 && !url.ends_with("/*") {
        Some("wildcard can only do suffix matching")
    } else {
        None
    }
}

fn resource_rule(rule: &ResourcePolicyRule, path: &Path) -> ErrorList {
    let mut errors = verbs(&rule.verbs, path);
    let lists = [
        ("apiGroups", &rule.api_groups, "api group", "api groups"),
        ("resources", &rule.resources, "resource", "resources"),
    ];
    for (child, values, one, others) in lists {
        let path = path.child(child);
        if values.is_empty() {
            let detail = format!("resource rules must supply at least one {one}");
            errors.push(field::required(&path, detail));
        } else {
            errors.extend(lone_wildcard(values, others, &path));
        }
    }
    let (path, namespaces) = (path.child("namespaces"), &rule.namespaces);
    if namespaces.is_empty() && !rule.cluster_scope {
        let detail =
            "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(field::required(&path, detail));
    } else if has_wildcard(namespaces) {
        errors.extend(lone_wildcard(namespaces, "namespaces", &path));
    } else {
        for (i, namespace) in namespaces.iter().enumerate() {
            let problems = rules::is_dns1123_label(namespace).into_iter();
            let problems = problems.map(|problem| {
                format!("each member of this list must be '*' or a DNS-1123 label; {problem}")
            });
            errors.extend(invalids(&path.index(i), namespace, problems.collect()));
        }
    }
    errors
}

// === PriorityLevelConfiguration ===

pub(crate) fn validate_priority_level(level: &PriorityLevelConfiguration) -> ErrorList {
    const PRESERVE_ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
    let mut errors = object_meta(&level.metadata, false, rules::name_is_dns_subdomain);
    if level.metadata.annotations.contains_key(PRESERVE_ZERO) {
        let detail = format!("annotation '{PRESERVE_ZERO}' is forbidden");
        errors.push(field::forbidden(
            &path(&["metadata", "annotations"]),
            detail,
        ));
    }
    let (path, name) = (Path::new("spec"), level.metadata.name.as_str());
    errors.extend(priority_level_spec(name, &level.spec, &path));
    errors.extend(fixed_spec(level, &path));
    errors.extend(validate_priority_level_status(level));
    errors
}

pub(crate) fn validate_priority_level_status(level: &PriorityLevelConfiguration) -> ErrorList {
    condition_types(level.status.conditions.iter().map(|it| it.type_.as_str()))
}

/// The levels that every server relies on stay as they are, but for the shares of the exempt one.
fn fixed_spec(level: &PriorityLevelConfiguration, path: &Path) -> ErrorList {
    let name = level.metadata.name.as_str();
    let Some(mandatory) = mandatory_priority_level(name) else {
        return ErrorList::new();
    };
    let (mut spec, mut detail) = (
        level.spec.clone(),
        format!("spec of '{name}' must equal the fixed value"),
    );
    if name == EXEMPT {
        spec.exempt.clone_from(&mandatory.spec.exempt);
        detail =
            format!("spec of '{name}' except the 'spec.exempt' field must equal the fixed value");
    }
    if spec == mandatory.spec {
        return ErrorList::new();
    }
    field::invalid(path, go_value::bad_value(&level.spec), detail).into()
}

fn priority_level_spec(
    name: &str,
    spec: &PriorityLevelConfigurationSpec,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let type_path = path.child("type");
    let (limited_path, exempt_path) = (path.child("limited"), path.child("exempt"));
    if (name == EXEMPT) != (spec.type_ == "Exempt") {
        let detail = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(field::invalid(&type_path, &spec.type_, detail));
    }
    match spec.type_.as_str() {
        "Exempt" => {
            if spec.limited.is_some() {
                let detail = "must be nil if the type is not Limited";
                errors.push(field::forbidden(&limited_path, detail));
            }
            if let Some(exempt) = &spec.exempt {
                errors.extend(shares(exempt.nominal_concurrency_shares, &exempt_path));
                errors.extend(lendable(exempt.lendable_percent, &exempt_path));
            }
        }
        "Limited" => {
            if spec.exempt.is_some() {
                let detail = "must be nil if the type is Limited";
                errors.push(field::forbidden(&exempt_path, detail));
            }
            match &spec.limited {
                None => {
                    let detail = "must not be empty when type is Limited";
                    errors.push(field::required(&limited_path, detail));
                }
                Some(limited) => errors.extend(limited_level(limited, &limited_path)),
            }
        }
        other => errors.extend(one_of(other, &["Exempt", "Limited"], &type_path)),
    }
    errors
}

fn shares(shares: Option<i32>, path: &Path) -> ErrorList {
    let path = path.child("nominalConcurrencyShares");
    let negative = shares.into_iter().filter(|shares| *shares < 0);
    negative
        .map(|shares| field::invalid(&path, shares, "must be a non-negative integer"))
        .collect()
}

fn lendable(percent: Option<i32>, path: &Path) -> ErrorList {
    let path = path.child("lendablePercent");
    let outside = percent
        .into_iter()
        .filter(|percent| !(0..=100).contains(percent));
    outside
        .map(|percent| field::invalid(&path, percent, "must be between 0 and 100, inclusive"))
        .collect()
}

fn limited_level(limited: &LimitedPriorityLevelConfiguration, path: &Path) -> ErrorList {
    let mut errors = shares(limited.nominal_concurrency_shares, path);
    errors.extend(limit_response(
        &limited.limit_response,
        &path.child("limitResponse"),
    ));
    errors.extend(lendable(limited.lendable_percent, path));
    if let Some(percent) = limited
        .borrowing_limit_percent
        .filter(|percent| *percent < 0)
    {
        let detail = "if specified, must be a non-negative integer";
        errors.push(field::invalid(
            &path.child("borrowingLimitPercent"),
            percent,
            detail,
        ));
    }
    errors
}

fn limit_response(response: &LimitResponse, path: &Path) -> ErrorList {
    let queuing_path = path.child("queuing");
    match (response.type_.as_str(), &response.queuing) {
        ("Reject", Some(_)) => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            field::forbidden(&queuing_path, detail).into()
        }
        ("Queue", None) => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            field::required(&queuing_path, detail).into()
        }
        ("Queue", Some(queuing)) => queues(queuing, &queuing_path),
        (other, _) => one_of(other, &["Queue", "Reject"], &path.child("type")),
    }
}

fn queues(queuing: &QueuingConfiguration, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut bad = |child: &'static str, value: i32, detail: String| {
        errors.push(field::invalid(&path.child(child), value, detail));
    };
    let (queues, hand) = (queuing.queues, queuing.hand_size);
    let positive = || "must be positive".to_owned();
    if queuing.queue_length_limit <= 0 {
        bad("queueLengthLimit", queuing.queue_length_limit, positive());
    }
    if queues <= 0 {
        bad("queues", queues, positive());
    } else if queues > MAX_QUEUES {
        bad(
            "queues",
            queues,
            format!("must not be greater than {MAX_QUEUES}"),
        );
    }
    if hand <= 0 {
        bad("handSize", hand, positive());
    } else if hand > queues {
        bad(
            "handSize",
            hand,
            format!("should not be greater than queues ({queues})"),
        );
    } else if entropy_bits(queues, hand) > f64::from(MAX_HASH_BITS) {
        bad(
            "handSize",
            hand,
            format!(
                "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
            ),
        );
    }
    errors
}

/// How many bits it takes to deal a hand of cards out of a deck.
fn entropy_bits(deck: i32, hand: i32) -> f64 {
    let bits: f64 = (0..hand).map(|dealt| f64::from(deck - dealt).log2()).sum();
    bits.ceil()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(errors: ErrorList, want: &[&str]) {
        let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(got, want);
    }

    fn schema(json: serde_json::Value) -> FlowSchema {
        let mut schema: FlowSchema = api_types::decode_json(json.to_string().as_bytes()).unwrap();
        if schema.metadata.name.is_empty() {
            schema.metadata.name = "a".to_owned();
        }
        schema
    }

    fn level(json: serde_json::Value) -> PriorityLevelConfiguration {
        let mut level: PriorityLevelConfiguration =
            api_types::decode_json(json.to_string().as_bytes()).unwrap();
        if level.metadata.name.is_empty() {
            level.metadata.name = "a".to_owned();
        }
        level
    }

    #[test]
    fn flow_schemas() {
        use serde_json::json;
        check(
            validate_flow_schema(&schema(
                json!({"spec": {"priorityLevelConfiguration": {"name": "x"}, "matchingPrecedence": 9, "rules": [{
                    "subjects": [{"kind": "User", "user": {"name": "*"}}, {"kind": "ServiceAccount", "serviceAccount": {"namespace": "n", "name": "*"}}],
                    "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/", "/healthz/*"]}],
                }]}}),
            )),
            &[],
        );
        check(
            validate_flow_schema(&schema(json!({}))),
            &[
                "spec.matchingPrecedence: Invalid value: 0: must be a positive value",
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            ],
        );
        check(
            validate_flow_schema(&schema(
                json!({"spec": {"priorityLevelConfiguration": {"name": "x"}, "matchingPrecedence": 1,
                "distinguisherMethod": {"type": "Nonsense"}, "rules": [{}, {
                    "subjects": [{"kind": "User"}, {"kind": "Group", "group": {"name": "g"}, "user": {"name": "u"}}],
                    "resourceRules": [{"verbs": ["*", "get"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["a_"]}],
                }]}}),
            )),
            &[
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
                "spec.distinguisherMethod.type: Unsupported value: {\"Type\":\"Nonsense\"}: supported values: \"ByNamespace\", \"ByUser\"",
                "spec.rules[0].subjects: Required value: subjects must contain at least one value",
                "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
                "spec.rules[1].subjects[0].user: Required value: user is required when subject kind is 'User'",
                "spec.rules[1].subjects[1].user: Forbidden: user is forbidden when subject kind is not 'User'",
                "spec.rules[1].resourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other verbs",
                "spec.rules[1].resourceRules[0].namespaces[0]: Invalid value: \"a_\": each member of this list must be '*' or a DNS-1123 label; a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            ],
        );
    }

    #[test]
    fn what_every_server_relies_on_is_fixed() {
        use serde_json::json;
        for name in ["exempt", "catch-all"] {
            check(
                validate_flow_schema(&mandatory_flow_schema(name).unwrap()),
                &[],
            );
            check(
                validate_priority_level(&mandatory_priority_level(name).unwrap()),
                &[],
            );
        }
        let changed = schema(
            json!({"metadata": {"name": "catch-all"}, "spec": {"priorityLevelConfiguration": {"name": "none"}, "matchingPrecedence": 9000}}),
        );
        check(
            validate_flow_schema(&changed),
            &[
                "spec: Invalid value: {\"PriorityLevelConfiguration\":{\"Name\":\"none\"},\"MatchingPrecedence\":9000,\"DistinguisherMethod\":null,\"Rules\":null}: spec of 'catch-all' must equal the fixed value",
            ],
        );
        let mut exempt = mandatory_priority_level("exempt").unwrap();
        exempt.spec.exempt.as_mut().unwrap().lendable_percent = Some(5);
        check(validate_priority_level(&exempt), &[]);
    }

    #[test]
    fn priority_levels() {
        use serde_json::json;
        check(
            validate_priority_level(&level(json!({"spec": {"type": "Exempt", "limited": {}}}))),
            &[
                "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'",
                "spec.limited: Forbidden: must be nil if the type is not Limited",
            ],
        );
        check(
            validate_priority_level(&level(json!({"spec": {"type": "Limited"}}))),
            &["spec.limited: Required value: must not be empty when type is Limited"],
        );
        check(
            validate_priority_level(&level(
                json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": -1, "lendablePercent": 101,
                "borrowingLimitPercent": -1, "limitResponse": {"type": "Queue", "queuing": {"queues": 100_000_000, "handSize": 20, "queueLengthLimit": 1}}}}}),
            )),
            &[
                "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
                "spec.limited.limitResponse.queuing.queues: Invalid value: 100000000: must not be greater than 10000000",
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 20: required entropy bits of deckSize 100000000 and handSize 20 should not be greater than 60",
                "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
                "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
            ],
        );
    }
}
