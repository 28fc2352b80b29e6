use serde_json::{Value, json};

use super::filtering::{REASON_AFFINITY, REASON_ANTI, REASON_EXISTING_ANTI};
use super::*;
use crate::framework::event::ClusterEvent;
use crate::framework::node_info::NodeInfo;
use crate::framework::status::{Status, Verdict};
use crate::plugins::testing::{
    cycle_of, filter_all, from_json, hint, node, node_info, pod, scores_on,
};

fn plugin() -> InterPodAffinity {
    let namespace = |name: &str, team: &str| {
        from_json(json!({"metadata": {"name": name, "labels": {"team": team}}}))
    };
    InterPodAffinity::new(
        &from_json(json!({"hardPodAffinityWeight": 1})),
        Lister::of([namespace("ns", "a"), namespace("other", "b")]),
    )
}

fn term(key: &str, app: &str) -> Value {
    json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}})
}

/// A pod `app=...` in `ns` with affinity.
fn with(uid: &str, app: &str, affinity: Value) -> Pod {
    pod(
        json!({"metadata": {"namespace": "ns", "uid": uid, "labels": {"app": app}}, "spec": {"affinity": affinity}}),
    )
}

fn plain(uid: &str, app: &str) -> Pod {
    with(uid, app, json!({}))
}

fn affinity(terms: &[Value]) -> Value {
    json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})
}

fn anti(terms: &[Value]) -> Value {
    json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})
}

fn nodes(pods: [Vec<Pod>; 3]) -> Vec<NodeInfo> {
    let zones = ["a", "a", "b"];
    pods.into_iter()
        .enumerate()
        .map(|(i, pods)| {
            let name = format!("n{i}");
            node_info(
                node(
                    json!({"metadata": {"name": name, "labels": {"host": name, "zone": zones[i]}}}),
                ),
                pods,
            )
        })
        .collect()
}

#[track_caller]
fn check(pod: Pod, pods: [Vec<Pod>; 3], expected: [Verdict; 3]) {
    assert_eq!(filter_all(&plugin(), pod, nodes(pods)), expected);
}

#[test]
fn affinity_is_by_domain() {
    let no = || Err(Status::unresolvable(REASON_AFFINITY));
    let db = || [vec![plain("d", "db")], vec![], vec![]];
    check(
        with("p", "web", affinity(&[term("zone", "db")])),
        db(),
        [Ok(()), Ok(()), no()],
    );
    check(
        with("p", "web", affinity(&[term("host", "db")])),
        db(),
        [Ok(()), no(), no()],
    );
    check(
        with("p", "web", affinity(&[term("zone", "x")])),
        db(),
        [no(), no(), no()],
    );
    check(
        with("p", "web", affinity(&[term("none", "db")])),
        db(),
        [no(), no(), no()],
    );
    // One pod must match all terms.
    let both = affinity(&[term("zone", "db"), term("zone", "cache")]);
    let apart = [vec![plain("d", "db"), plain("c", "cache")], vec![], vec![]];
    check(with("p", "web", both), apart, [no(), no(), no()]);
}

#[test]
fn the_first_of_a_group_may_go_anywhere() {
    let group = |uid: &str| with(uid, "g", affinity(&[term("zone", "g")]));
    check(
        group("p"),
        [vec![], vec![], vec![]],
        [Ok(()), Ok(()), Ok(())],
    );
    let no = || Err(Status::unresolvable(REASON_AFFINITY));
    check(
        group("p"),
        [vec![], vec![], vec![group("q")]],
        [no(), no(), Ok(())],
    );
}

#[test]
fn anti_affinity_is_by_domain() {
    let no = || Err(Status::unschedulable(REASON_ANTI));
    let db = || [vec![plain("d", "db")], vec![], vec![]];
    check(
        with("p", "web", anti(&[term("zone", "db")])),
        db(),
        [no(), no(), Ok(())],
    );
    check(
        with("p", "web", anti(&[term("host", "db")])),
        db(),
        [no(), Ok(()), Ok(())],
    );
    check(
        with("p", "web", anti(&[term("none", "db")])),
        db(),
        [Ok(()), Ok(()), Ok(())],
    );
}

#[test]
fn anti_affinity_of_others_counts() {
    let no = || Err(Status::unschedulable(REASON_EXISTING_ANTI));
    let shy = || {
        [
            vec![],
            vec![],
            vec![with("s", "shy", anti(&[term("zone", "web")]))],
        ]
    };
    check(plain("p", "web"), shy(), [Ok(()), Ok(()), no()]);
    check(plain("p", "db"), shy(), [Ok(()), Ok(()), Ok(())]);
}

