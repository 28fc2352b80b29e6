//! Behaviours from upstream's daemon_controller_test.go and daemonset_util_test.go.

use api_types::apps::v1::RollingUpdateDaemonSet;
use api_types::core::v1::{PodCondition, Taint};
use api_types::{IntOrString, Time};

use super::*;

pub(crate) fn daemon_set(surge: i32, unavailable: i32) -> DaemonSet {
    let mut ds = DaemonSet::default();
    ds.metadata.name = "d".into();
    ds.metadata.namespace = "ns".into();
    ds.spec.update_strategy.type_ = "RollingUpdate".into();
    ds.spec.update_strategy.rolling_update = Some(Box::new(RollingUpdateDaemonSet {
        max_surge: Some(IntOrString::Int(surge)),
        max_unavailable: Some(IntOrString::Int(unavailable)),
    }));
    ds
}

/// A pod on a node with revision `hash`; states: "ready", "running", "failed", "succeeded", "deleting".
pub(crate) fn pod(name: &str, node: &str, hash: &str, state: &str) -> Arc<Pod> {
    let mut pod = Pod::default();
    pod.metadata.name = name.into();
    pod.metadata.namespace = "ns".into();
    pod.metadata.labels.insert(HASH_LABEL.into(), hash.into());
    pod.spec.node_name = node.into();
    pod.status.phase = match state {
        "failed" => "Failed",
        "succeeded" => "Succeeded",
        _ => "Running",
    }
    .into();
    if state == "ready" {
        let ready = PodCondition {
            type_: "Ready".into(),
            status: "True".into(),
            last_transition_time: Time::from_timestamp(Timestamp::from_second(100).unwrap()),
            ..Default::default()
        };
        pod.status.conditions.push(ready);
    }
    if state == "deleting" {
        pod.metadata.deletion_timestamp = Some(Time::now());
    }
    Arc::new(pod)
}

pub(crate) fn node(name: &str, taints: &[(&str, &str)]) -> Arc<Node> {
    let mut node = Node::default();
    node.metadata.name = name.into();
    node.metadata.labels.insert("zone".into(), "a".into());
    node.spec.taints = taints
        .iter()
        .map(|(key, effect)| Taint {
            key: (*key).into(),
            effect: (*effect).into(),
            ..Default::default()
        })
        .collect();
    Arc::new(node)
}

#[track_caller]
fn check_fit(taints: &[(&str, &str)], change: impl FnOnce(&mut DaemonSet), expected: Fit) {
    let mut ds = daemon_set(0, 1);
    change(&mut ds);
    assert_eq!(fit(&node("n", taints), &ds, true), expected);
}

#[test]
fn nodes_fit_by_name_selector_and_taints() {
    check_fit(&[], |_| {}, Fit::Run);
    check_fit(
        &[],
        |ds| ds.spec.template.spec.node_name = "n".into(),
        Fit::Run,
    );
    check_fit(
        &[],
        |ds| ds.spec.template.spec.node_name = "other".into(),
        Fit::Leave,
    );
    check_fit(
        &[],
        |ds| {
            drop(
                ds.spec
                    .template
                    .spec
                    .node_selector
                    .insert("zone".into(), "a".into()),
            )
        },
        Fit::Run,
    );
    check_fit(
        &[],
        |ds| {
            drop(
                ds.spec
                    .template
                    .spec
                    .node_selector
                    .insert("zone".into(), "b".into()),
            )
        },
        Fit::Leave,
    );
    check_fit(&[("mine", "NoSchedule")], |_| {}, Fit::Keep);
    check_fit(&[("mine", "NoExecute")], |_| {}, Fit::Leave);
    check_fit(&[("mine", "PreferNoSchedule")], |_| {}, Fit::Run);
    let tolerate = |ds: &mut DaemonSet| {
        ds.spec.template.spec.tolerations.push(Toleration {
            key: "mine".into(),
            operator: "Exists".into(),
            ..Default::default()
        });
    };
    check_fit(
        &[("mine", "NoSchedule"), ("mine", "NoExecute")],
        tolerate,
        Fit::Run,
    );
}

#[test]
fn problems_of_nodes_are_tolerated() {
    let problems = [
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ];
    check_fit(&problems, |_| {}, Fit::Run);
    check_fit(
        &[("node.kubernetes.io/not-ready", "NoSchedule")],
        |_| {},
        Fit::Keep,
    );
    check_fit(
        &[("node.kubernetes.io/network-unavailable", "NoSchedule")],
        |_| {},
        Fit::Keep,
    );
    check_fit(
        &[("node.kubernetes.io/network-unavailable", "NoSchedule")],
        |ds| ds.spec.template.spec.host_network = true,
        Fit::Run,
    );
}

