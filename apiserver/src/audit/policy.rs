//! Which requests are noted, and how much of them. Upstream: apiserver/pkg/audit/policy and pkg/apis/audit/validation.

use std::path::Path;

use api_types::audit::v1::{GroupResources, Policy as File, PolicyRule};
use apimachinery::field::{self, BadValue, ErrorList, Path as FieldPath};
use apimachinery::validation::name_is_dns_subdomain;
use apimachinery::{os_error, quote};
use component_base::auth::UserInfo;
use component_base::config::{ConfigError, Document};
use serde_json::json;

use crate::request::RequestInfo;

/// How much of a request is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    const ALL: [Level; 4] = [
        Level::None,
        Level::Metadata,
        Level::Request,
        Level::RequestResponse,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }

    fn parse(text: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// When an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    const ALL: [Stage; 4] = [
        Stage::RequestReceived,
        Stage::ResponseStarted,
        Stage::ResponseComplete,
        Stage::Panic,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Stage::RequestReceived => "RequestReceived",
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
            Stage::Panic => "Panic",
        }
    }
}

/// A set of stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages(u8);

impl Stages {
    fn of(names: &[String]) -> Stages {
        let of = |stage: &Stage| names.iter().any(|name| name == stage.as_str());
        let stages = Stage::ALL.iter().filter(|stage| of(stage));
        Stages(stages.fold(0, |set, stage| set | 1 << *stage as u8))
    }

    pub fn contains(self, stage: Stage) -> bool {
        self.0 & 1 << stage as u8 != 0
    }

    fn and(self, other: Stages) -> Stages {
        Stages(self.0 | other.0)
    }
}

/// What the policy says about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub level: Level,
    pub omit_stages: Stages,
    pub omit_managed_fields: bool,
}

struct Rule {
    file: PolicyRule,
    verdict: Verdict,
}

/// The rules of `--audit-policy-file`. The first that matches counts; without one nothing is noted.
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// Reads and checks the file. The error is what the server does not start for.
    pub fn load(path: &Path) -> Result<Policy, String> {
        let text = std::fs::read(path).map_err(|error| {
            format!(
                "loading audit policy file: failed to read file path {}: {}",
                quote::quote(&path.to_string_lossy()),
                os_error::on_reading(path, &error)
            )
        })?;
        Policy::parse(&text).map_err(|error| {
            format!(
                "loading audit policy file: {error}: from file {}",
                path.display()
            )
        })
    }

    fn parse(text: &[u8]) -> Result<Policy, String> {
        let nameless =
            || "unknown group version field audit.k8s.io/__internal, Kind=Policy in policy";
        if text.iter().all(u8::is_ascii_whitespace) {
            return Err(nameless().to_owned());
        }
        let document = Document::parse(text).map_err(|error| match error {
            ConfigError::Missing { .. } => nameless().to_owned(),
            error => format!("failed decoding: {error}"),
        })?;
        let file: File = document
            .decode_leniently()
            .map_err(|error| format!("failed decoding: {}", with_scheme(error)))?;
        if let Some(problems) = validate(&file).aggregate() {
            return Err(problems);
        }
        if file.rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".to_owned());
        }
        Ok(Policy::of(file))
    }

    fn of(file: File) -> Policy {
        let omitted = Stages::of(&file.omit_stages);
        let rule = |rule: PolicyRule| Rule {
            verdict: Verdict {
                // Validated before.
                level: Level::parse(&rule.level).unwrap_or(Level::None),
                omit_stages: omitted.and(Stages::of(&rule.omit_stages)),
                omit_managed_fields: rule.omit_managed_fields.unwrap_or(file.omit_managed_fields),
            },
            file: rule,
        };
        Policy {
            rules: file.rules.into_iter().map(rule).collect(),
        }
    }

    /// What is to be noted of a request. `user` is who sent it, before impersonation; `None` when that is not known.
    pub fn evaluate(&self, info: &RequestInfo, user: Option<&UserInfo>) -> Verdict {
        self.rules
            .iter()
            .find(|rule| matches(&rule.file, info, user))
            .map_or(
                Verdict {
                    level: Level::None,
                    omit_stages: Stages::default(),
                    omit_managed_fields: false,
                },
                |rule| rule.verdict,
            )
    }
}

