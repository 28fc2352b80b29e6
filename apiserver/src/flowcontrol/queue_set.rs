//! Fair queuing of one priority level. Upstream: util/flowcontrol/fairqueuing/queueset.
//!
//! Every flow has a hand of queues and each request goes into the shortest of its hand. A queue's next request is dispatched
//! in a virtual world in which all queues that have work are served at the same time, each with an equal part of the seats;
//! the progress meter R says how many seat-seconds each queue was given there. In the real world the request that would be
//! finished first in the virtual one is dispatched next.
//!
//! Nothing here knows of clocks or tasks: each operation is told the time in nanoseconds. Who waits has the receiving end
//! of a channel. All operations are short and run under the level's lock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Weak;

use tokio::sync::oneshot;

use super::seats::{SeatSeconds, WorkEstimate, nanoseconds};
use super::shuffle::{Dealer, MAX_HAND};
use super::stats::{DispatchMarks, LevelStats, Reason, SchemaStats};
use crate::request::context::RequestContext;

/// What a request is thought to take until it has shown how long it takes, in nanoseconds.
const ESTIMATED_SERVICE: i64 = 3_000_000;

/// A level forgets schemas that are gone once it has had so many.
const KEPT_SCHEMAS: usize = 64;

/// R is wound back by this much before it overflows.
const EPOCH: SeatSeconds = SeatSeconds(i64::MAX / 2);
const END_OF_EPOCH: SeatSeconds = SeatSeconds(i64::MAX / 4 * 3);

/// How a level treats requests that it has no seats for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queuing {
    /// There is always a seat.
    Exempt,
    Reject,
    Queue {
        queues: usize,
        dealer: Dealer,
        length_limit: usize,
    },
}

/// A request as it comes.
pub(crate) struct Arrival {
    /// Its schema's place in [`QueueSet::schemas`].
    pub(crate) schema: u32,
    pub(crate) hash: u64,
    pub(crate) estimate: WorkEstimate,
    /// Watches that may be told of what it changes.
    pub(crate) watch_count: Option<usize>,
    pub(crate) watch: bool,
    /// How its flow is told from others, and who it is, for dumps.
    pub(crate) distinguisher: Distinguisher,
    pub(crate) context: Weak<RequestContext>,
}

/// What tells flows of a schema apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Distinguisher {
    #[default]
    None,
    ByUser,
    ByNamespace,
}

/// Names a request that was let in until [`QueueSet::finish`] or [`QueueSet::cancel`].
pub(crate) type RequestId = u32;

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Start {
    Rejected,
    /// It has its seats.
    Run(RequestId),
    /// The channel tells when it has them.
    Wait(RequestId, oneshot::Receiver<()>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Waiting,
    Executing,
    /// Executed, but its seats are still taken.
    Lingering,
    /// Its client was gone when its turn came.
    Abandoned,
}

pub(crate) struct Entry {
    pub(crate) schema: u32,
    pub(crate) queue: Option<usize>,
    pub(crate) phase: Phase,
    pub(crate) estimate: WorkEstimate,
    /// The whole work that is expected.
    work: SeatSeconds,
    final_work: SeatSeconds,
    arrival_r: SeatSeconds,
    pub(crate) arrived: u64,
    pub(crate) started: u64,
    watch: bool,
    waker: Option<oneshot::Sender<()>>,
    pub(crate) distinguisher: Distinguisher,
    pub(crate) context: Weak<RequestContext>,
}

#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) waiting: VecDeque<RequestId>,
    /// When, on the meter R, its next request is dispatched in the virtual world.
    pub(crate) next_dispatch: SeatSeconds,
    pub(crate) executing: usize,
    /// Of executing and lingering requests.
    pub(crate) seats_in_use: u32,
    /// Sums over waiting requests.
    pub(crate) initial_seats: u32,
    pub(crate) max_seats: u32,
    pub(crate) work: SeatSeconds,
}

impl Queue {
    fn is_active(&self) -> bool {
        !self.waiting.is_empty() || self.executing > 0
    }
}

