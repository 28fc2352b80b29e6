//! A priority level's queues under their lock, and the places of requests in them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::queue_set::{Arrival, QueueSet, RequestId, Start};
use super::stats::TimingHistogram;

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// The time in nanoseconds since the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    wall: SystemTime,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock {
            start: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn instant(&self, at: u64) -> Instant {
        self.start + Duration::from_nanos(at)
    }

    /// What clocks on walls show.
    pub(crate) fn wall(&self, at: u64) -> SystemTime {
        self.wall + Duration::from_nanos(at)
    }
}

/// What all levels have in common.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    /// A level that is to go away has nothing left to do.
    pub(crate) drained: Notify,
    /// Requests that only read, and those that change something.
    pub(crate) kinds: [Mutex<KindStats>; 2],
}

/// Numbers of requests that only read, or of those that do not, at all levels.
pub(crate) struct KindStats {
    now: u64,
    waiting_count: u32,
    executing_count: u32,
    /// The most of each in this second.
    second: u64,
    peak: Peak,
    last_peak: Peak,
    pub(crate) waiting: TimingHistogram,
    pub(crate) executing: TimingHistogram,
}

/// Numbers of requests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peak {
    pub(crate) waiting: u32,
    pub(crate) executing: u32,
}

pub(crate) const READ_WRITE_RATIOS: &[f64] = &[
    0.0, 0.001, 0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0,
];

impl KindStats {
    fn new(now: u64) -> KindStats {
        KindStats {
            now,
            waiting_count: 0,
            executing_count: 0,
            second: now / SECOND,
            peak: Peak::default(),
            last_peak: Peak::default(),
            waiting: TimingHistogram::new(READ_WRITE_RATIOS),
            executing: TimingHistogram::new(READ_WRITE_RATIOS),
        }
    }

    /// Changes the numbers of waiting and executing requests.
    pub(crate) fn add(&mut self, now: u64, waiting: i32, executing: i32) {
        let elapsed = now.saturating_sub(self.now);
        self.now += elapsed;
        self.waiting.elapse(elapsed);
        self.executing.elapse(elapsed);
        let second = self.now / SECOND;
        if second != self.second {
            let before = Peak {
                waiting: self.waiting_count,
                executing: self.executing_count,
            };
            self.last_peak = if second == self.second + 1 {
                self.peak
            } else {
                before
            };
            self.peak = before;
            self.second = second;
        }
        self.waiting_count = self.waiting_count.saturating_add_signed(waiting);
        self.executing_count = self.executing_count.saturating_add_signed(executing);
        self.waiting.set(f64::from(self.waiting_count));
        self.executing.set(f64::from(self.executing_count));
        self.peak.waiting = self.peak.waiting.max(self.waiting_count);
        self.peak.executing = self.peak.executing.max(self.executing_count);
    }

    /// The most requests at once in the last full second.
    pub(crate) fn peak(&mut self, now: u64) -> Peak {
        self.add(now, 0, 0);
        self.last_peak
    }
}

impl Shared {
    pub(crate) fn new() -> Arc<Shared> {
        let clock = Clock::new();
        let now = clock.now();
        Arc::new(Shared {
            clock,
            drained: Notify::new(),
            kinds: [
                Mutex::new(KindStats::new(now)),
                Mutex::new(KindStats::new(now)),
            ],
        })
    }
}

/// A priority level that requests go through.
pub(crate) struct Level {
    pub(crate) name: String,
    shared: Arc<Shared>,
    state: Mutex<State>,
}

struct State {
    queues: QueueSet,
    /// When a task will look after seats that are given back by then.
    alarm: Option<u64>,
}

/// The lock of a level, as of now.
pub(crate) struct Locked<'a> {
    state: MutexGuard<'a, State>,
    pub(crate) now: u64,
}

impl std::ops::Deref for Locked<'_> {
    type Target = QueueSet;

    fn deref(&self) -> &QueueSet {
        &self.state.queues
    }
}

impl std::ops::DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut QueueSet {
        &mut self.state.queues
    }
}

/// What becomes of a request.
pub(crate) enum Begun {
    Rejected,
    Run(Ticket),
    Wait(Ticket, oneshot::Receiver<()>),
}

