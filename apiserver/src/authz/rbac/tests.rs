use proptest::prelude::*;

use super::bootstrap::{Change, Reconciled as _};
use super::*;

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn rule(groups: &[&str], resources: &[&str], names: &[&str], verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: strings(groups),
        resources: strings(resources),
        resource_names: strings(names),
        verbs: strings(verbs),
        ..PolicyRule::default()
    }
}

fn urls(paths: &[&str], verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        non_resource_urls: strings(paths),
        verbs: strings(verbs),
        ..PolicyRule::default()
    }
}

fn resource(verb: &str, group: &str, resource: &str, subresource: &str, name: &str) -> Attributes {
    Attributes {
        verb: verb.into(),
        api_group: group.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        name: name.into(),
        resource_request: true,
        ..Attributes::default()
    }
}

#[test]
fn rules() {
    let path = |verb: &str, path: &str| Attributes {
        verb: verb.into(),
        path: path.into(),
        ..Attributes::default()
    };
    let table: &[(PolicyRule, Attributes, bool)] = &[
        (
            rule(&[""], &["pods"], &[], &["get"]),
            resource("get", "", "pods", "", "a"),
            true,
        ),
        (
            rule(&[""], &["pods"], &[], &["get"]),
            resource("list", "", "pods", "", ""),
            false,
        ),
        (
            rule(&[""], &["pods"], &[], &["get"]),
            resource("get", "apps", "pods", "", "a"),
            false,
        ),
        (
            rule(&[""], &["pods"], &[], &["get"]),
            resource("get", "", "pods", "log", "a"),
            false,
        ),
        (
            rule(&[""], &["pods/log"], &[], &["get"]),
            resource("get", "", "pods", "log", "a"),
            true,
        ),
        (
            rule(&["*"], &["*/scale"], &[], &["*"]),
            resource("update", "apps", "deployments", "scale", "a"),
            true,
        ),
        (
            rule(&["*"], &["*/scale"], &[], &["*"]),
            resource("update", "apps", "deployments", "", "a"),
            false,
        ),
        (
            rule(&["*"], &["*"], &[], &["*"]),
            resource("update", "apps", "deployments", "scale", "a"),
            true,
        ),
        (
            rule(&[""], &["pods"], &["a"], &["get"]),
            resource("get", "", "pods", "", "a"),
            true,
        ),
        (
            rule(&[""], &["pods"], &["a"], &["get"]),
            resource("get", "", "pods", "", "b"),
            false,
        ),
        (
            rule(&[""], &["pods"], &["a"], &["list"]),
            resource("list", "", "pods", "", ""),
            false,
        ),
        (
            urls(&["/healthz", "/api*"], &["get"]),
            path("get", "/healthz"),
            true,
        ),
        (
            urls(&["/healthz", "/api*"], &["get"]),
            path("get", "/healthz/etcd"),
            false,
        ),
        (
            urls(&["/healthz", "/api*"], &["get"]),
            path("get", "/apis/apps"),
            true,
        ),
        (urls(&["*"], &["*"]), path("post", "/anything"), true),
        (
            rule(&["*"], &["*"], &[], &["*"]),
            path("get", "/healthz"),
            false,
        ),
    ];
    for (rule, attributes, expected) in table {
        assert_eq!(
            rule_allows(rule, attributes),
            *expected,
            "{rule:?} {attributes:?}"
        );
    }
}

