use serde_json::{Value, json};

use super::candidates::{pick_one_node, select_victims_on_node};
use super::*;
use crate::cycle::tests::Fixture;
use crate::framework::pod_info::PodInfo;
use crate::plugins::testing::{from_json, node, node_info, pod};

fn of_priority(uid: &str, priority: i32, cpu: &str) -> Pod {
    pod(json!({
        "metadata": {"name": uid, "namespace": "ns", "uid": uid, "labels": {"app": uid}},
        "spec": {"priority": priority, "schedulerName": "default-scheduler",
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
        "status": {"startTime": "2020-01-01T00:00:00Z"},
    }))
}

fn big_node(name: &str, pods: Vec<Pod>) -> NodeInfo {
    node_info(
        node(
            json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "10"}}}),
        ),
        pods,
    )
}

/// Victims of a pod on one node, with how many budgets break.
#[track_caller]
fn victims(
    preemptor: Pod,
    pods: Vec<Pod>,
    budgets: Vec<Value>,
) -> Result<(Vec<String>, i64), String> {
    let fixture = Fixture::default();
    let budgets: Vec<Arc<api_types::policy::v1::PodDisruptionBudget>> = budgets
        .into_iter()
        .map(|json| Arc::new(from_json(json)))
        .collect();
    crate::plugins::testing::cycle_of(preemptor, vec![big_node("n", pods)], |cycle, state| {
        fixture.framework.run_pre_filter(cycle, state).0.unwrap();
        let node = &cycle.snapshot.nodes()[0];
        select_victims_on_node(&fixture.framework, cycle, state, node, &budgets)
            .map(|candidate| {
                let names = candidate.victims.iter().map(|pod| pod.uid().to_owned());
                (names.collect(), candidate.pdb_violations)
            })
            .map_err(|status| status.message())
    })
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn only_what_is_needed_goes_and_the_least_important_first() {
    let there = || vec![of_priority("low", 1, "2"), of_priority("mid", 5, "2")];
    let found = |cpu: &str| victims(of_priority("p", 10, cpu), there(), vec![]);
    assert_eq!(found("2"), Ok((names(&["low"]), 0)));
    assert_eq!(found("3"), Ok((names(&["mid", "low"]), 0)));
    assert_eq!(found("5"), Err("Insufficient cpu".into()));
}

#[test]
fn equal_priority_is_safe() {
    let found = victims(
        of_priority("p", 5, "3"),
        vec![of_priority("same", 5, "2")],
        vec![],
    );
    assert_eq!(
        found,
        Err("No preemption victims found for incoming pod".into())
    );
}

#[test]
fn disruption_budgets_are_kept_if_possible() {
    let budget = |app: &str| json!({"metadata": {"namespace": "ns"}, "spec": {"selector": {"matchLabels": {"app": app}}}, "status": {"disruptionsAllowed": 0}});
    let there = || vec![of_priority("a", 1, "2"), of_priority("b", 1, "2")];
    let found = |budgets| victims(of_priority("p", 10, "2"), there(), budgets);
    assert_eq!(found(vec![budget("a")]), Ok((names(&["b"]), 0)));
    assert_eq!(found(vec![budget("b")]), Ok((names(&["a"]), 0)));
    assert_eq!(found(vec![budget("a"), budget("b")]).unwrap().1, 1);
}

#[test]
fn the_cheapest_node_wins() {
    let candidate =
        |node: &str, priorities: &[i32], pdb_violations: i64, started: &str| Candidate {
            node: node.into(),
            victims: priorities
                .iter()
                .map(|priority| {
                    let mut pod = of_priority("v", *priority, "1");
                    pod.status.start_time = Some(api_types::Time::parse(started).unwrap());
                    Arc::new(PodInfo::new(Arc::new(pod)))
                })
                .collect(),
            pdb_violations,
        };
    let old = "2020-01-01T00:00:00Z";
    let young = "2021-01-01T00:00:00Z";
    #[track_caller]
    fn check(candidates: Vec<Candidate>, expected: &str) {
        assert_eq!(pick_one_node(candidates).unwrap().node, expected);
    }
    check(
        vec![candidate("a", &[1], 1, old), candidate("b", &[9], 0, old)],
        "b",
    );
    check(
        vec![
            candidate("a", &[5], 0, old),
            candidate("b", &[4, 4], 0, old),
        ],
        "b",
    );
    check(
        vec![
            candidate("a", &[5, 4], 0, old),
            candidate("b", &[5, 1], 0, old),
        ],
        "b",
    );
    check(
        vec![
            candidate("a", &[-1, -1], 0, old),
            candidate("b", &[-1], 0, old),
        ],
        "b",
    );
    check(
        vec![candidate("a", &[5], 0, old), candidate("b", &[5], 0, young)],
        "b",
    );
    check(
        vec![candidate("a", &[5], 0, old), candidate("b", &[5], 0, old)],
        "a",
    );
    assert!(pick_one_node(Vec::new()).is_none());
}

#[test]
fn the_number_of_candidates_is_bounded() {
    let fixture = Fixture::default();
    let args =
        from_json(json!({"minCandidateNodesPercentage": 10, "minCandidateNodesAbsolute": 100}));
    let plugin = DefaultPreemption::new(&args, fixture.handle());
    for (nodes, expected) in [(10, 10), (100, 100), (500, 100), (2000, 200)] {
        assert_eq!(plugin.num_candidates(nodes), expected);
    }
}
