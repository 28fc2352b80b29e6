use std::sync::Arc;

use api_types::core::v1::{Pod, TopologySpreadConstraint};
use serde_json::{Value, json};

use super::filtering::{REASON_CONSTRAINTS, REASON_LABEL};
use super::*;
use crate::framework::event::ClusterEvent;
use crate::framework::node_info::NodeInfo;
use crate::framework::status::{Status, Verdict};
use crate::plugins::testing::{
    cycle_of, filter_all, from_json, hint, node, node_info, pod, scores_on,
};

fn plugin() -> PodTopologySpread {
    let args = from_json(json!({"defaultingType": "System"}));
    PodTopologySpread::new(&args, Listers::empty(), false)
}

/// A node in a zone with that many pods `app=foo`, and one that is terminating.
fn zoned(name: &str, zone: &str, matching: usize) -> NodeInfo {
    let pods = (0..matching)
        .map(|i| labelled(&format!("{name}-{i}"), json!({})))
        .chain([labelled(
            &format!("{name}-t"),
            json!({"deletionTimestamp": "2020-01-01T00:00:00Z"}),
        )])
        .collect();
    let labels = json!({"zone": zone, "node": name});
    node_info(
        node(json!({"metadata": {"name": name, "labels": labels}})),
        pods,
    )
}

fn labelled(uid: &str, mut meta: Value) -> Pod {
    meta["uid"] = uid.into();
    meta["namespace"] = "ns".into();
    meta["labels"] = json!({"app": "foo"});
    pod(json!({"metadata": meta}))
}

fn constraint(key: &str, when: &str, max_skew: i32) -> Value {
    json!({"topologyKey": key, "whenUnsatisfiable": when, "maxSkew": max_skew, "labelSelector": {"matchLabels": {"app": "foo"}}})
}

fn spreading(constraints: Value) -> Pod {
    pod(
        json!({"metadata": {"namespace": "ns", "uid": "p", "labels": {"app": "foo"}},
        "spec": {"topologySpreadConstraints": constraints}}),
    )
}

fn hard(key: &str, max_skew: i32) -> Value {
    constraint(key, "DoNotSchedule", max_skew)
}

#[track_caller]
fn check(constraints: Value, nodes: Vec<NodeInfo>, fits: &[bool]) {
    let expected: Vec<Verdict> = fits
        .iter()
        .map(|fits| match fits {
            true => Ok(()),
            false => Err(Status::unschedulable(REASON_CONSTRAINTS)),
        })
        .collect();
    assert_eq!(
        filter_all(&plugin(), spreading(constraints), nodes),
        expected
    );
}

#[test]
fn filters_by_zone_and_by_node() {
    let nodes = || {
        vec![
            zoned("a", "zone1", 2),
            zoned("b", "zone1", 1),
            zoned("x", "zone2", 0),
            zoned("y", "zone2", 3),
        ]
    };
    check(json!([hard("zone", 1)]), nodes(), &[true; 4]);
    check(
        json!([hard("node", 1)]),
        nodes(),
        &[false, false, true, false],
    );
    check(
        json!([hard("node", 2)]),
        nodes(),
        &[false, true, true, false],
    );
    check(
        json!([hard("zone", 1), hard("node", 2)]),
        nodes(),
        &[false, true, true, false],
    );
    let uneven = || vec![zoned("a", "zone1", 3), zoned("x", "zone2", 0)];
    check(json!([hard("zone", 1)]), uneven(), &[false, true]);
    check(json!([hard("zone", 4)]), uneven(), &[true, true]);
}

#[test]
fn few_domains_count_as_an_empty_one() {
    let mut constraint = hard("zone", 1);
    constraint["minDomains"] = 3.into();
    let nodes = || vec![zoned("a", "zone1", 1), zoned("x", "zone2", 0)];
    check(json!([constraint.clone()]), nodes(), &[false, true]);
    constraint["minDomains"] = 2.into();
    check(json!([constraint]), nodes(), &[false, true]);
    let even = || vec![zoned("a", "zone1", 1), zoned("x", "zone2", 1)];
    check(json!([hard("zone", 1)]), even(), &[true, true]);
}