#[test]
fn coverage() {
    #[track_caller]
    fn check(owner: &[PolicyRule], servant: &[PolicyRule], uncovered: &[PolicyRule]) {
        assert_eq!(covers(owner, servant).uncovered, uncovered);
    }
    let read = rule(&[""], &["pods"], &[], &["get", "list"]);
    check(
        &[
            rule(&[""], &["pods"], &[], &["get"]),
            rule(&[""], &["pods"], &[], &["list"]),
        ],
        std::slice::from_ref(&read),
        &[],
    );
    check(
        &[rule(&[""], &["pods"], &[], &["get"])],
        std::slice::from_ref(&read),
        &[rule(&[""], &["pods"], &[], &["list"])],
    );
    check(&[rule(&["*"], &["*"], &[], &["*"])], &[read.clone()], &[]);
    check(
        &[rule(&[""], &["pods"], &["a"], &["get"])],
        &[rule(&[""], &["pods"], &["a"], &["get"])],
        &[],
    );
    check(
        &[rule(&[""], &["pods"], &["a"], &["get"])],
        &[rule(&[""], &["pods"], &[], &["get"])],
        &[rule(&[""], &["pods"], &[], &["get"])],
    );
    check(
        &[rule(&[""], &["*/log"], &[], &["get"])],
        &[rule(&[""], &["pods/log"], &[], &["get"])],
        &[],
    );
    check(
        &[urls(&["/api/*"], &["get"])],
        &[urls(&["/api/v1"], &["get"])],
        &[],
    );
    check(
        &[urls(&["/api"], &["get"])],
        &[urls(&["/api/v1"], &["get"])],
        &[urls(&["/api/v1"], &["get"])],
    );
}

/// One grant after the other, as upstream does it.
fn covers_one_by_one(owner: &[PolicyRule], servant: &[PolicyRule]) -> Vec<PolicyRule> {
    let has = |list: &[String], value: &String| list.contains(value);
    let any = |list: &[String], value: &String| has(list, value) || has(list, &"*".to_owned());
    let mut uncovered = Vec::new();
    for given in servant {
        let unnamed = [String::new()];
        let names = match &given.resource_names[..] {
            [] => &unnamed[..],
            names => names,
        };
        for group in &given.api_groups {
            for resource in &given.resources {
                for verb in &given.verbs {
                    for name in names {
                        let of_any = resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
                        let covered = owner.iter().any(|rule| {
                            any(&rule.api_groups, group)
                                && (any(&rule.resources, resource)
                                    || of_any.iter().any(|any| has(&rule.resources, any)))
                                && any(&rule.verbs, verb)
                                && (rule.resource_names.is_empty()
                                    || has(&rule.resource_names, name))
                        });
                        if !covered {
                            let names: &[&str] = if name.is_empty() { &[] } else { &[name] };
                            uncovered.push(rule(&[group], &[resource], names, &[verb]));
                        }
                    }
                }
            }
        }
        for path in &given.non_resource_urls {
            for verb in &given.verbs {
                let covered = owner.iter().any(|rule| {
                    let mut paths = rule.non_resource_urls.iter();
                    rule.resource_names.is_empty()
                        && any(&rule.verbs, verb)
                        && paths.any(|own| {
                            let begun = own.strip_suffix('*');
                            own == path || begun.is_some_and(|begun| path.starts_with(begun))
                        })
                });
                if !covered {
                    uncovered.push(urls(&[path], &[verb]));
                }
            }
        }
    }
    uncovered
}

proptest! {
    #[test]
    fn coverage_is_that_of_single_grants(
        owner in prop::collection::vec(any_rule(), 0..6),
        servant in prop::collection::vec(any_rule(), 0..4),
        most in 0usize..6,
    ) {
        let want = covers_one_by_one(&owner, &servant);
        prop_assert_eq!(&covers(&owner, &servant).uncovered, &want);
        let limits = Limits { uncovered: most, steps: u64::MAX };
        let some = covers_within(&owner, &servant, limits);
        prop_assert_eq!(&some.uncovered[..], &want[..most.min(want.len())]);
        prop_assert_eq!(some.more, want.len() > most);
    }
}

fn any_rule() -> impl Strategy<Value = PolicyRule> {
    let list =
        |values: &'static [&'static str]| prop::sample::subsequence(values, 0..=values.len());
    (
        list(&["", "apps", "*"]),
        list(&["pods", "pods/log", "*/log", "*", "a/b/log"]),
        list(&["get", "list", "*"]),
        prop_oneof![2 => Just(vec![]), 1 => list(&["x", "y"])],
        prop_oneof![2 => Just(vec![]), 1 => list(&["/a", "/a/b", "/a/*", "*"])],
    )
        .prop_map(|(groups, resources, verbs, names, paths)| PolicyRule {
            non_resource_urls: strings(&paths),
            ..rule(&groups, &resources, &names, &verbs)
        })
}

