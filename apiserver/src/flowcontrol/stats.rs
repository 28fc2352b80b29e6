//! What a priority level counts under its own lock, so that a request touches no other memory for its metrics. Upstream:
//! util/flowcontrol/metrics, component-base/metrics/prometheusextension and fairqueuing/integrator.go.

/// An ordinary histogram.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    pub(crate) bounds: &'static [f64],
    /// One more than there are bounds.
    pub(crate) counts: Box<[u64]>,
    pub(crate) sum: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Histogram {
        Histogram {
            bounds,
            counts: vec![0; bounds.len() + 1].into(),
            sum: 0.0,
        }
    }

    pub(crate) fn observe(&mut self, value: f64) {
        self.counts[bucket(self.bounds, value)] += 1;
        self.sum += value;
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The first bucket that a value fits in.
fn bucket(bounds: &[f64], value: f64) -> usize {
    bounds
        .iter()
        .position(|bound| value <= *bound)
        .unwrap_or(bounds.len())
}

/// How long a ratio had which value, in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct TimingHistogram {
    pub(crate) histogram: Histogram,
    numerator: f64,
    denominator: f64,
    ratio: f64,
    bucket: usize,
}

impl TimingHistogram {
    pub(crate) fn new(bounds: &'static [f64]) -> TimingHistogram {
        TimingHistogram {
            histogram: Histogram::new(bounds),
            numerator: 0.0,
            denominator: 1.0,
            ratio: 0.0,
            bucket: bucket(bounds, 0.0),
        }
    }

    /// The ratio was as it is for this long.
    pub(crate) fn elapse(&mut self, nanoseconds: u64) {
        self.histogram.counts[self.bucket] += nanoseconds;
        self.histogram.sum += self.ratio * nanoseconds as f64;
    }

    pub(crate) fn set(&mut self, numerator: f64) {
        if numerator != self.numerator {
            self.numerator = numerator;
            self.changed();
        }
    }

    pub(crate) fn set_denominator(&mut self, denominator: f64) {
        self.denominator = denominator.max(1.0);
        self.changed();
    }

    fn changed(&mut self) {
        self.ratio = self.numerator / self.denominator;
        self.bucket = bucket(self.histogram.bounds, self.ratio);
    }
}

/// Moments of the demand for seats since the last time they were asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand {
    seats: f64,
    max: f64,
    /// In seconds, seat-seconds, and squares of seats times seconds.
    moments: [f64; 3],
}

/// What the demand was over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct DemandSummary {
    pub(crate) seconds: f64,
    pub(crate) average: f64,
    pub(crate) deviation: f64,
    pub(crate) max: f64,
}

impl Demand {
    pub(crate) fn elapse(&mut self, nanoseconds: u64) {
        let seconds = nanoseconds as f64 / 1e9;
        self.moments[0] += seconds;
        self.moments[1] += self.seats * seconds;
        self.moments[2] += self.seats * self.seats * seconds;
    }

    pub(crate) fn set(&mut self, seats: f64) {
        self.seats = seats;
        self.max = self.max.max(seats);
    }

    /// The demand so far; counting starts anew.
    pub(crate) fn take(&mut self) -> DemandSummary {
        let [seconds, first, second] = std::mem::take(&mut self.moments);
        let max = std::mem::replace(&mut self.max, self.seats);
        if seconds <= 0.0 {
            return DemandSummary {
                max,
                ..DemandSummary::default()
            };
        }
        let average = first / seconds;
        DemandSummary {
            seconds,
            average,
            deviation: (second / seconds - average * average).max(0.0).sqrt(),
            max,
        }
    }
}

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// All seats are taken, and there are no queues.
    ConcurrencyLimit,
    QueueFull,
    /// It waited as long as it may, or its client went away.
    TimeOut,
}

pub(crate) const REASONS: [Reason; 3] =
    [Reason::ConcurrencyLimit, Reason::QueueFull, Reason::TimeOut];

impl Reason {
    /// The value of the metric's label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Reason::ConcurrencyLimit => "concurrency-limit",
            Reason::QueueFull => "queue-full",
            Reason::TimeOut => "time-out",
        }
    }
}

const QUEUE_LENGTHS: &[f64] = &[0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
const SECONDS: &[f64] = &[
    0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0,
];
const WATCHES: &[f64] = &[0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0];
const SEATS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];