/// The requests of a priority level.
pub(crate) struct QueueSet {
    queuing: Queuing,
    limit: u32,
    pub(crate) queues: Vec<Queue>,
    entries: Vec<Option<Entry>>,
    free: Vec<RequestId>,
    r: SeatSeconds,
    now: u64,
    /// The queue that was last dispatched from.
    robin: usize,
    pub(crate) waiting: usize,
    pub(crate) executing: usize,
    seats_in_use: u32,
    seats_waiting: u32,
    /// Those of `seats_in_use` that belong to queues.
    queue_seats_in_use: u32,
    active_queues: usize,
    enqueued: usize,
    lingering: BinaryHeap<Reverse<(u64, RequestId)>>,
    /// The level has no object any more and goes away when it is idle.
    pub(crate) quiescing: bool,
    pub(crate) stats: LevelStats,
    pub(crate) schemas: Vec<SchemaStats>,
}

impl QueueSet {
    /// An empty one without a seat.
    pub(crate) fn new(now: u64) -> QueueSet {
        QueueSet {
            queuing: Queuing::Reject,
            limit: 0,
            queues: Vec::new(),
            entries: Vec::new(),
            free: Vec::new(),
            r: SeatSeconds(0),
            now,
            robin: 0,
            waiting: 0,
            executing: 0,
            seats_in_use: 0,
            seats_waiting: 0,
            queue_seats_in_use: 0,
            active_queues: 0,
            enqueued: 0,
            lingering: BinaryHeap::new(),
            quiescing: false,
            stats: LevelStats::new(),
            schemas: Vec::new(),
        }
    }

    /// The place of a schema's numbers. Those of schemas that are gone stay for a while: see [`KEPT_SCHEMAS`].
    pub(crate) fn schema(&mut self, name: &str, in_use: impl Fn(&str) -> bool) -> u32 {
        let mut schemas = self.schemas.iter();
        if let Some(at) = schemas.position(|known| known.name == name) {
            return at as u32;
        }
        let mut schemas = self.schemas.iter();
        let unused = schemas.position(|known| known.is_idle() && !in_use(&known.name));
        let at = match unused {
            Some(at) if self.schemas.len() >= KEPT_SCHEMAS => {
                self.schemas[at] = SchemaStats::new(name);
                at
            }
            _ => {
                self.schemas.push(SchemaStats::new(name));
                self.schemas.len() - 1
            }
        };
        at as u32
    }

    /// Takes new settings. `denominator` is what utilization is measured against.
    pub(crate) fn configure(&mut self, now: u64, queuing: Queuing, limit: u32, denominator: u32) {
        self.sync(now);
        let mut capacity = 1;
        if let Queuing::Queue {
            queues,
            length_limit,
            ..
        } = queuing
        {
            if self.queues.len() < queues {
                self.queues.resize_with(queues, Queue::default);
            }
            capacity = length_limit.max(1) * queues;
        }
        self.queuing = queuing;
        self.limit = limit;
        self.remove_excess_queues();
        self.stats.waiting.set_denominator(capacity as f64);
        let denominator = f64::from(denominator);
        self.stats.executing.set_denominator(denominator);
        self.stats.seats.set_denominator(denominator);
        self.stats.demand_ratio.set_denominator(denominator);
        self.dispatch_all(None);
        self.note_changes();
    }