#[test]
fn namespaces_by_name_and_label() {
    let no = || Err(Status::unschedulable(REASON_ANTI));
    let elsewhere = || {
        let mut pod = plain("d", "db");
        pod.metadata.namespace = "other".into();
        [vec![pod], vec![], vec![]]
    };
    let mut of_term = term("host", "db");
    check(
        with("p", "web", anti(&[of_term.clone()])),
        elsewhere(),
        [Ok(()), Ok(()), Ok(())],
    );
    of_term["namespaces"] = json!(["other"]);
    check(
        with("p", "web", anti(&[of_term])),
        elsewhere(),
        [no(), Ok(()), Ok(())],
    );
    let mut of_term = term("host", "db");
    of_term["namespaceSelector"] = json!({"matchLabels": {"team": "b"}});
    check(
        with("p", "web", anti(&[of_term.clone()])),
        elsewhere(),
        [no(), Ok(()), Ok(())],
    );
    of_term["namespaceSelector"] = json!({});
    check(
        with("p", "web", anti(&[of_term])),
        elsewhere(),
        [no(), Ok(()), Ok(())],
    );
}

#[test]
fn what_ifs_change_the_counts() {
    use crate::framework::plugin::{Filter, PreFilter, PreFilterExtensions};
    let shy = nodes([
        vec![with("s", "shy", anti(&[term("zone", "web")]))],
        vec![],
        vec![],
    ]);
    cycle_of(
        with("p", "web", anti(&[term("host", "db")])),
        shy,
        |cycle, state| {
            let plugin = plugin();
            plugin.pre_filter(cycle, state).unwrap();
            let [first, second, third] = cycle.snapshot.nodes() else {
                panic!("three nodes")
            };
            assert_eq!(
                plugin.filter(cycle, state, second),
                Err(Status::unschedulable(REASON_EXISTING_ANTI))
            );
            plugin
                .remove_pod(cycle, state, &first.pods[0], first)
                .unwrap();
            assert_eq!(plugin.filter(cycle, state, second), Ok(()));
            let db = PodInfo::new(Arc::new(plain("d", "db")));
            plugin.add_pod(cycle, state, &db, third).unwrap();
            assert_eq!(
                plugin.filter(cycle, state, third),
                Err(Status::unschedulable(REASON_ANTI))
            );
        },
    );
}

#[test]
fn scores() {
    let preferred = |kind: &str, weight: i32, app: &str| json!({kind: {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": weight, "podAffinityTerm": term("zone", app)}]}});
    let on = |pods: [Vec<Pod>; 3], affinity: Value| {
        let plugin = plugin();
        scores_on(
            &plugin,
            Some(&plugin),
            with("p", "web", affinity),
            nodes(pods),
        )
    };
    let db = || [vec![plain("d", "db")], vec![], vec![]];
    assert_eq!(on(db(), preferred("podAffinity", 5, "db")), [100, 100, 0]);
    assert_eq!(on(db(), preferred("podAntiAffinity", 5, "db")), [0, 0, 100]);
    // Nothing to say.
    assert!(on(db(), json!({})).is_empty());
    // What pods there would like counts, and what they demand with the hard weight.
    let fond = |affinity: Value| [vec![], vec![], vec![with("f", "fond", affinity)]];
    assert_eq!(
        on(fond(preferred("podAffinity", 3, "web")), json!({})),
        [0, 0, 100]
    );
    assert_eq!(
        on(fond(preferred("podAntiAffinity", 3, "web")), json!({})),
        [100, 100, 0]
    );
    assert_eq!(
        on(fond(affinity(&[term("zone", "web")])), json!({})),
        [0, 0, 100]
    );
}

#[test]
fn hints() {
    let wants = || with("p", "web", affinity(&[term("zone", "db")]));
    let fears = || with("p", "web", anti(&[term("zone", "db")]));
    let placed = |app: &str| {
        let mut pod = plain("o", app);
        pod.spec.node_name = "n".into();
        Arc::new(pod)
    };
    let check = |pod: Pod, event, change: &Change, expected| {
        assert_eq!(hint(plugin(), pod, event, change), Some(expected));
    };
    check(
        wants(),
        ClusterEvent::ASSIGNED_POD_ADD,
        &Change::added(&placed("db")),
        Hint::Queue,
    );
    check(
        wants(),
        ClusterEvent::ASSIGNED_POD_ADD,
        &Change::added(&placed("x")),
        Hint::Skip,
    );
    check(
        fears(),
        ClusterEvent::ASSIGNED_POD_DELETE,
        &Change::deleted(&placed("db")),
        Hint::Queue,
    );
    check(
        fears(),
        ClusterEvent::ASSIGNED_POD_DELETE,
        &Change::deleted(&placed("x")),
        Hint::Skip,
    );
    let labels = ClusterEvent::new(EventResource::AssignedPod, Action::UPDATE_POD_LABEL);
    check(
        wants(),
        labels,
        &Change::updated(&placed("x"), &placed("db")),
        Hint::Queue,
    );
    let zoned = Arc::new(node(json!({"metadata": {"labels": {"zone": "a"}}})));
    let bare = Arc::new(node(json!({})));
    let added = ClusterEvent::new(EventResource::Node, Action::ADD);
    check(wants(), added, &Change::added(&zoned), Hint::Queue);
    check(wants(), added, &Change::added(&bare), Hint::Skip);
    check(fears(), added, &Change::added(&bare), Hint::Queue);
}