/// What is counted for each flow schema of a priority level.
#[derive(Clone, Debug)]
pub(crate) struct SchemaStats {
    pub(crate) name: String,
    pub(crate) dispatched: u64,
    /// By [`REASONS`].
    pub(crate) rejected: [u64; REASONS.len()],
    pub(crate) waiting: u32,
    pub(crate) seats_waiting: u32,
    pub(crate) executing: u32,
    pub(crate) seats_in_use: u32,
    pub(crate) no_accommodation: u64,
    pub(crate) queue_length: Histogram,
    /// Seconds in the queue of requests that were not and that were executed.
    pub(crate) waited: [Histogram; 2],
    /// Seconds of execution, of watches until they have started.
    pub(crate) executed: [Histogram; 2],
    pub(crate) watch_count: Histogram,
    pub(crate) seats: Histogram,
}

impl SchemaStats {
    /// No request of it is in the level.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting == 0 && self.executing == 0 && self.seats_in_use == 0
    }

    pub(crate) fn new(name: &str) -> SchemaStats {
        let seconds = || [Histogram::new(SECONDS), Histogram::new(SECONDS)];
        SchemaStats {
            name: name.to_owned(),
            dispatched: 0,
            rejected: [0; REASONS.len()],
            waiting: 0,
            seats_waiting: 0,
            executing: 0,
            seats_in_use: 0,
            no_accommodation: 0,
            queue_length: Histogram::new(QUEUE_LENGTHS),
            waited: seconds(),
            executed: seconds(),
            watch_count: Histogram::new(WATCHES),
            seats: Histogram::new(SEATS),
        }
    }
}

const REQUEST_RATIOS: &[f64] = &[0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0];
/// Bounds at both 0.99 and 1 show when a level is saturated.
const SEAT_RATIOS: &[f64] = &[
    0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0,
];
const DEMAND_RATIOS: &[f64] = &[0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.8, 4.0, 6.0];

/// What is counted for a priority level as a whole.
#[derive(Clone, Debug)]
pub(crate) struct LevelStats {
    pub(crate) waiting: TimingHistogram,
    pub(crate) executing: TimingHistogram,
    pub(crate) seats: TimingHistogram,
    pub(crate) demand_ratio: TimingHistogram,
    pub(crate) demand: Demand,
    pub(crate) dispatched: u64,
    pub(crate) rejected: u64,
    pub(crate) cancelled: u64,
    pub(crate) epochs: u64,
    /// As of the last dispatch from a queue.
    pub(crate) dispatch: Option<DispatchMarks>,
}

/// Readings in seat-seconds at a dispatch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DispatchMarks {
    pub(crate) r: f64,
    pub(crate) s: f64,
    /// Over queues with waiting requests.
    pub(crate) s_bounds: [f64; 2],
    /// The same less the work in progress.
    pub(crate) discounted_s_bounds: [f64; 2],
}

impl LevelStats {
    pub(crate) fn new() -> LevelStats {
        LevelStats {
            waiting: TimingHistogram::new(REQUEST_RATIOS),
            executing: TimingHistogram::new(REQUEST_RATIOS),
            seats: TimingHistogram::new(SEAT_RATIOS),
            demand_ratio: TimingHistogram::new(DEMAND_RATIOS),
            demand: Demand::default(),
            dispatched: 0,
            rejected: 0,
            cancelled: 0,
            epochs: 0,
            dispatch: None,
        }
    }

    pub(crate) fn elapse(&mut self, nanoseconds: u64) {
        self.waiting.elapse(nanoseconds);
        self.executing.elapse(nanoseconds);
        self.seats.elapse(nanoseconds);
        self.demand_ratio.elapse(nanoseconds);
        self.demand.elapse(nanoseconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_over_time() {
        let mut demand = Demand::default();
        demand.set(2.0);
        demand.elapse(1_000_000_000);
        demand.set(6.0);
        demand.elapse(1_000_000_000);
        demand.set(1.0);
        let summary = demand.take();
        assert_eq!(
            summary,
            DemandSummary {
                seconds: 2.0,
                average: 4.0,
                deviation: 2.0,
                max: 6.0
            }
        );
        assert_eq!(demand.take().max, 1.0);
    }

    #[test]
    fn time_counts_in_the_bucket_of_the_ratio() {
        let mut timing = TimingHistogram::new(&[0.0, 0.5, 1.0]);
        timing.set_denominator(4.0);
        timing.elapse(5);
        timing.set(1.0);
        timing.elapse(8);
        timing.set(8.0);
        timing.elapse(2);
        assert_eq!(*timing.histogram.counts, [5, 8, 0, 2]);
        assert_eq!(timing.histogram.sum, 6.0);
        assert_eq!(timing.histogram.count(), 15);
    }
}
