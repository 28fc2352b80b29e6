use std::sync::Arc;

use api_types::admissionregistration::v1::{MatchCondition, NamedRuleWithOperations, Rule};
use api_types::core::v1::{Namespace, Pod};
use component_base::auth::{BoxFuture, UserInfo};
use serde_json::json;

use super::*;
use crate::admission::cel::{Input, json_of};
use crate::admission::{Options, Reinvocation, UpdateOutcome};
use crate::request::context::{AuditAnnotations, Warnings};

/// One namespace, `there`, labelled `env: test`, and autoscaling in two versions.
struct Small;

impl Cluster for Small {
    fn get<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
        name: &'a str,
        _: Freshness,
    ) -> BoxFuture<'a, Result<Option<Arc<Object>>, StatusError>> {
        let mut namespace = Namespace::default();
        namespace
            .metadata
            .labels
            .insert("env".to_owned(), "test".to_owned());
        let found = (name == "there").then(|| Arc::new(Object::from(namespace)));
        Box::pin(async move { Ok(found) })
    }

    fn list<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Arc<Object>>, StatusError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn update_status<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: Object,
    ) -> BoxFuture<'a, Result<UpdateOutcome, StatusError>> {
        Box::pin(async { Ok(UpdateOutcome::Updated) })
    }

    fn equivalents(&self, resource: &GroupVersionResource, _: &str) -> Vec<Matched> {
        let other = match resource.version.as_str() {
            "v1" if resource.group == "autoscaling" => "v2",
            _ => return Vec::new(),
        };
        vec![Matched {
            resource: gvr("autoscaling", other, "horizontalpodautoscalers"),
            kind: gvk("autoscaling", other, "HorizontalPodAutoscaler"),
        }]
    }
}

fn gvr(group: &str, version: &str, resource: &str) -> GroupVersionResource {
    GroupVersionResource {
        group: group.to_owned(),
        version: version.to_owned(),
        resource: resource.to_owned(),
    }
}

fn gvk(group: &str, version: &str, kind: &str) -> GroupVersionKind {
    GroupVersionKind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
    }
}

fn request(resource: GroupVersionResource, subresource: &str, namespace: &str) -> Attributes {
    let kind = gvk(&resource.group, &resource.version, "Kind");
    Attributes {
        operation: Operation::Create,
        kind,
        resource,
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: "a".to_owned(),
        object: None,
        old_object: None,
        options: Options::None,
        dry_run: false,
        user: UserInfo {
            name: "alice".to_owned(),
            ..UserInfo::default()
        },
        warnings: Warnings::default(),
        annotations: AuditAnnotations::default(),
        deadline: None,
        reinvocation: Reinvocation::default(),
    }
}

fn pods(subresource: &str) -> Attributes {
    request(gvr("", "v1", "pods"), subresource, "there")
}

fn rule(
    operation: &str,
    group: &str,
    version: &str,
    resource: &str,
    scope: &str,
) -> RuleWithOperations {
    RuleWithOperations {
        operations: vec![operation.to_owned()],
        rule: Rule {
            api_groups: vec![group.to_owned()],
            api_versions: vec![version.to_owned()],
            resources: vec![resource.to_owned()],
            scope: (!scope.is_empty()).then(|| scope.to_owned()),
        },
    }
}

fn matches(rule: RuleWithOperations, request: &Attributes) -> bool {
    let all = LabelSelector::default();
    let criteria = Criteria::of_webhook(&[rule], None, Some(&all), Some(&all));
    criteria
        .match_rules(request, &Equivalents::new(request, &Small))
        .is_some()
}

#[test]
fn resources_of_rules() {
    for (wanted, subresource, want) in [
        ("pods", "", true),
        ("pods", "status", false),
        ("pods/status", "status", true),
        ("pods/status", "", false),
        ("pods/*", "status", true),
        ("pods/*", "", true),
        ("*", "", true),
        ("*", "status", false),
        ("*/*", "", true),
        ("*/*", "status", true),
        ("*/status", "status", true),
        ("*/status", "exec", false),
        ("nodes", "", false),
    ] {
        let found = matches(rule("*", "*", "*", wanted, ""), &pods(subresource));
        assert_eq!(found, want, "{wanted} {subresource}");
    }
}

#[test]
fn groups_versions_operations_and_scopes() {
    let pod = pods("");
    let namespace = request(gvr("", "v1", "namespaces"), "", "there");
    let node = request(gvr("", "v1", "nodes"), "", "");
    for (operation, group, version, scope, request, want) in [
        ("CREATE", "", "v1", "*", &pod, true),
        ("UPDATE", "", "v1", "*", &pod, false),
        ("CREATE", "apps", "v1", "*", &pod, false),
        ("CREATE", "", "v2", "*", &pod, false),
        ("*", "*", "*", "Namespaced", &pod, true),
        ("*", "*", "*", "Cluster", &pod, false),
        ("*", "*", "*", "Namespaced", &namespace, false),
        ("*", "*", "*", "Cluster", &namespace, true),
        ("*", "*", "*", "Namespaced", &node, false),
        ("*", "*", "*", "Cluster", &node, true),
        ("*", "*", "*", "Other", &node, false),
    ] {
        let found = matches(rule(operation, group, version, "*", scope), request);
        assert_eq!(found, want, "{operation} {group} {version} {scope}");
    }
}