    /// Nothing waits and nothing is executed.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting == 0 && self.executing == 0
    }

    /// R in seat-seconds.
    pub(crate) fn r(&self) -> f64 {
        self.r.seconds()
    }

    /// When [`Self::sync`] has something to do for those that wait.
    pub(crate) fn next_release(&self) -> Option<u64> {
        let Reverse((at, _)) = self.lingering.peek()?;
        (self.waiting > 0).then_some(*at)
    }

    pub(crate) fn entry(&self, id: RequestId) -> Option<&Entry> {
        self.entries.get(id as usize)?.as_ref()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (RequestId, &Entry)> {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(id, entry)| Some((id as RequestId, entry.as_ref()?)))
    }

    /// Begins a request.
    pub(crate) fn start(&mut self, now: u64, arrival: Arrival) -> Start {
        self.sync(now);
        let seats = arrival.estimate.max_seats();
        let stats = &mut self.schemas[arrival.schema as usize];
        stats.seats.observe(f64::from(seats));
        if let Some(watches) = arrival.watch_count {
            stats.watch_count.observe(watches as f64);
        }
        let final_work = arrival.estimate.final_work();
        let initial_seats = f64::from(arrival.estimate.initial_seats);
        let mut entry = Entry {
            schema: arrival.schema,
            queue: None,
            phase: Phase::Executing,
            estimate: arrival.estimate,
            work: SeatSeconds::new(initial_seats, ESTIMATED_SERVICE) + final_work,
            final_work,
            arrival_r: self.r,
            arrived: now,
            started: now,
            watch: arrival.watch,
            waker: None,
            distinguisher: arrival.distinguisher,
            context: arrival.context,
        };
        let Queuing::Queue {
            dealer,
            length_limit,
            ..
        } = self.queuing
        else {
            if !self.accommodates(seats) {
                self.reject(arrival.schema, Reason::ConcurrencyLimit);
                return Start::Rejected;
            }
            self.occupy(&entry);
            let id = self.insert(entry);
            self.note_changes();
            return Start::Run(id);
        };
        let at = self.choose(dealer, arrival.hash);
        if self.seats_in_use >= self.limit && self.queues[at].waiting.len() >= length_limit {
            self.reject(arrival.schema, Reason::QueueFull);
            return Start::Rejected;
        }
        entry.queue = Some(at);
        entry.phase = Phase::Waiting;
        let id = self.enqueue(at, entry);
        self.dispatch_all(Some(at));
        self.note_changes();
        match self.entries[id as usize].as_mut() {
            Some(entry) if entry.phase == Phase::Waiting => {
                let (waker, turn) = oneshot::channel();
                entry.waker = Some(waker);
                Start::Wait(id, turn)
            }
            _ => Start::Run(id),
        }
    }

    /// A request was executed.
    pub(crate) fn finish(&mut self, now: u64, id: RequestId) {
        self.sync(now);
        let Some(entry) = self.entries[id as usize].as_mut() else {
            return;
        };
        if entry.phase == Phase::Abandoned {
            self.remove(id);
            return;
        }
        debug_assert_eq!(entry.phase, Phase::Executing, "finished once");
        entry.phase = Phase::Lingering;
        let took = now.saturating_sub(entry.started);
        let estimate = entry.estimate;
        let queue = entry.queue;
        self.executing -= 1;
        let stats = &mut self.schemas[entry.schema as usize];
        stats.executing -= 1;
        stats.executed[usize::from(entry.watch)].observe(took as f64 / 1e9);
        if let Some(at) = queue {
            let queue = &mut self.queues[at];
            queue.executing -= 1;
            if !queue.is_active() {
                self.active_queues -= 1;
            }
            // It was charged with the estimate when it was dispatched.
            let difference = ESTIMATED_SERVICE - i64::try_from(took).unwrap_or(i64::MAX);
            queue.next_dispatch -= SeatSeconds::new(f64::from(estimate.initial_seats), difference);
            self.bound_next_dispatch(at);
        }
        if estimate.additional_latency.is_zero() {
            self.release(id);
        } else {
            let over = now + nanoseconds(estimate.additional_latency) as u64;
            self.lingering.push(Reverse((over, id)));
        }
        self.dispatch_all(None);
        self.note_changes();
    }

    /// A request does not wait any longer. False when its turn has come: it is to be executed or finished.
    pub(crate) fn cancel(&mut self, now: u64, id: RequestId) -> bool {
        self.sync(now);
        let Some(entry) = self.entry(id) else {
            return true;
        };
        match entry.phase {
            Phase::Waiting => self.leave_queue(id, true),
            Phase::Abandoned => {}
            Phase::Executing | Phase::Lingering => return false,
        }
        self.remove(id);
        self.dispatch_all(None);
        self.note_changes();
        true
    }

    /// Brings everything to the present. What was due in between happens when it was due.
    pub(crate) fn sync(&mut self, now: u64) {
        while let Some(Reverse((at, id))) = self.lingering.peek().copied()
            && at <= now
        {
            self.advance(at);
            self.lingering.pop();
            self.release(id);
            self.dispatch_all(None);
            self.note_changes();
        }
        self.advance(now);
    }

    fn advance(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.now);
        if elapsed == 0 {
            return;
        }
        self.now = now;
        self.stats.elapse(elapsed);
        if self.active_queues == 0 {
            return;
        }
        // Upstream counts the seats that are wanted, up to the limit. Where a wide request waits for more seats than are free, those that
        // are free serve nobody: counting them, all queues would fall behind R, and whoever comes anew, however little they want,
        // would have to wait until the others have made up for it.
        let rate = f64::from(self.queue_seats_in_use.min(self.limit)) / self.active_queues as f64;
        self.r += SeatSeconds::new(rate, i64::try_from(elapsed).unwrap_or(i64::MAX));
        if self.r >= END_OF_EPOCH {
            self.begin_epoch();
        }
    }

    fn begin_epoch(&mut self) {
        self.r -= EPOCH;
        for queue in &mut self.queues {
            // The mark of one without work may be very old. It is set anew before it is used.
            queue.next_dispatch = if queue.is_active() {
                queue.next_dispatch - EPOCH
            } else {
                SeatSeconds(0)
            };
        }
        for entry in self.entries.iter_mut().flatten() {
            if entry.phase == Phase::Waiting {
                entry.arrival_r -= EPOCH;
            }
        }
        self.stats.epochs += 1;
    }

    /// The queue of the flow's hand that has the least work. The hand is looked through from another card each time: flows
    /// whose hands overlap do not all prefer the same queue.
    fn choose(&mut self, dealer: Dealer, hash: u64) -> usize {
        let mut hand = [0; MAX_HAND];
        let count = dealer.deal(hash, &mut hand);
        let offset = self.enqueued % count;
        self.enqueued += 1;
        let cards = hand[offset..count].iter().chain(&hand[..offset]);
        let best = cards.min_by_key(|card| self.queues[**card].work);
        best.copied().unwrap_or(0)
    }

    fn enqueue(&mut self, at: usize, entry: Entry) -> RequestId {
        let queue = &mut self.queues[at];
        if !queue.is_active() {
            self.active_queues += 1;
            queue.next_dispatch = self.r;
        }
        let seats = entry.estimate.max_seats();
        queue.initial_seats += entry.estimate.initial_seats;
        queue.max_seats += seats;
        queue.work += entry.work;
        self.waiting += 1;
        self.seats_waiting += seats;
        let stats = &mut self.schemas[entry.schema as usize];
        stats.waiting += 1;
        stats.seats_waiting += seats;
        stats.queue_length.observe((queue.waiting.len() + 1) as f64);
        let id = self.insert(entry);
        self.queues[at].waiting.push_back(id);
        self.bound_next_dispatch(at);
        id
    }

    fn insert(&mut self, entry: Entry) -> RequestId {
        match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = Some(entry);
                id
            }
            None => {
                self.entries.push(Some(entry));
                (self.entries.len() - 1) as RequestId
            }
        }
    }

    fn remove(&mut self, id: RequestId) {
        if self.entries[id as usize].take().is_some() {
            self.free.push(id);
        }
    }

    /// `only` is the one queue with waiting requests, when there is no more than one such request.
    fn dispatch_all(&mut self, only: Option<usize>) {
        let mut only = only.filter(|_| self.waiting == 1);
        while self.waiting > 0 && self.seats_in_use < self.limit && self.dispatch(only) {
            only = None;
        }
    }

    /// Dispatches one request, if the one whose turn it is finds its seats.
    fn dispatch(&mut self, only: Option<usize>) -> bool {
        let Some((at, id, marks)) = self.next_to_dispatch(only) else {
            return false;
        };
        let limit = self.limit;
        let Some(entry) = self.entries[id as usize].as_ref() else {
            return false;
        };
        if !self.accommodates(entry.estimate.max_seats()) {
            self.schemas[entry.schema as usize].no_accommodation += 1;
            return false;
        }
        self.robin = at;
        self.leave_queue(id, false);
        self.stats.dispatch = Some(marks);
        let Some(entry) = self.entries[id as usize].as_mut() else {
            return false;
        };
        // More final seats than there are take longer instead.
        if entry.estimate.final_seats > limit {
            entry.estimate.final_seats = limit;
            entry.estimate.additional_latency = entry.final_work.per_seat(limit);
        }
        let turn_taken = entry
            .waker
            .take()
            .is_none_or(|waker| waker.send(()).is_ok());
        if !turn_taken {
            entry.phase = Phase::Abandoned;
            let (schema, arrived) = (entry.schema, entry.arrived);
            self.bound_next_dispatch(at);
            self.give_up(schema, arrived);
            return true;
        }
        entry.phase = Phase::Executing;
        entry.started = self.now;
        let work = entry.work;
        // Moved out for a moment: the sums are fields of the set.
        if let Some(entry) = self.entries[id as usize].take() {
            self.occupy(&entry);
            self.entries[id as usize] = Some(entry);
        }
        self.queues[at].next_dispatch += work;
        self.bound_next_dispatch(at);
        true
    }

    /// The queue whose oldest request would be finished first in the virtual world, that request, and marks for metrics.
    fn next_to_dispatch(&self, only: Option<usize>) -> Option<(usize, RequestId, DispatchMarks)> {
        let mut best: Option<(SeatSeconds, usize, RequestId)> = None;
        let mut s = [SeatSeconds::MAX, SeatSeconds::MIN];
        let mut discounted = [SeatSeconds::MAX, SeatSeconds::MIN];
        let count = self.queues.len();
        let places = match only {
            Some(at) => at..at + 1,
            // After the one that was last dispatched from: of equal ones, the others win.
            None => self.robin + 1..self.robin + 1 + count,
        };
        for at in places {
            let at = if at >= count { at % count } else { at };
            let queue = &self.queues[at];
            let Some(id) = queue.waiting.front().copied() else {
                continue;
            };
            let Some(entry) = self.entry(id) else {
                continue;
            };
            let start = queue.next_dispatch;
            let in_progress = SeatSeconds::new(f64::from(queue.seats_in_use), ESTIMATED_SERVICE);
            s = [s[0].min(start), s[1].max(start)];
            let less = start - in_progress;
            discounted = [discounted[0].min(less), discounted[1].max(less)];
            let finish = start + entry.work;
            if best.is_none_or(|(earliest, _, _)| finish < earliest) {
                best = Some((finish, at, id));
            }
        }
        let (_, at, id) = best?;
        let marks = DispatchMarks {
            r: self.r.seconds(),
            s: self.queues[at].next_dispatch.seconds(),
            s_bounds: s.map(SeatSeconds::seconds),
            discounted_s_bounds: discounted.map(SeatSeconds::seconds),
        };
        Some((at, id, marks))
    }

    fn accommodates(&self, seats: u32) -> bool {
        match self.queuing {
            Queuing::Exempt => true,
            // One that is wider than the level goes alone.
            _ if seats > self.limit => self.executing == 0,
            _ => self.seats_in_use + seats <= self.limit,
        }
    }

    /// Gives a request its seats.
    fn occupy(&mut self, entry: &Entry) {
        let seats = entry.estimate.max_seats();
        self.executing += 1;
        self.seats_in_use += seats;
        if let Some(at) = entry.queue {
            let queue = &mut self.queues[at];
            if !queue.is_active() {
                self.active_queues += 1;
            }
            queue.executing += 1;
            queue.seats_in_use += seats;
            self.queue_seats_in_use += seats;
        }
        self.stats.dispatched += 1;
        let stats = &mut self.schemas[entry.schema as usize];
        stats.dispatched += 1;
        stats.executing += 1;
        stats.seats_in_use += seats;
        if !matches!(self.queuing, Queuing::Exempt) {
            let waited = entry.started.saturating_sub(entry.arrived);
            stats.waited[1].observe(waited as f64 / 1e9);
        }
    }

    /// Takes a request's seats back.
    fn release(&mut self, id: RequestId) {
        let Some(entry) = self.entries[id as usize].take() else {
            return;
        };
        self.free.push(id);
        let seats = entry.estimate.max_seats();
        self.seats_in_use -= seats;
        self.schemas[entry.schema as usize].seats_in_use -= seats;
        if let Some(at) = entry.queue {
            self.queues[at].seats_in_use -= seats;
            self.queue_seats_in_use -= seats;
            self.remove_excess_queues();
        }
    }

    /// Takes a waiting request out of its queue. Its entry stays.
    fn leave_queue(&mut self, id: RequestId, cancelled: bool) {
        let Some(entry) = self.entries[id as usize].as_ref() else {
            return;
        };
        let (schema, arrived, seats) = (entry.schema, entry.arrived, entry.estimate.max_seats());
        if let Some(at) = entry.queue {
            let queue = &mut self.queues[at];
            if queue.waiting.front() == Some(&id) {
                queue.waiting.pop_front();
            } else {
                queue.waiting.retain(|waiting| *waiting != id);
            }
            queue.initial_seats -= entry.estimate.initial_seats;
            queue.max_seats -= seats;
            queue.work -= entry.work;
            if !queue.is_active() {
                self.active_queues -= 1;
            }
            if cancelled {
                self.bound_next_dispatch(at);
            }
        }
        self.waiting -= 1;
        self.seats_waiting -= seats;
        let stats = &mut self.schemas[schema as usize];
        stats.waiting -= 1;
        stats.seats_waiting -= seats;
        if cancelled {
            self.give_up(schema, arrived);
            self.remove_excess_queues();
        }
    }

    fn give_up(&mut self, schema: u32, arrived: u64) {
        let waited = self.now.saturating_sub(arrived);
        self.schemas[schema as usize].waited[0].observe(waited as f64 / 1e9);
        self.stats.cancelled += 1;
        self.reject(schema, Reason::TimeOut);
    }

    fn reject(&mut self, schema: u32, reason: Reason) {
        self.stats.rejected += 1;
        let stats = &mut self.schemas[schema as usize];
        stats.rejected[reason as usize] += 1;
        if reason != Reason::TimeOut {
            stats.waited[0].observe(0.0);
        }
    }

    /// A queue that does not use its part of the seats does not save up for later: in the virtual world, too, nothing is
    /// dispatched before it came.
    fn bound_next_dispatch(&mut self, at: usize) {
        let oldest = self.queues[at].waiting.front().copied();
        let Some(arrival) = oldest.and_then(|id| Some(self.entry(id)?.arrival_r)) else {
            return;
        };
        let queue = &mut self.queues[at];
        queue.next_dispatch = queue.next_dispatch.max(arrival);
    }

    /// Queues that are not wanted get no more requests and go when they are empty.
    fn remove_excess_queues(&mut self) {
        let wanted = match self.queuing {
            Queuing::Queue { queues, .. } => queues,
            Queuing::Exempt | Queuing::Reject => 0,
        };
        while self.queues.len() > wanted
            && let Some(last) = self.queues.last()
            && !last.is_active()
            && last.seats_in_use == 0
        {
            self.queues.pop();
            self.robin = self.robin.min(self.queues.len().saturating_sub(1));
        }
    }

    fn note_changes(&mut self) {
        self.stats.waiting.set(self.waiting as f64);
        self.stats.executing.set(self.executing as f64);
        self.stats.seats.set(f64::from(self.seats_in_use));
        let demand = f64::from(self.seats_in_use + self.seats_waiting);
        self.stats.demand_ratio.set(demand);
        self.stats.demand.set(demand);
    }
}

#[cfg(test)]
mod tests;