/// A request has room for more combinations than there is memory.
#[test]
fn what_is_compared_is_no_product_of_what_was_sent() {
    let many: Vec<String> = (0..100_000).map(|number| format!("v{number}")).collect();
    let limits = Limits {
        uncovered: 10,
        steps: 20_000_000,
    };
    let servant = PolicyRule {
        api_groups: many.clone(),
        resources: many.clone(),
        verbs: many.clone(),
        resource_names: many.clone(),
        ..PolicyRule::default()
    };
    let servant = std::slice::from_ref(&servant);
    let all = rule(&["*"], &["*"], &[], &["*"]);
    let coverage = covers_within(std::slice::from_ref(&all), servant, limits);
    assert!(coverage.is_complete());
    let some = rule(&["*"], &["*"], &[], &["v1"]);
    let coverage = covers_within(&[some], servant, limits);
    assert_eq!((coverage.uncovered.len(), coverage.more), (10, true));
    assert_eq!(
        coverage.uncovered[9],
        rule(&["v0"], &["v0"], &["v9"], &["v0"])
    );
    // Each verb and each name has rules of its own.
    let split: Vec<PolicyRule> = (0..2000)
        .flat_map(|number| {
            let value: &str = &many[number];
            [
                rule(&["*"], &["*"], &[value], &["*"]),
                rule(&["*"], &["*"], &[], &[value]),
            ]
        })
        .collect();
    let coverage = covers_within(&split, servant, limits);
    assert!(coverage.more);
    assert!(!coverage.is_complete());
}

fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo {
        name: name.into(),
        groups: strings(groups),
        ..UserInfo::default()
    }
}

fn cluster_role(name: &str, rules: Vec<PolicyRule>) -> ClusterRole {
    let mut role = ClusterRole {
        rules,
        ..ClusterRole::default()
    };
    role.metadata.name = name.into();
    role
}

fn subject(kind: &str, namespace: &str, name: &str) -> Subject {
    Subject {
        kind: kind.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Subject::default()
    }
}

fn reference(kind: &str, name: &str) -> RoleRef {
    RoleRef {
        kind: kind.into(),
        name: name.into(),
        ..RoleRef::default()
    }
}

#[track_caller]
fn check(rbac: &Rbac, who: UserInfo, verb: &str, namespace: &str, expected: Decision) {
    let attributes = Attributes {
        user: who,
        namespace: namespace.into(),
        ..resource(verb, "", "pods", "", "a")
    };
    assert_eq!(rbac.decide(&attributes), expected);
}