#[test]
fn nodes_without_the_label_do_not_fit() {
    let plain = node_info(node(json!({"metadata": {"name": "plain"}})), vec![]);
    let verdicts = filter_all(
        &plugin(),
        spreading(json!([hard("zone", 1)])),
        vec![zoned("a", "zone1", 0), plain],
    );
    assert_eq!(verdicts, [Ok(()), Err(Status::unresolvable(REASON_LABEL))]);
}

#[test]
fn match_label_keys_narrow_the_selector() {
    let mut constraint = hard("zone", 1);
    constraint["matchLabelKeys"] = json!(["version"]);
    let mut pod = spreading(json!([constraint]));
    pod.metadata.labels.insert("version".into(), "2".into());
    // The pods there are of no version.
    let nodes = vec![zoned("a", "zone1", 3), zoned("x", "zone2", 0)];
    assert_eq!(filter_all(&plugin(), pod, nodes), [Ok(()), Ok(())]);
}

#[test]
fn policies_choose_the_nodes_that_count() {
    let mut pod = spreading(json!([hard("zone", 1)]));
    pod.spec.node_selector.insert("node".into(), "a".into());
    // zone2 is out of reach, so it is not the smallest domain.
    let nodes = || vec![zoned("a", "zone1", 3), zoned("x", "zone2", 0)];
    assert_eq!(filter_all(&plugin(), pod.clone(), nodes())[0], Ok(()));
    pod.spec.topology_spread_constraints[0].node_affinity_policy = Some("Ignore".into());
    assert_eq!(
        filter_all(&plugin(), pod, nodes())[0],
        Err(Status::unschedulable(REASON_CONSTRAINTS))
    );
    let mut pod = spreading(json!([hard("zone", 1)]));
    let tainted = || {
        let mut info = zoned("x", "zone2", 0);
        let mut node = info.node().clone();
        node.spec.taints = from_json::<api_types::core::v1::NodeSpec>(
            json!({"taints": [{"key": "k", "effect": "NoSchedule"}]}),
        )
        .taints;
        info.set_node(Arc::new(node));
        vec![zoned("a", "zone1", 3), info]
    };
    assert!(filter_all(&plugin(), pod.clone(), tainted())[0].is_err());
    pod.spec.topology_spread_constraints[0].node_taints_policy = Some("Honor".into());
    assert_eq!(filter_all(&plugin(), pod, tainted())[0], Ok(()));
}

#[test]
fn what_ifs_change_the_counts() {
    use crate::framework::plugin::{Filter, PreFilter, PreFilterExtensions};
    let nodes = vec![zoned("a", "zone1", 1), zoned("x", "zone2", 0)];
    cycle_of(
        spreading(json!([hard("zone", 1)])),
        nodes,
        |cycle, state| {
            let plugin = plugin();
            plugin.pre_filter(cycle, state).unwrap();
            let [a, x] = cycle.snapshot.nodes() else {
                panic!("two nodes")
            };
            assert!(plugin.filter(cycle, state, a).is_err());
            let other =
                crate::framework::pod_info::PodInfo::new(Arc::new(labelled("o", json!({}))));
            plugin.add_pod(cycle, state, &other, x).unwrap();
            assert_eq!(plugin.filter(cycle, state, a), Ok(()));
            plugin.remove_pod(cycle, state, &other, x).unwrap();
            assert!(plugin.filter(cycle, state, a).is_err());
            plugin.remove_pod(cycle, state, &a.pods[0], a).unwrap();
            assert_eq!(plugin.filter(cycle, state, a), Ok(()));
        },
    );
}

#[test]
fn scores_by_emptiness() {
    let soft = |key: &str| json!([constraint(key, "ScheduleAnyway", 1)]);
    let nodes = |counts: &[usize]| -> Vec<NodeInfo> {
        counts
            .iter()
            .enumerate()
            .map(|(i, count)| {
                let mut info = zoned(&format!("n{i}"), &format!("z{}", i / 2), *count);
                let mut node = info.node().clone();
                node.metadata
                    .labels
                    .insert(LABEL_HOSTNAME.into(), format!("n{i}"));
                info.set_node(Arc::new(node));
                info
            })
            .collect()
    };
    let scores = |key: &str, counts: &[usize]| {
        let plugin = plugin();
        scores_on(&plugin, Some(&plugin), spreading(soft(key)), nodes(counts))
    };
    assert_eq!(scores(LABEL_HOSTNAME, &[0, 0]), [100, 100]);
    assert_eq!(scores(LABEL_HOSTNAME, &[0, 1]), [100, 0]);
    assert_eq!(scores(LABEL_HOSTNAME, &[2, 1, 0, 3]), [20, 60, 100, 0]);
    assert_eq!(scores("zone", &[2, 1, 0, 3]), [100, 100, 100, 100]);
    assert_eq!(scores("zone", &[2, 2, 0, 1])[2], 100);
    assert_eq!(scores("zone", &[0, 4, 0, 2]), [50, 50, 100, 100]);
    // No constraints: the plugin is left out.
    let plugin = plugin();
    assert!(scores_on(&plugin, Some(&plugin), spreading(json!([])), nodes(&[1])).is_empty());
}