/// The place of a request in its level. Dropping it gives the place back, whatever became of the request.
pub struct Ticket {
    level: Arc<Level>,
    id: RequestId,
    mutating: bool,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running,
    /// It has no place any more.
    Gone,
}

impl Level {
    pub(crate) fn new(name: &str, shared: &Arc<Shared>) -> Arc<Level> {
        Arc::new(Level {
            name: name.to_owned(),
            shared: shared.clone(),
            state: Mutex::new(State {
                queues: QueueSet::new(shared.clock.now()),
                alarm: None,
            }),
        })
    }

    pub(crate) fn lock(&self) -> Locked<'_> {
        let state = self.state.lock();
        let now = self.shared.clock.now();
        Locked { state, now }
    }

    /// The same, with everything brought to the present.
    pub(crate) fn lock_synced(&self) -> Locked<'_> {
        let mut locked = self.lock();
        let now = locked.now;
        locked.sync(now);
        locked
    }

    /// Takes a request in.
    pub(crate) fn begin(self: &Arc<Self>, arrival: Arrival, mutating: bool) -> Begun {
        let mut locked = self.lock();
        let now = locked.now;
        let start = locked.start(now, arrival);
        self.set_alarm(&mut locked);
        drop(locked);
        let ticket = |id, phase, waiting, executing| {
            let kind = &self.shared.kinds[usize::from(mutating)];
            kind.lock().add(now, waiting, executing);
            Ticket {
                level: self.clone(),
                id,
                mutating,
                phase,
            }
        };
        match start {
            Start::Rejected => Begun::Rejected,
            Start::Run(id) => Begun::Run(ticket(id, Phase::Running, 0, 1)),
            Start::Wait(id, turn) => Begun::Wait(ticket(id, Phase::Waiting, 1, 0), turn),
        }
    }

    /// Sees to it that those who wait are served when lingering requests give their seats back.
    fn set_alarm(self: &Arc<Self>, locked: &mut Locked<'_>) {
        let Some(at) = locked.next_release() else {
            return;
        };
        if locked.state.alarm.is_some_and(|alarm| alarm <= at) {
            return;
        }
        // Without a runtime nobody waits any longer.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        locked.state.alarm = Some(at);
        let level = self.clone();
        runtime.spawn(async move {
            tokio::time::sleep_until(level.shared.clock.instant(at)).await;
            let mut locked = level.lock_synced();
            if locked.state.alarm == Some(at) {
                locked.state.alarm = None;
            }
            level.set_alarm(&mut locked);
        });
    }
}

impl Ticket {
    /// Waits for the request's turn, but not longer than `until`. False when it did not come.
    pub(crate) async fn wait(&mut self, turn: oneshot::Receiver<()>, until: Instant) -> bool {
        let came = matches!(tokio::time::timeout_at(until, turn).await, Ok(Ok(())));
        if !came && self.leave() {
            return false;
        }
        self.phase = Phase::Running;
        self.count(-1, 1);
        true
    }

    /// Leaves the queue. False when the request's turn came meanwhile.
    fn leave(&mut self) -> bool {
        let mut locked = self.level.lock();
        let now = locked.now;
        if !locked.cancel(now, self.id) {
            return false;
        }
        let drained = locked.quiescing && locked.is_idle();
        drop(locked);
        self.phase = Phase::Gone;
        self.count(-1, 0);
        if drained {
            self.level.shared.drained.notify_one();
        }
        true
    }

    fn count(&self, waiting: i32, executing: i32) {
        let shared = &self.level.shared;
        let mut kind = shared.kinds[usize::from(self.mutating)].lock();
        kind.add(shared.clock.now(), waiting, executing);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        match self.phase {
            Phase::Gone => return,
            Phase::Waiting => {
                if self.leave() {
                    return;
                }
                self.count(-1, 1);
            }
            Phase::Running => {}
        }
        let mut locked = self.level.lock();
        let now = locked.now;
        locked.finish(now, self.id);
        self.level.set_alarm(&mut locked);
        let drained = locked.quiescing && locked.is_idle();
        drop(locked);
        let shared = &self.level.shared;
        shared.kinds[usize::from(self.mutating)]
            .lock()
            .add(now, 0, -1);
        if drained {
            shared.drained.notify_one();
        }
    }
}
