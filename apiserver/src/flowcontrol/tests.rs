//! Requests that wait, without a server.

use std::sync::Weak;
use std::time::Duration;

use super::level::Level;
use super::queue_set::Queuing;
use super::seats::WorkEstimate;
use super::shuffle::Dealer;
use super::*;

fn arrival(estimate: WorkEstimate) -> Arrival {
    Arrival {
        schema: 0,
        hash: 0,
        estimate,
        watch_count: None,
        watch: false,
        distinguisher: Distinguisher::None,
        context: Weak::new(),
    }
}

fn level(queuing: Queuing, limit: u32) -> Arc<Level> {
    let level = Level::new("a", &Shared::new());
    let mut queues = level.lock();
    queues.configure(0, queuing, limit, limit.max(1));
    queues.schema("s", |_| true);
    drop(queues);
    level
}

fn one_queue() -> Queuing {
    Queuing::Queue {
        queues: 1,
        dealer: Dealer::new(1, 1).unwrap(),
        length_limit: 50,
    }
}

fn run(begun: Begun) -> Ticket {
    match begun {
        Begun::Run(ticket) => ticket,
        _ => panic!("there are seats"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_its_turn_but_not_for_ever() {
    let level = level(one_queue(), 1);
    let first = run(level.begin(arrival(WorkEstimate::ONE), true));
    let Begun::Wait(mut second, turn) = level.begin(arrival(WorkEstimate::ONE), false) else {
        panic!("there is no seat");
    };
    let Begun::Wait(mut third, late) = level.begin(arrival(WorkEstimate::ONE), false) else {
        panic!("there is no seat");
    };
    assert!(
        !third
            .wait(late, Instant::now() + Duration::from_secs(1))
            .await
    );
    assert_eq!(level.lock().waiting, 1);
    drop(third);
    let until = Instant::now() + Duration::from_secs(10);
    let waiter = tokio::spawn(async move { (second.wait(turn, until).await, second) });
    tokio::task::yield_now().await;
    drop(first);
    let (came, second) = waiter.await.unwrap();
    assert!(came);
    assert_eq!(level.lock().executing, 1);
    drop(second);
    assert!(level.lock().is_idle());
    let queues = level.lock();
    assert_eq!((queues.stats.rejected, queues.stats.cancelled), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn lingering_seats_wake_who_waits() {
    let level = level(one_queue(), 2);
    let estimate = WorkEstimate {
        initial_seats: 1,
        final_seats: 2,
        additional_latency: Duration::from_millis(50),
    };
    drop(run(level.begin(arrival(estimate), true)));
    let before = Instant::now();
    let Begun::Wait(mut next, turn) = level.begin(arrival(WorkEstimate::ONE), false) else {
        panic!("the seats are still taken");
    };
    assert!(next.wait(turn, before + Duration::from_secs(10)).await);
    let waited = before.elapsed();
    assert!(waited >= Duration::from_millis(50) && waited < Duration::from_millis(60));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_dropped_leaves_its_queue() {
    let level = level(one_queue(), 1);
    let first = run(level.begin(arrival(WorkEstimate::ONE), true));
    let Begun::Wait(mut second, turn) = level.begin(arrival(WorkEstimate::ONE), false) else {
        panic!("there is no seat");
    };
    let waiting = async move {
        second
            .wait(turn, Instant::now() + Duration::from_secs(10))
            .await
    };
    let gone = tokio::time::timeout(Duration::from_millis(1), waiting).await;
    assert!(gone.is_err());
    assert!(level.lock().waiting == 0);
    drop(first);
    assert!(level.lock().is_idle());
}

#[tokio::test(start_paused = true)]
async fn an_answer_keeps_its_seats_until_it_is_sent_or_late() {
    let level = level(one_queue(), 1);
    let place = || {
        let ticket = run(level.begin(arrival(WorkEstimate::ONE), false));
        let place = Place::default();
        place
            .0
            .get_or_init(|| Kept::Request(Mutex::new(Some(ticket))));
        place
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let first = place();
    let sent = first.while_sent(Some(deadline));
    drop(first);
    assert_eq!(level.lock().executing, 1);
    drop(sent);
    assert!(level.lock().is_idle());
    // A client that does not read.
    let second = place().while_sent(Some(deadline));
    tokio::time::sleep_until(deadline + Duration::from_secs(1)).await;
    assert!(level.lock().is_idle());
    drop(second);
    assert!(level.lock().is_idle());
}
