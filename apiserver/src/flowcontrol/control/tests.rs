//! Seats and levels of configurations.

use api_types::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use proptest::prelude::*;

use super::*;
use crate::flowcontrol::queue_set::Arrival;
use crate::flowcontrol::seats::WorkEstimate;
use crate::hooks::flow_control::{flow_schemas, priority_levels};

fn suggested() -> (
    BTreeMap<String, FlowSchema>,
    BTreeMap<String, PriorityLevelConfiguration>,
) {
    let schemas = flow_schemas().into_iter();
    let levels = priority_levels().into_iter();
    (
        schemas
            .map(|one| (one.metadata.name.clone(), one))
            .collect(),
        levels.map(|one| (one.metadata.name.clone(), one)).collect(),
    )
}

fn arrival(schema: &Schema, seats: u32) -> Arrival {
    Arrival {
        schema: schema.place,
        hash: 0,
        estimate: WorkEstimate::seats(seats),
        watch_count: None,
        watch: false,
        distinguisher: Distinguisher::None,
        context: std::sync::Weak::new(),
    }
}

fn schema<'a>(compiled: &'a Compiled, name: &str) -> &'a Arc<Schema> {
    let mut schemas = compiled.schemas.iter();
    schemas.find(|schema| schema.name == name).unwrap()
}

/// The numbers that upstream shows for a new cluster.
#[tokio::test]
async fn seats_of_a_new_cluster() {
    let (mut control, compiled) = Control::new(600, Shared::new());
    assert_eq!(compiled.schemas.len(), 2);
    assert_eq!(control.levels["catch-all"].current, 600);
    let (schemas, levels) = suggested();
    let compiled = control.digest(&schemas, &levels);
    assert_eq!(compiled.schemas.len(), 11);
    assert_eq!(compiled.schemas[0].name, "exempt");
    assert_eq!(compiled.schemas[10].name, "catch-all");
    for (name, nominal, min, max, seats) in [
        ("exempt", 0, 0, 600, None),
        ("catch-all", 13, 13, 613, None),
        ("system", 74, 50, 674, Some(12)),
        ("node-high", 98, 73, 698, Some(15)),
        ("leader-election", 25, 25, 625, Some(4)),
        ("workload-high", 98, 49, 698, Some(15)),
        ("workload-low", 245, 24, 845, Some(37)),
        ("global-default", 49, 24, 649, Some(8)),
    ] {
        let managed = &control.levels[name];
        let got = (
            managed.nominal,
            managed.min,
            managed.max,
            managed.max_seats(),
        );
        assert_eq!(got, (nominal, min, max, seats), "{name}");
    }
    let sum: u32 = control.levels.values().map(|managed| managed.current).sum();
    assert!((600..=604).contains(&sum), "{sum}");
}

#[tokio::test]
async fn a_level_lives_until_it_is_idle() {
    let (mut control, _) = Control::new(600, Shared::new());
    let (mut schemas, mut levels) = suggested();
    let compiled = control.digest(&schemas, &levels);
    let system = schema(&compiled, "system-nodes").clone();
    let crate::flowcontrol::level::Begun::Run(ticket) =
        system.level.begin(arrival(&system, 1), false)
    else {
        panic!("there are seats");
    };
    levels.remove("system");
    let compiled = control.digest(&schemas, &levels);
    // Its schemas are out of use.
    assert!(
        compiled
            .schemas
            .iter()
            .all(|schema| schema.name != "system-nodes")
    );
    assert!(control.levels["system"].quiescing);
    drop(ticket);
    control.shared.drained.notified().await;
    control.digest(&schemas, &levels);
    assert!(!control.levels.contains_key("system"));
    // The mandatory ones stay.
    schemas.clear();
    levels.clear();
    let compiled = control.digest(&schemas, &levels);
    let names: Vec<&String> = control.levels.keys().collect();
    assert_eq!(names, ["catch-all", "exempt"]);
    assert_eq!(compiled.schemas.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn seats_go_to_where_they_are_needed() {
    let (mut control, _) = Control::new(600, Shared::new());
    let (schemas, levels) = suggested();
    let compiled = control.digest(&schemas, &levels);
    let busy = schema(&compiled, "kube-controller-manager").clone();
    let mut requests = Vec::new();
    for _ in 0..40 {
        requests.push(busy.level.begin(arrival(&busy, 10), false));
    }
    let before = control.levels["workload-high"].current;
    for _ in 0..3 {
        tokio::time::advance(BORROWING_PERIOD).await;
        control.lend(true);
    }
    let after = control.levels["workload-high"].current;
    assert!(after > 2 * before && after > 300, "{before} {after}");
    let idle = &control.levels["workload-low"];
    assert_eq!(idle.current, idle.min);
    // Work that is over gives the seats back.
    drop(requests);
    for _ in 0..200 {
        tokio::time::advance(BORROWING_PERIOD).await;
        control.lend(true);
    }
    let later = control.levels["workload-high"].current;
    assert!(later < after / 2, "{later}");
}

#[test]
fn broken_objects_are_ignored() {
    let level = |change: fn(&mut PriorityLevelConfiguration)| {
        let mut levels = priority_levels();
        let mut level = levels.swap_remove(2);
        change(&mut level);
        queuing_of(&level)
    };
    assert!(matches!(
        level(|_| {}),
        Some(Queuing::Queue { queues: 64, .. })
    ));
    assert_eq!(level(|level| level.spec.type_ = "Exempt".to_owned()), None);
    assert_eq!(
        level(|level| level.metadata.name = "exempt".to_owned()),
        None
    );
    assert_eq!(level(|level| level.spec.limited = None), None);
    let response = |level: &mut PriorityLevelConfiguration, kind: &str| {
        level.spec.limited.as_mut().unwrap().limit_response.type_ = kind.to_owned();
    };
    let mut rejecting = priority_levels().swap_remove(2);
    response(&mut rejecting, "Reject");
    assert_eq!(queuing_of(&rejecting), None);
    rejecting
        .spec
        .limited
        .as_mut()
        .unwrap()
        .limit_response
        .queuing = None;
    assert_eq!(queuing_of(&rejecting), Some(Queuing::Reject));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is asked for, limits stay within their bounds and the server's seats are not given out twice.
    #[test]
    fn borrowing_sums_up(demand in prop::collection::vec(0..400u32, 7)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut control, _) = Control::new(600, Shared::new());
            let (schemas, levels) = suggested();
            let compiled = control.digest(&schemas, &levels);
            let mut requests = Vec::new();
            let limited = compiled
                .schemas
                .iter()
                .filter(|schema| schema.level.name != "exempt");
            for (schema, seats) in limited.zip(&demand) {
                for _ in 0..*seats {
                    requests.push(schema.level.begin(arrival(schema, 1), false));
                }
            }
            for _ in 0..4 {
                tokio::time::advance(BORROWING_PERIOD).await;
                control.lend(true);
            }
            let mut sum = 0;
            for managed in control.levels.values().filter(|managed| !managed.is_exempt()) {
                assert!(managed.current >= managed.min && managed.current <= managed.max);
                sum += managed.current;
            }
            // Each share is rounded.
            assert!(sum.abs_diff(control.nominal_sum) <= 4, "{sum} of {}", control.nominal_sum);
        });
    }
}