#[test]
fn a_pod_is_pinned_to_its_node() {
    let mut pod = Pod::default();
    assert_eq!(target_node(&pod), None);
    pin(&mut pod.spec, "n1");
    assert_eq!(target_node(&pod), Some("n1"));
    pin(&mut pod.spec, "n2");
    assert_eq!(target_node(&pod), Some("n2"), "terms are replaced");
    pod.spec.node_name = "n3".into();
    assert_eq!(target_node(&pod), Some("n3"));
}

#[track_caller]
fn check_plan(surge: i32, fit: Fit, pods: &[Arc<Pod>], create: bool, delete: &[&str]) -> NodePlan {
    let pods = (!pods.is_empty()).then(|| pods.to_vec());
    let plan = plan_node(
        fit,
        pods.as_ref(),
        &daemon_set(surge, 1),
        "new",
        Timestamp::from_second(200).unwrap(),
    );
    assert_eq!(
        (
            plan.create,
            plan.delete.iter().map(String::as_str).collect::<Vec<_>>()
        ),
        (create, delete.to_vec())
    );
    plan
}

#[test]
fn one_pod_per_node() {
    let (a, b) = (pod("a", "n", "new", "ready"), pod("b", "n", "new", "ready"));
    check_plan(0, Fit::Run, &[], true, &[]);
    check_plan(0, Fit::Keep, &[], false, &[]);
    check_plan(0, Fit::Leave, &[], false, &[]);
    check_plan(0, Fit::Run, std::slice::from_ref(&a), false, &[]);
    check_plan(0, Fit::Run, &[b.clone(), a.clone()], false, &["b"]);
    check_plan(0, Fit::Keep, std::slice::from_ref(&a), false, &[]);
    check_plan(
        0,
        Fit::Leave,
        &[a.clone(), pod("c", "n", "new", "deleting")],
        false,
        &["a"],
    );
    check_plan(0, Fit::Run, &[pod("c", "n", "new", "deleting")], false, &[]);
    check_plan(1, Fit::Run, &[pod("c", "n", "new", "deleting")], true, &[]);
    let unassigned = pod("0", "", "new", "running");
    check_plan(0, Fit::Run, &[unassigned, a], false, &["0"]);
}

#[test]
fn ended_pods_are_removed() {
    let plan = check_plan(
        0,
        Fit::Run,
        &[
            pod("f", "n", "new", "failed"),
            pod("s", "n", "new", "succeeded"),
        ],
        false,
        &[],
    );
    assert_eq!(
        (plan.failed, plan.succeeded),
        (vec!["f".to_owned()], vec!["s".to_owned()])
    );
}

#[test]
fn a_surge_keeps_the_old_pod_until_the_new_one_is_available() {
    let (old, new) = (
        pod("old", "n", "1", "ready"),
        pod("new", "n", "new", "running"),
    );
    check_plan(1, Fit::Run, &[old.clone(), new.clone()], false, &[]);
    check_plan(
        1,
        Fit::Run,
        &[old, pod("new", "n", "new", "ready")],
        false,
        &["old"],
    );
    check_plan(
        1,
        Fit::Run,
        &[pod("old", "n", "1", "running"), new.clone()],
        false,
        &["old"],
    );
    check_plan(
        1,
        Fit::Run,
        &[
            pod("a", "n", "1", "ready"),
            pod("b", "n", "2", "ready"),
            new,
        ],
        false,
        &["b"],
    );
}

#[test]
fn pods_for_missing_nodes_are_found() {
    let mut lost = (*pod("lost", "", "h", "running")).clone();
    pin(&mut lost.spec, "gone");
    let mut waiting = (*pod("waiting", "", "h", "running")).clone();
    pin(&mut waiting.spec, "n");
    let pods = by_node(
        &[
            Arc::new(lost),
            Arc::new(waiting),
            pod("bound", "gone", "h", "running"),
        ],
        false,
    );
    assert_eq!(without_node(&[node("n", &[])], &pods), ["lost"]);
}

#[test]
fn updated_pods_have_the_hash_or_the_old_generation() {
    let mut ds = daemon_set(0, 1);
    assert!(is_updated(&ds, &pod("a", "n", "h", "ready"), "h"));
    assert!(!is_updated(&ds, &pod("a", "n", "h", "ready"), "i"));
    let mut old = (*pod("a", "n", "x", "ready")).clone();
    old.metadata
        .labels
        .insert(GENERATION_LABEL.into(), "3".into());
    ds.metadata
        .annotations
        .insert(GENERATION_ANNOTATION.into(), "3".into());
    assert!(is_updated(&ds, &old, "i"));
    let template = pod_template(&ds, "h");
    assert_eq!(
        (
            template.metadata.labels[GENERATION_LABEL].as_str(),
            template.metadata.labels[HASH_LABEL].as_str()
        ),
        ("3", "h")
    );
    assert_eq!(template.spec.tolerations.len(), 6);
}