/// Where upstream looks for kinds is part of what it says.
fn with_scheme(error: ConfigError) -> String {
    match error {
        ConfigError::UnknownKind { .. } => {
            format!("{error} in scheme \"k8s.io/apiserver/pkg/audit/scheme.go:30\"")
        }
        error => error.to_string(),
    }
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|have| have == name)
}

fn matches(rule: &PolicyRule, info: &RequestInfo, user: Option<&UserInfo>) -> bool {
    if !rule.users.is_empty() && !user.is_some_and(|user| has(&rule.users, &user.name)) {
        return false;
    }
    let in_groups = |user: &UserInfo| user.groups.iter().any(|name| has(&rule.user_groups, name));
    if !rule.user_groups.is_empty() && !user.is_some_and(in_groups) {
        return false;
    }
    if !rule.verbs.is_empty() && !has(&rule.verbs, &info.verb) {
        return false;
    }
    if !rule.namespaces.is_empty() || !rule.resources.is_empty() {
        return info.is_resource_request
            && (rule.namespaces.is_empty() || has(&rule.namespaces, &info.namespace))
            && (rule.resources.is_empty()
                || rule.resources.iter().any(|row| resource_matches(row, info)));
    }
    rule.non_resource_urls.is_empty()
        || !info.is_resource_request
            && rule
                .non_resource_urls
                .iter()
                .any(|pattern| path_matches(pattern, &info.path))
}

fn path_matches(pattern: &str, path: &str) -> bool {
    let prefix = || pattern.trim_end_matches('*');
    pattern == path || pattern.ends_with('*') && path.starts_with(prefix())
}

fn resource_matches(row: &GroupResources, info: &RequestInfo) -> bool {
    if row.group != info.api_group && row.group != "*" {
        return false;
    }
    if row.resources.is_empty() {
        return true;
    }
    if !row.resource_names.is_empty() && !has(&row.resource_names, &info.name) {
        return false;
    }
    let (resource, subresource) = (info.resource.as_str(), info.subresource.as_str());
    row.resources.iter().any(|pattern| {
        if pattern == "*" {
            return true;
        }
        match pattern.split_once('/') {
            None => subresource.is_empty() && pattern == resource,
            Some(("*", wanted)) if !subresource.is_empty() && wanted == subresource => true,
            // All of the resource, and the resource itself.
            Some((wanted, "*")) => wanted == resource,
            Some((wanted, of)) => {
                wanted == resource && of == subresource && !subresource.is_empty()
            }
        }
    })
}

fn validate(file: &File) -> ErrorList {
    let mut errors = ErrorList::default();
    check_stages(
        &file.omit_stages,
        &FieldPath::new("omitStages"),
        &mut errors,
    );
    for (i, rule) in file.rules.iter().enumerate() {
        check_rule(rule, &FieldPath::new("rules").index(i), &mut errors);
    }
    errors
}

fn check_rule(rule: &PolicyRule, path: &FieldPath, errors: &mut ErrorList) {
    let level = path.child("level");
    if rule.level.is_empty() {
        errors.0.push(field::required(&level, ""));
    } else if Level::parse(&rule.level).is_none() {
        let known = Level::ALL.map(Level::as_str);
        errors
            .0
            .push(field::not_supported(&level, rule.level.as_str(), &known));
    }
    let urls = path.child("nonResourceURLs");
    for (i, url) in rule.non_resource_urls.iter().enumerate() {
        if url == "*" {
            continue;
        }
        let at = urls.index(i);
        if !url.starts_with('/') {
            let detail = "non-resource URL rules must begin with a '/' character";
            errors.0.push(field::invalid(&at, url.as_str(), detail));
        }
        if url.strip_suffix('*').unwrap_or(url).contains('*') {
            let detail = "non-resource URL wildcards '*' must be the final character of the rule";
            errors.0.push(field::invalid(&at, url.as_str(), detail));
        }
    }
    check_resources(&rule.resources, &path.child("resources"), errors);
    check_stages(&rule.omit_stages, &path.child("omitStages"), errors);
    let of_resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
    if of_resources && !rule.non_resource_urls.is_empty() {
        errors.0.push(field::invalid(
            &urls,
            BadValue::json(&json!(rule.non_resource_urls)),
            "rules cannot apply to both regular resources and non-resource URLs",
        ));
    }
}

