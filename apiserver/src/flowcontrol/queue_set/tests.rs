//! Fairness and bookkeeping in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const MILLISECOND: u64 = 1_000_000;

fn queuing(queues: usize, hand: i32, length_limit: usize) -> Queuing {
    Queuing::Queue {
        queues,
        dealer: Dealer::new(queues as i32, hand).unwrap(),
        length_limit,
    }
}

fn set(queuing: Queuing, limit: u32) -> QueueSet {
    let mut set = QueueSet::new(0);
    set.configure(0, queuing, limit, limit.max(1));
    set.schema("a", |_| true);
    set
}

fn arrival(hash: u64, estimate: WorkEstimate) -> Arrival {
    Arrival {
        schema: 0,
        hash,
        estimate,
        watch_count: None,
        watch: false,
        distinguisher: Distinguisher::None,
        context: Weak::new(),
    }
}

fn lingering(final_seats: u32, milliseconds: u64) -> WorkEstimate {
    WorkEstimate {
        initial_seats: 1,
        final_seats,
        additional_latency: Duration::from_millis(milliseconds),
    }
}

#[track_caller]
fn running(start: Start) -> RequestId {
    match start {
        Start::Run(id) => id,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn waiting(start: Start) -> (RequestId, oneshot::Receiver<()>) {
    match start {
        Start::Wait(id, turn) => (id, turn),
        other => panic!("{other:?}"),
    }
}

/// Sums that are kept are those of what is there.
#[track_caller]
fn check_sums(set: &QueueSet) {
    let count = |phase: Phase| set.entries().filter(|(_, e)| e.phase == phase).count();
    assert_eq!(set.waiting, count(Phase::Waiting), "waiting");
    assert_eq!(set.executing, count(Phase::Executing), "executing");
    let seats = |phases: &[Phase], queued: bool| -> u32 {
        set.entries()
            .filter(|(_, e)| phases.contains(&e.phase) && (!queued || e.queue.is_some()))
            .map(|(_, e)| e.estimate.max_seats())
            .sum()
    };
    let taken = [Phase::Executing, Phase::Lingering];
    assert_eq!(set.seats_in_use, seats(&taken, false), "seats");
    assert_eq!(set.queue_seats_in_use, seats(&taken, true), "queue seats");
    assert_eq!(set.seats_waiting, seats(&[Phase::Waiting], false));
    let active = set.queues.iter().filter(|queue| queue.is_active()).count();
    assert_eq!(set.active_queues, active, "active");
    for (at, queue) in set.queues.iter().enumerate() {
        let of_queue = |phase: &[Phase]| {
            set.entries()
                .filter(|(_, e)| e.queue == Some(at) && phase.contains(&e.phase))
                .map(|(_, e)| (e.estimate.max_seats(), e.work.0))
                .fold((0, 0, 0), |(n, seats, work), (s, w)| {
                    (n + 1, seats + s, work + w)
                })
        };
        let (count, seats, work) = of_queue(&[Phase::Waiting]);
        assert_eq!(
            (queue.waiting.len(), queue.max_seats, queue.work.0),
            (count, seats, work)
        );
        assert_eq!(queue.seats_in_use, of_queue(&taken).1);
        assert_eq!(queue.executing, of_queue(&[Phase::Executing]).0);
    }
    let schema = &set.schemas[0];
    assert_eq!(schema.executing as usize, set.executing);
    assert_eq!(schema.seats_in_use, set.seats_in_use);
    assert_eq!(schema.waiting as usize, set.waiting);
    assert_eq!(schema.seats_waiting, set.seats_waiting);
}

#[test]
fn an_exempt_level_always_has_a_seat() {
    let mut set = set(Queuing::Exempt, 0);
    for _ in 0..1000 {
        running(set.start(0, arrival(0, WorkEstimate::seats(10))));
    }
    assert_eq!(set.seats_in_use, 10_000);
    check_sums(&set);
}

#[test]
fn without_queues_the_rest_is_turned_away() {
    let mut set = set(Queuing::Reject, 2);
    let first = running(set.start(0, arrival(0, WorkEstimate::ONE)));
    assert!(matches!(
        set.start(0, arrival(0, WorkEstimate::seats(2))),
        Start::Rejected
    ));
    running(set.start(0, arrival(0, WorkEstimate::ONE)));
    assert!(matches!(
        set.start(0, arrival(0, WorkEstimate::ONE)),
        Start::Rejected
    ));
    assert_eq!(
        set.schemas[0].rejected[Reason::ConcurrencyLimit as usize],
        2
    );
    set.finish(1, first);
    running(set.start(1, arrival(0, WorkEstimate::ONE)));
    check_sums(&set);
}

#[test]
fn one_wider_than_the_level_goes_alone() {
    let mut set = set(queuing(1, 1, 50), 4);
    let narrow = running(set.start(0, arrival(0, WorkEstimate::ONE)));
    let (wide, mut turn) = waiting(set.start(0, arrival(0, WorkEstimate::seats(9))));
    let (_, mut last) = waiting(set.start(0, arrival(0, WorkEstimate::ONE)));
    assert_eq!(set.schemas[0].no_accommodation, 2);
    set.finish(1, narrow);
    assert!(turn.try_recv().is_ok());
    assert!(last.try_recv().is_err());
    set.finish(2, wide);
    assert!(last.try_recv().is_ok());
    check_sums(&set);
}

#[test]
fn a_full_queue_turns_away() {
    let mut set = set(queuing(1, 1, 2), 1);
    running(set.start(0, arrival(0, WorkEstimate::ONE)));
    let one = waiting(set.start(0, arrival(0, WorkEstimate::ONE)));
    let two = waiting(set.start(0, arrival(0, WorkEstimate::ONE)));
    assert!(matches!(
        set.start(0, arrival(0, WorkEstimate::ONE)),
        Start::Rejected
    ));
    assert_eq!(set.schemas[0].rejected[Reason::QueueFull as usize], 1);
    check_sums(&set);
    drop((one, two));
}

#[test]
fn seats_linger_and_then_serve_those_who_wait() {
    let mut set = set(queuing(1, 1, 50), 3);
    let change = running(set.start(0, arrival(0, lingering(3, 5))));
    assert_eq!(set.seats_in_use, 3);
    set.finish(MILLISECOND, change);
    assert_eq!((set.executing, set.seats_in_use), (0, 3));
    assert!(set.is_idle());
    assert_eq!(set.next_release(), None);
    let (_, mut turn) = waiting(set.start(MILLISECOND, arrival(0, WorkEstimate::ONE)));
    assert_eq!(set.next_release(), Some(6 * MILLISECOND));
    set.sync(6 * MILLISECOND - 1);
    assert!(turn.try_recv().is_err());
    set.sync(20 * MILLISECOND);
    assert!(turn.try_recv().is_ok());
    assert_eq!(set.seats_in_use, 1);
    // It began when the seats were given back, not when somebody looked.
    let (_, entry) = set.entries().next().unwrap();
    assert_eq!(entry.started, 6 * MILLISECOND);
    check_sums(&set);
}

#[test]
fn more_final_seats_than_there_are_take_longer_instead() {
    let mut set = set(queuing(1, 1, 50), 2);
    let id = running(set.start(0, arrival(0, lingering(10, 5))));
    let estimate = set.entry(id).unwrap().estimate;
    assert_eq!(estimate, lingering(2, 25));
    check_sums(&set);
}

#[test]
fn who_went_away_takes_no_seat() {
    let mut set = set(queuing(1, 1, 50), 1);
    let first = running(set.start(0, arrival(0, WorkEstimate::ONE)));
    let (gone, turn) = waiting(set.start(0, arrival(0, WorkEstimate::ONE)));
    let (_, mut next) = waiting(set.start(0, arrival(0, WorkEstimate::ONE)));
    // Its place is given back only after its turn came.
    drop(turn);
    set.finish(1, first);
    assert!(next.try_recv().is_ok());
    check_sums(&set);
    assert!(set.cancel(2, gone));
    assert_eq!(set.stats.cancelled, 1);
    check_sums(&set);
}

#[test]
fn queues_come_and_go_with_the_settings() {
    let mut set = set(queuing(8, 2, 50), 1);
    let first = running(set.start(0, arrival(0, WorkEstimate::ONE)));
    let turns: Vec<_> = (0..16)
        .map(|hash| waiting(set.start(0, arrival(hash * 7, WorkEstimate::ONE))))
        .collect();
    set.configure(1, queuing(2, 1, 50), 1, 1);
    assert!(set.queues.len() > 2);
    check_sums(&set);
    set.configure(1, Queuing::Reject, 20, 20);
    set.finish(2, first);
    for (id, mut turn) in turns {
        assert!(turn.try_recv().is_ok());
        set.finish(3, id);
        check_sums(&set);
    }
    assert!(set.queues.is_empty() && set.is_idle());
    set.configure(4, queuing(4, 2, 50), 20, 20);
    assert_eq!(set.queues.len(), 4);
    running(set.start(4, arrival(3, WorkEstimate::ONE)));
    check_sums(&set);
}

#[test]
fn the_meter_is_wound_back_before_it_overflows() {
    let mut set = set(queuing(1, 1, 50), 1);
    let first = running(set.start(0, arrival(0, WorkEstimate::ONE)));
    let (_, mut turn) = waiting(set.start(0, arrival(0, WorkEstimate::ONE)));
    set.r = END_OF_EPOCH;
    for queue in &mut set.queues {
        queue.next_dispatch += END_OF_EPOCH;
    }
    set.sync(MILLISECOND);
    assert_eq!(set.stats.epochs, 1);
    assert!(set.r < EPOCH);
    set.finish(2 * MILLISECOND, first);
    assert!(turn.try_recv().is_ok());
}

#[test]
fn schemas_that_are_gone_are_forgotten_when_they_are_many() {
    let mut set = set(Queuing::Reject, 1);
    let request = running(set.start(0, arrival(0, WorkEstimate::ONE)));
    for at in 0..1000 {
        let name = format!("s{at}");
        let place = set.schema(&name, |other| other == name);
        assert_eq!(set.schemas[place as usize].name, name);
    }
    assert_eq!(set.schemas.len(), KEPT_SCHEMAS);
    assert_eq!(set.schemas[0].name, "a");
    set.finish(1, request);
    check_sums(&set);
}

/// Flows that always have this many requests, each of this length: how many of each were executed in a while.
fn compete(set: &mut QueueSet, flows: &[(u64, usize, u64, u32)], time: u64) -> Vec<u64> {
    struct Running {
        flow: usize,
        id: RequestId,
        turn: Option<oneshot::Receiver<()>>,
    }
    let mut done = vec![0; flows.len()];
    let mut requests: Vec<Running> = Vec::new();
    let mut ends: BTreeMap<(u64, RequestId), ()> = BTreeMap::new();
    let mut now = 0;
    let begin = |set: &mut QueueSet, now: u64, flow: usize| {
        let (hash, _, _, seats) = flows[flow];
        match set.start(now, arrival(hash, WorkEstimate::seats(seats))) {
            Start::Rejected => None,
            Start::Run(id) => Some(Running {
                flow,
                id,
                turn: None,
            }),
            Start::Wait(id, turn) => Some(Running {
                flow,
                id,
                turn: Some(turn),
            }),
        }
    };
    for (flow, (_, count, ..)) in flows.iter().enumerate() {
        for _ in 0..*count {
            requests.extend(begin(set, now, flow));
        }
    }
    while now < time {
        for request in &mut requests {
            let started = match &mut request.turn {
                Some(turn) => turn.try_recv().is_ok(),
                None => !ends.keys().any(|(_, id)| *id == request.id),
            };
            if started {
                request.turn = None;
                ends.insert((now + flows[request.flow].2, request.id), ());
            }
        }
        let ((end, id), ()) = ends.pop_first().unwrap();
        now = end;
        let at = requests
            .iter()
            .position(|request| request.id == id)
            .unwrap();
        let flow = requests.swap_remove(at).flow;
        done[flow] += 1;
        set.finish(now, id);
        requests.extend(begin(set, now, flow));
        check_sums(set);
    }
    done
}

/// Hashes of flows whose hands have no queue in common.
fn two_flows(queues: usize) -> (u64, u64) {
    (0, (queues / 2) as u64)
}

#[test]
fn a_mouse_keeps_its_share_beside_an_elephant() {
    let (elephant, mouse) = two_flows(16);
    let race = |requests: usize| {
        let mut set = set(queuing(16, 1, 50), 4);
        let flows = [
            (elephant, 45, 10 * MILLISECOND, 1),
            (mouse, requests, 10 * MILLISECOND, 1),
        ];
        compete(&mut set, &flows, 2_000 * MILLISECOND)
    };
    // With enough to do it gets half of the seats, however much the other one asks for.
    let done = race(5);
    assert!(done[0].abs_diff(done[1]) <= 8, "{done:?}");
    // With little to do it waits for no more than one request of the other.
    let done = race(1);
    assert!(done[1] >= 99, "{done:?}");
}

#[test]
fn seats_that_nobody_fits_into_do_not_count_as_served() {
    let mut set = set(queuing(16, 1, 50), 19);
    let elephant = |queue| (queue, 45, 10 * MILLISECOND, 10);
    let mouse = (12, 1, MILLISECOND, 1);
    let flows = [elephant(0), elephant(4), elephant(8), mouse];
    let done = compete(&mut set, &flows, 2_000 * MILLISECOND);
    // Nine seats are always free: who fits into them need not wait for the tens.
    assert!(done[3] > 1_900, "{done:?}");
}

#[test]
fn wide_and_long_requests_are_charged_for() {
    let mut set = set(queuing(16, 1, 50), 6);
    let (wide, long) = two_flows(16);
    let flows = [
        (wide, 20, 10 * MILLISECOND, 3),
        (long, 20, 30 * MILLISECOND, 1),
    ];
    let done = compete(&mut set, &flows, 6_000 * MILLISECOND);
    // Each gets half of the seat-seconds; both cost 30 ms of seats a request.
    let (wide, long) = (done[0] as f64, done[1] as f64);
    assert!((wide / long - 1.0).abs() < 0.1, "{done:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever requests and clients do, no seat is lost, and who waits is served in the end.
    #[test]
    fn no_seat_is_lost(
        limit in 1..12u32,
        queues in 1..6usize,
        steps in prop::collection::vec(
            (0..5u8, 0..1000u64, 1..15u32, 0..4u32, 0..10u64, 0..20u64),
            1..150,
        ),
    ) {
        let mut set = set(queuing(queues, 1, 5), limit);
        let mut now = 0;
        let mut open: Vec<(RequestId, Option<oneshot::Receiver<()>>)> = Vec::new();
        for (what, hash, seats, final_seats, latency, pause) in steps {
            now += pause * MILLISECOND / 4;
            match what {
                0 | 1 => {
                    let estimate = WorkEstimate {
                        initial_seats: seats,
                        final_seats,
                        additional_latency: Duration::from_millis(
                            if final_seats == 0 { 0 } else { latency },
                        ),
                    };
                    match set.start(now, arrival(hash, estimate)) {
                        Start::Rejected => {}
                        Start::Run(id) => open.push((id, None)),
                        Start::Wait(id, turn) => open.push((id, Some(turn))),
                    }
                }
                // Somebody goes away or is finished.
                2 | 3 if !open.is_empty() => {
                    let (id, turn) = open.swap_remove(hash as usize % open.len());
                    let waits = turn.is_some_and(|mut turn| turn.try_recv().is_err());
                    if !waits || !set.cancel(now, id) {
                        set.finish(now, id);
                    }
                }
                _ => set.configure(now, set.queuing, 1 + (hash as u32 % 12), 1),
            }
            check_sums(&set);
        }
        set.configure(now, set.queuing, limit, limit);
        while !open.is_empty() {
            let before = open.len();
            now += 10_000 * MILLISECOND;
            set.sync(now);
            open.retain_mut(|(id, turn)| {
                let over = turn.as_mut().is_none_or(|turn| turn.try_recv().is_ok());
                if over {
                    set.finish(now, *id);
                }
                !over
            });
            check_sums(&set);
            prop_assert!(open.len() < before, "nobody is served");
        }
        set.sync(now + 10_000 * MILLISECOND);
        check_sums(&set);
        prop_assert_eq!((set.seats_in_use, set.seats_waiting, set.waiting), (0, 0, 0));
        prop_assert!(set.is_idle());
    }
}