#[test]
fn defaults_apply_to_pods_of_services_and_controllers() {
    let mut listers = Listers::empty();
    listers.services = client::Lister::of([from_json(
        json!({"metadata": {"name": "s", "namespace": "ns"}, "spec": {"selector": {"app": "foo"}}}),
    )]);
    listers.replica_sets = client::Lister::of([from_json(
        json!({"metadata": {"name": "rs", "namespace": "ns"}, "spec": {"selector": {"matchLabels": {"tier": "x"}}}}),
    )]);
    let plugin = PodTopologySpread::new(
        &from_json(json!({"defaultingType": "System"})),
        listers,
        false,
    );
    let selectors = |pod: &Pod| -> Vec<String> {
        let constraints = plugin.constraints(pod, When::ScheduleAnyway).unwrap();
        constraints
            .iter()
            .map(|constraint| format!("{} {}", constraint.topology_key, constraint.selector))
            .collect()
    };
    let plain = pod(json!({"metadata": {"namespace": "ns"}}));
    assert!(selectors(&plain).is_empty());
    let mut served = spreading(json!([]));
    assert_eq!(
        selectors(&served),
        [
            format!("{LABEL_HOSTNAME} app=foo"),
            format!("{LABEL_ZONE} app=foo")
        ]
    );
    served.metadata.owner_references = from_json::<api_types::meta::v1::ObjectMeta>(
        json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "controller": true}]}),
    )
    .owner_references;
    assert_eq!(
        selectors(&served)[0],
        format!("{LABEL_HOSTNAME} app=foo,tier=x")
    );
    // A pod with own constraints gets no defaults.
    assert!(selectors(&spreading(json!([hard("zone", 1)]))).is_empty());
    let none: Vec<TopologySpreadConstraint> = Vec::new();
    assert_eq!(plugin.listers.pods.len(), none.len());
}

#[test]
fn hints() {
    let waiting = || spreading(json!([hard("zone", 1)]));
    let placed = |labels: Value| {
        Arc::new(pod(
            json!({"metadata": {"namespace": "ns", "uid": "o", "labels": labels}, "spec": {"nodeName": "n"}}),
        ))
    };
    let check = |event, change: &Change, expected| {
        assert_eq!(hint(plugin(), waiting(), event, change), Some(expected));
    };
    let matching = placed(json!({"app": "foo"}));
    let other = placed(json!({"app": "bar"}));
    check(
        ClusterEvent::ASSIGNED_POD_ADD,
        &Change::added(&matching),
        Hint::Queue,
    );
    check(
        ClusterEvent::ASSIGNED_POD_ADD,
        &Change::added(&other),
        Hint::Skip,
    );
    check(
        ClusterEvent::ASSIGNED_POD_DELETE,
        &Change::deleted(&matching),
        Hint::Queue,
    );
    let labels = ClusterEvent::new(EventResource::AssignedPod, Action::UPDATE_POD_LABEL);
    check(labels, &Change::updated(&matching, &other), Hint::Queue);
    let zone = |zone: &str| Arc::new(node(json!({"metadata": {"labels": {"zone": zone}}})));
    let plain = Arc::new(node(json!({})));
    let added = ClusterEvent::new(EventResource::Node, Action::ADD);
    check(added, &Change::added(&zone("a")), Hint::Queue);
    check(added, &Change::added(&plain), Hint::Skip);
    let relabelled = ClusterEvent::new(EventResource::Node, Action::UPDATE_NODE_LABEL);
    check(
        relabelled,
        &Change::updated(&zone("a"), &zone("b")),
        Hint::Queue,
    );
    check(
        relabelled,
        &Change::updated(&zone("a"), &zone("a")),
        Hint::Skip,
    );
}