#[test]
fn bindings() {
    let no = |reason: &str| Decision::NoOpinion(reason.to_owned());
    let yes = |by: &str| Decision::Allow(format!("RBAC: allowed by {by}"));
    let by_name = r#"ClusterRoleBinding "everywhere" of ClusterRole "reader" to User "ann""#;
    let rbac = Rbac::default();
    rbac.set_cluster_role(&cluster_role(
        "reader",
        vec![rule(&[""], &["pods"], &[], &["get"])],
    ));
    let mut everywhere = ClusterRoleBinding {
        subjects: vec![subject("Group", "", "readers"), subject("User", "", "ann")],
        role_ref: reference("ClusterRole", "reader"),
        ..ClusterRoleBinding::default()
    };
    everywhere.metadata.name = "everywhere".into();
    rbac.set_cluster_role_binding(&everywhere);
    let mut here = RoleBinding {
        subjects: vec![
            subject("ServiceAccount", "", "robot"),
            subject("User", "", "bob"),
        ],
        role_ref: reference("ClusterRole", "reader"),
        ..RoleBinding::default()
    };
    here.metadata.namespace = "ns".into();
    here.metadata.name = "here".into();
    rbac.set_role_binding(&here);

    check(&rbac, user("ann", &[]), "get", "", yes(by_name));
    check(&rbac, user("ann", &[]), "list", "", no(""));
    check(
        &rbac,
        user("eve", &["readers"]),
        "get",
        "anywhere",
        yes(r#"ClusterRoleBinding "everywhere" of ClusterRole "reader" to Group "readers""#),
    );
    check(
        &rbac,
        user("bob", &[]),
        "get",
        "ns",
        yes(r#"RoleBinding "here/ns" of ClusterRole "reader" to User "bob""#),
    );
    check(&rbac, user("bob", &[]), "get", "other", no(""));
    check(&rbac, user("bob", &[]), "get", "", no(""));
    check(
        &rbac,
        user("system:serviceaccount:ns:robot", &[]),
        "get",
        "ns",
        yes(r#"RoleBinding "here/ns" of ClusterRole "reader" to ServiceAccount "robot/ns""#),
    );

    // A binding says of its subject what it is, even of a user who is named like a service account.
    let robot = "system:serviceaccount:x:robot";
    everywhere.subjects.push(subject("User", "", robot));
    rbac.set_cluster_role_binding(&everywhere);
    let by_user = r#"ClusterRoleBinding "everywhere" of ClusterRole "reader" to User "system:serviceaccount:x:robot""#;
    check(&rbac, user(robot, &[]), "get", "", yes(by_user));
    everywhere.subjects.pop();
    rbac.set_cluster_role_binding(&everywhere);

    // A role that is gone grants nothing, and says so; it grants again when it is back.
    rbac.remove_cluster_role("reader");
    check(
        &rbac,
        user("ann", &[]),
        "get",
        "",
        no("RBAC: clusterrole.rbac.authorization.k8s.io \"reader\" not found"),
    );
    rbac.set_cluster_role(&cluster_role(
        "reader",
        vec![rule(&[""], &["pods"], &[], &["get"])],
    ));
    check(&rbac, user("ann", &[]), "get", "", yes(by_name));

    everywhere.subjects.pop();
    rbac.set_cluster_role_binding(&everywhere);
    check(&rbac, user("ann", &[]), "get", "", no(""));
    rbac.remove_role_binding("ns", "here");
    check(&rbac, user("bob", &[]), "get", "ns", no(""));
    rbac.remove_cluster_role_binding("everywhere");
    let index = rbac.index.read();
    assert!(
        index.bindings.is_empty() && index.by_subject.is_empty(),
        "nothing of a removed binding stays"
    );
}

#[test]
fn reconciling_only_adds() {
    let wanted = cluster_role("r", vec![rule(&[""], &["pods"], &[], &["get", "list"])]);
    let mut existing = cluster_role(
        "r",
        vec![
            rule(&["apps"], &["deployments"], &[], &["get"]),
            rule(&[""], &["pods"], &[], &["get"]),
        ],
    );
    let Some(Change::Update(reconciled)) = existing.reconcile(&wanted) else {
        panic!("something is missing");
    };
    assert_eq!(
        reconciled.rules,
        [
            existing.rules[0].clone(),
            existing.rules[1].clone(),
            rule(&[""], &["pods"], &[], &["list"])
        ]
    );
    assert_eq!(reconciled.reconcile(&wanted), None);
    existing
        .metadata
        .annotations
        .insert(bootstrap::AUTOUPDATE.into(), "false".into());
    assert_eq!(existing.reconcile(&wanted), None, "protected");
}

/// Else whoever may bind some role gets a default one at the next start.
#[test]
fn a_binding_to_another_role_keeps_no_subjects() {
    for wanted in bootstrap::cluster_role_bindings(|_| false) {
        let mut existing = wanted.clone();
        existing.role_ref.name = "other".to_owned();
        existing.subjects = vec![subject("User", "", "eve")];
        assert_eq!(
            existing.reconcile(&wanted),
            Some(Change::Recreate(wanted.clone()))
        );
        existing.role_ref = wanted.role_ref.clone();
        let Some(Change::Update(updated)) = existing.reconcile(&wanted) else {
            assert_eq!(wanted.subjects, [], "subjects are missing");
            continue;
        };
        assert_eq!(updated.subjects[0], existing.subjects[0]);
        assert_eq!(updated.subjects[1..], wanted.subjects);
    }
    for wanted in bootstrap::role_bindings() {
        let mut existing = wanted.clone();
        existing.role_ref.kind = "ClusterRole".to_owned();
        existing.role_ref.name = "other".to_owned();
        existing.subjects = vec![subject("User", "", "eve")];
        assert_eq!(
            existing.reconcile(&wanted),
            Some(Change::Recreate(wanted.clone()))
        );
    }
}

/// The controller that aggregates would replace the default rules.
#[test]
fn a_foreign_aggregation_is_taken_back() {
    let wanted = cluster_role("r", vec![rule(&[""], &["pods"], &[], &["get"])]);
    let mut existing = wanted.clone();
    existing.aggregation_rule = Some(Box::default());
    assert_eq!(
        existing.reconcile(&wanted),
        Some(Change::Update(wanted.clone()))
    );
}

/// The tables equal upstream's list, where that is at hand.
#[test]
fn bootstrap_policy_equals_upstreams() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find_map(|folder| {
            Some(folder.parent()?.join("shared/testdata/rbac")).filter(|path| path.is_dir())
        });
    let Some(folder) = folder else {
        eprintln!("skipped: shared/testdata/rbac is not beside the workspace");
        return;
    };
    let read = |file: &str| -> serde_json::Value {
        let text = std::fs::read_to_string(folder.join(file)).expect(file);
        let list: serde_json::Value =
            apimachinery::yaml::from_str(&text, apimachinery::yaml::DuplicateKeyPolicy::Error)
                .expect(file);
        list["items"].clone()
    };
    fn ours<T: api_types::Object>(objects: &[T]) -> serde_json::Value {
        let values = objects.iter().map(|object| {
            let mut value: serde_json::Value =
                serde_json::from_slice(&api_types::encode_json(object)).expect("our own JSON");
            value["metadata"]
                .as_object_mut()
                .expect("metadata")
                .remove("creationTimestamp");
            value
        });
        let mut values: Vec<_> = values.collect();
        values.sort_by_key(|value| {
            (
                value["metadata"]["namespace"].to_string(),
                value["metadata"]["name"].to_string(),
            )
        });
        values.into()
    }
    fn sorted(lists: Vec<serde_json::Value>) -> serde_json::Value {
        let mut values: Vec<serde_json::Value> = lists
            .into_iter()
            .flat_map(|list| list.as_array().cloned().unwrap_or_default())
            .collect();
        for value in &mut values {
            value["metadata"]
                .as_object_mut()
                .expect("metadata")
                .remove("creationTimestamp");
        }
        values.sort_by_key(|value| {
            (
                value["metadata"]["namespace"].to_string(),
                value["metadata"]["name"].to_string(),
            )
        });
        values.into()
    }
    assert_eq!(
        ours(&bootstrap::cluster_roles(|_| false)),
        sorted(vec![
            read("cluster-roles.yaml"),
            read("controller-roles.yaml")
        ])
    );
    let mut with_all_features = bootstrap::cluster_roles(|_| true);
    with_all_features.retain(|role| !role.metadata.name.starts_with("system:controller:"));
    assert_eq!(
        ours(&with_all_features),
        sorted(vec![read("cluster-roles-featuregates.yaml")])
    );
    assert_eq!(
        ours(&bootstrap::cluster_role_bindings(|_| false)),
        sorted(vec![
            read("cluster-role-bindings.yaml"),
            read("controller-role-bindings.yaml")
        ])
    );
    assert_eq!(
        ours(&bootstrap::roles()),
        sorted(vec![read("namespace-roles.yaml")])
    );
    assert_eq!(
        ours(&bootstrap::role_bindings()),
        sorted(vec![read("namespace-role-bindings.yaml")])
    );
}