#[test]
fn equivalent_versions() {
    let scaler = request(
        gvr("autoscaling", "v1", "horizontalpodautoscalers"),
        "",
        "there",
    );
    let all = LabelSelector::default();
    let matched = |policy: &str, versions: [&str; 2]| {
        let rules = versions.map(|version| rule("*", "autoscaling", version, "*", ""));
        let criteria = Criteria::of_webhook(&rules, Some(policy), Some(&all), Some(&all));
        criteria
            .match_rules(&scaler, &Equivalents::new(&scaler, &Small))
            .map(|matched| matched.resource.version)
    };
    assert_eq!(matched("Equivalent", ["v2", "v9"]).as_deref(), Some("v2"));
    assert_eq!(matched("Equivalent", ["v2", "v1"]).as_deref(), Some("v1"));
    assert_eq!(matched("Exact", ["v2", "v9"]), None);
}

#[test]
fn rules_of_policies() {
    let named = |resource: &str, names: &[&str]| NamedRuleWithOperations {
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        rule_with_operations: rule("*", "*", "*", resource, ""),
    };
    let matched = |rules: Vec<NamedRuleWithOperations>, excluded: Vec<NamedRuleWithOperations>| {
        let criteria = Criteria::of_resources(&MatchResources {
            resource_rules: rules,
            exclude_resource_rules: excluded,
            ..MatchResources::default()
        });
        let pod = pods("");
        criteria
            .match_rules(&pod, &Equivalents::new(&pod, &Small))
            .is_some()
    };
    assert!(matched(vec![], vec![]));
    assert!(matched(vec![named("pods", &["a", "b"])], vec![]));
    assert!(!matched(vec![named("pods", &["b"])], vec![]));
    assert!(!matched(vec![], vec![named("pods", &[])]));
    assert!(!matched(
        vec![named("pods", &[])],
        vec![named("pods", &["a"])]
    ));
    assert!(matched(
        vec![named("pods", &[])],
        vec![named("pods", &["b"])]
    ));
    assert!(!matched(vec![named("nodes", &[])], vec![]));
}

fn labels(key: &str, value: &str) -> LabelSelector {
    LabelSelector {
        match_labels: [(key.to_owned(), value.to_owned())].into(),
        ..LabelSelector::default()
    }
}

#[tokio::test]
async fn selectors() {
    let all = LabelSelector::default();
    let check = async |namespace: &LabelSelector, object: &LabelSelector, request: &Attributes| {
        let rules = [rule("*", "*", "*", "*", "")];
        let criteria = Criteria::of_webhook(&rules, None, Some(namespace), Some(object));
        let found = criteria.matches(request, &Small).await;
        found
            .map(|found| found.is_some())
            .map_err(|error| error.message.clone())
    };
    let mut pod = pods("");
    assert_eq!(check(&labels("env", "test"), &all, &pod).await, Ok(true));
    assert_eq!(check(&labels("env", "other"), &all, &pod).await, Ok(false));
    assert_eq!(check(&all, &labels("app", "a"), &pod).await, Ok(false));
    let mut labelled = Pod::default();
    labelled
        .metadata
        .labels
        .insert("app".to_owned(), "a".to_owned());
    pod.old_object = Some(Arc::new(Object::from(labelled)));
    assert_eq!(check(&all, &labels("app", "a"), &pod).await, Ok(true));
    pod.namespace = "gone".to_owned();
    assert_eq!(
        check(&labels("env", "test"), &all, &pod).await,
        Err("namespaces \"gone\" not found".to_owned())
    );
    assert_eq!(
        check(&labels("env", "test"), &labels("app", "b"), &pod).await,
        Ok(false)
    );
    assert_eq!(check(&all, &all, &pod).await, Ok(true));
    // A Namespace that is created has its own labels; nodes have no namespace that could exempt them.
    let mut namespace = request(gvr("", "v1", "namespaces"), "", "new");
    let mut object = Namespace::default();
    object
        .metadata
        .labels
        .insert("env".to_owned(), "test".to_owned());
    namespace.object = Some(Object::from(object));
    assert_eq!(
        check(&labels("env", "test"), &all, &namespace).await,
        Ok(true)
    );
    assert_eq!(
        check(&labels("env", "other"), &all, &namespace).await,
        Ok(false)
    );
    let node = request(gvr("", "v1", "nodes"), "", "");
    assert_eq!(check(&labels("env", "other"), &all, &node).await, Ok(true));
}

#[test]
fn match_conditions() {
    let attributes = pods("");
    let matched = Matched::request(&attributes);
    let check = |policy: &str, expressions: &[&str]| {
        let conditions: Vec<MatchCondition> = expressions
            .iter()
            .enumerate()
            .map(|(index, expression)| MatchCondition {
                name: format!("c{index}"),
                expression: (*expression).to_owned(),
            })
            .collect();
        let object = json_of(&Pod::default(), None);
        let input = Input::new(&attributes, &matched, object, json!(null));
        Conditions::new(&conditions, Some(policy), false).evaluate(&input, || {})
    };
    let no = |name: &str| Outcome::DoesNotMatch(Some(name.to_owned()));
    let is_alice = "request.userInfo.username == 'alice'";
    let fails = "object.spec.none == 1";
    assert_eq!(check("Fail", &[]), Outcome::Matches);
    assert_eq!(
        check("Fail", &[is_alice, "oldObject == null"]),
        Outcome::Matches
    );
    assert_eq!(check("Fail", &[is_alice, "false"]), no("c1"));
    assert_eq!(check("Fail", &[fails, "false"]), no("c1"));
    assert_eq!(check("Ignore", &[fails]), Outcome::DoesNotMatch(None));
    let error = "expression 'object.spec.none == 1' resulted in error: no such key: none";
    assert_eq!(check("Fail", &[fails]), Outcome::Failed(error.to_owned()));
    let both = format!("[{error}, {error}]");
    assert_eq!(check("Fail", &[fails, fails]), Outcome::Failed(both));
    assert!(
        matches!(check("Fail", &["1 +"]), Outcome::Failed(text) if text.starts_with("compilation error: compilation failed: "))
    );
}