fn check_resources(rows: &[GroupResources], path: &FieldPath, errors: &mut ErrorList) {
    for row in rows {
        if !row.group.is_empty() && row.group != "*" {
            let problems = name_is_dns_subdomain(&row.group, false);
            if !problems.is_empty() {
                errors.0.push(field::invalid(
                    &path.child("group"),
                    row.group.as_str(),
                    problems.join(","),
                ));
            }
        }
        if !row.resource_names.is_empty() && row.resources.is_empty() {
            errors.0.push(field::invalid(
                &path.child("resourceNames"),
                BadValue::json(&json!(row.resource_names)),
                "using resourceNames requires at least one resource",
            ));
        }
    }
}

fn check_stages(stages: &[String], path: &FieldPath, errors: &mut ErrorList) {
    let known = Stage::ALL.map(Stage::as_str);
    for (i, stage) in stages.iter().enumerate() {
        if !known.contains(&stage.as_str()) {
            let detail = format!("allowed stages are {}", known.join(","));
            errors
                .0
                .push(field::invalid(&path.index(i), stage.as_str(), detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";

    fn policy(rules: &str) -> Policy {
        Policy::parse(format!("{HEAD}{rules}").as_bytes()).unwrap()
    }

    #[track_caller]
    fn refused(text: &str, want: &str) {
        let error = Policy::parse(text.as_bytes()).err().unwrap();
        assert_eq!(error, want);
    }

    #[test]
    fn files_that_are_no_policy() {
        let nameless = "unknown group version field audit.k8s.io/__internal, Kind=Policy in policy";
        refused("", nameless);
        refused("rules:\n- level: None\n", nameless);
        refused(HEAD, "loaded illegal policy with 0 rules");
        refused(
            "apiVersion: audit.k8s.io/v1\nkind: Foo\nrules: []\n",
            "failed decoding: no kind \"Foo\" is registered for version \"audit.k8s.io/v1\" in scheme \"k8s.io/apiserver/pkg/audit/scheme.go:30\"",
        );
        let error = Policy::load(Path::new("/none")).err().unwrap();
        assert_eq!(
            error,
            "loading audit policy file: failed to read file path \"/none\": open /none: no such file or directory"
        );
    }

    #[test]
    fn problems_are_told_together() {
        refused(
            &format!(
                "{HEAD}rules:\n- level: Foo\n- {{}}\n- level: None\n  nonResourceURLs: ['abc', '/a*b', '', '*']\n  namespaces: [a]\n- level: None\n  resources: [{{group: a, resourceNames: [x]}}]\n  omitStages: [X]\nomitStages: [Z]\n"
            ),
            "[omitStages[0]: Invalid value: \"Z\": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic, rules[0].level: Unsupported value: \"Foo\": supported values: \"None\", \"Metadata\", \"Request\", \"RequestResponse\", rules[1].level: Required value, rules[2].nonResourceURLs[0]: Invalid value: \"abc\": non-resource URL rules must begin with a '/' character, rules[2].nonResourceURLs[1]: Invalid value: \"/a*b\": non-resource URL wildcards '*' must be the final character of the rule, rules[2].nonResourceURLs[2]: Invalid value: \"\": non-resource URL rules must begin with a '/' character, rules[2].nonResourceURLs: Invalid value: [\"abc\",\"/a*b\",\"\",\"*\"]: rules cannot apply to both regular resources and non-resource URLs, rules[3].resources.resourceNames: Invalid value: [\"x\"]: using resourceNames requires at least one resource, rules[3].omitStages[0]: Invalid value: \"X\": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic]",
        );
    }

    #[test]
    fn unknown_fields_are_no_reason_not_to_start() {
        let policy = policy("what: 1\nrules:\n- level: Metadata\n  who: knows\n");
        let info = RequestInfo::default();
        assert_eq!(policy.evaluate(&info, None).level, Level::Metadata);
    }

    fn of_resource(group: &str, resource: &str, namespace: &str, name: &str) -> RequestInfo {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        RequestInfo {
            is_resource_request: true,
            verb: "get".to_owned(),
            api_group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            path: "/api".to_owned(),
            ..RequestInfo::default()
        }
    }

    #[track_caller]
    fn check(rule: &str, info: &RequestInfo, want: bool) {
        let policy = policy(&format!("rules:\n- {{level: Metadata, {rule}}}\n"));
        let user = UserInfo {
            name: "tim".to_owned(),
            groups: vec!["humans".to_owned()],
            ..UserInfo::default()
        };
        let level = policy.evaluate(info, Some(&user)).level;
        assert_eq!(level == Level::Metadata, want, "{rule}");
    }

    #[test]
    fn rules_match_all_that_they_name() {
        let pod = of_resource("", "pods", "default", "busybox");
        let log = of_resource("", "pods/log", "default", "busybox");
        let role = of_resource("rbac", "clusterroles", "", "edit");
        let path = RequestInfo {
            path: "/logs/kubelet.log".to_owned(),
            verb: "get".to_owned(),
            ..RequestInfo::default()
        };
        check("users: [tim]", &pod, true);
        check("users: [bob]", &pod, false);
        check("userGroups: [humans, others]", &pod, true);
        check("userGroups: [others]", &pod, false);
        check("verbs: [get]", &path, true);
        check("verbs: [list]", &pod, false);
        check("namespaces: [default]", &pod, true);
        check("namespaces: ['']", &role, true);
        check("namespaces: ['']", &pod, false);
        check("namespaces: [default]", &path, false);
        check("nonResourceURLs: ['/logs*']", &path, true);
        check("nonResourceURLs: ['*']", &path, true);
        check("nonResourceURLs: ['/logs']", &path, false);
        check("nonResourceURLs: ['*']", &pod, false);
        check("resources: [{group: ''}]", &log, true);
        check("resources: [{group: '*'}]", &role, true);
        check("resources: [{group: apps}]", &pod, false);
        check("resources: [{resources: [pods]}]", &pod, true);
        check("resources: [{resources: [pods]}]", &log, false);
        check("resources: [{resources: [pods/log]}]", &log, true);
        check("resources: [{resources: [pods/log]}]", &pod, false);
        check("resources: [{resources: ['pods/*']}]", &log, true);
        check("resources: [{resources: ['pods/*']}]", &pod, true);
        check("resources: [{resources: ['*/log']}]", &log, true);
        check("resources: [{resources: ['*/log']}]", &pod, false);
        check("resources: [{resources: ['*']}]", &log, true);
        check(
            "resources: [{resources: [pods], resourceNames: [busybox]}]",
            &pod,
            true,
        );
        check(
            "resources: [{resources: [pods], resourceNames: [other]}]",
            &pod,
            false,
        );
    }

    #[test]
    fn the_first_rule_counts_and_stages_add_up() {
        let policy = policy(
            "omitManagedFields: true\nomitStages: [RequestReceived]\nrules:\n- {level: Request, users: [a], omitStages: [Panic], omitManagedFields: false}\n- level: Metadata\n",
        );
        let user = |name: &str| UserInfo {
            name: name.to_owned(),
            ..UserInfo::default()
        };
        let info = RequestInfo::default();
        let first = policy.evaluate(&info, Some(&user("a")));
        assert_eq!(
            (first.level, first.omit_managed_fields),
            (Level::Request, false)
        );
        assert!(first.omit_stages.contains(Stage::RequestReceived));
        assert!(first.omit_stages.contains(Stage::Panic));
        assert!(!first.omit_stages.contains(Stage::ResponseComplete));
        let second = policy.evaluate(&info, None);
        assert_eq!(
            (second.level, second.omit_managed_fields),
            (Level::Metadata, true)
        );
        assert!(!second.omit_stages.contains(Stage::Panic));
    }
}
