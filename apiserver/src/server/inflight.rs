//! How many requests may be worked on at once. Upstream: server/filters/maxinflight.go.
//!
//! Watches and connections to pods do not count, and members of system:masters are never turned away.

use std::sync::Arc;

use component_base::serving::Response;
use http_body::Body as _;
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::flowcontrol::{READ_WRITE_RATIOS, TimingHistogram, without_levels};
use crate::request::context::RequestContext;

/// Two limits: for requests that only read and for those that change something.
#[derive(Clone)]
pub struct Inflight {
    read_only: Arc<Limit>,
    mutating: Arc<Limit>,
}

/// There are too many requests at once: 429.
#[derive(Debug)]
pub struct TooMany;

impl Inflight {
    /// 0 is no limit.
    pub fn new(read_only: usize, mutating: usize) -> Inflight {
        Inflight {
            read_only: Arc::new(Limit::new(read_only)),
            mutating: Arc::new(Limit::new(mutating)),
        }
    }

    /// What `/metrics` shows of it.
    pub fn collector(&self) -> prometheus::Result<Box<dyn Collector>> {
        let opts = Opts::new(
            "apiserver_current_inflight_requests",
            "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
        );
        Ok(Box::new(InflightCollector {
            inflight: self.clone(),
            gauges: GaugeVec::new(opts, &["request_kind"])?,
        }))
    }

    /// A place for the request, or None where it needs none.
    pub fn admit(&self, cx: &RequestContext) -> Result<Option<Place>, TooMany> {
        let limit = if matches!(cx.info.verb.as_str(), "get" | "list" | "watch") {
            &self.read_only
        } else {
            &self.mutating
        };
        if limit.most == 0 {
            return Ok(None);
        }
        if limit.used.lock().add(Instant::now(), limit.most) {
            return Ok(Some(Place(limit.clone())));
        }
        let privileged = component_base::auth::SYSTEM_PRIVILEGED_GROUP;
        if cx.user.groups.iter().any(|group| group == privileged) {
            return Ok(None);
        }
        Err(TooMany)
    }
}

struct Limit {
    most: usize,
    used: Mutex<Used>,
}

impl Limit {
    fn new(most: usize) -> Limit {
        let mut timing = TimingHistogram::new(READ_WRITE_RATIOS);
        timing.set_denominator(most as f64);
        Limit {
            most,
            used: Mutex::new(Used {
                count: 0,
                since: Instant::now(),
                second: 0,
                peak: 0,
                last_peak: 0,
                changed: Instant::now(),
                timing,
            }),
        }
    }
}

/// Places that are taken, and the most of them in this second and in the last one.
struct Used {
    count: usize,
    since: Instant,
    second: u64,
    peak: usize,
    last_peak: usize,
    /// For how long which part of them was taken, up to this time.
    changed: Instant,
    timing: TimingHistogram,
}

impl Used {
    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.changed).as_nanos();
        self.timing
            .elapse(u64::try_from(passed).unwrap_or(u64::MAX));
        self.changed = now;
        let second = now.saturating_duration_since(self.since).as_secs();
        if second == self.second {
            return;
        }
        self.last_peak = if second == self.second + 1 {
            self.peak
        } else {
            self.count
        };
        self.peak = self.count;
        self.second = second;
    }

    /// False when all places are taken.
    fn add(&mut self, now: Instant, most: usize) -> bool {
        self.advance(now);
        if self.count >= most {
            return false;
        }
        self.count += 1;
        self.timing.set(self.count as f64);
        self.peak = self.peak.max(self.count);
        true
    }

    fn remove(&mut self, now: Instant) {
        self.advance(now);
        self.count = self.count.saturating_sub(1);
        self.timing.set(self.count as f64);
    }

    fn last_peak(&mut self, now: Instant) -> usize {
        self.advance(now);
        self.last_peak
    }
}

/// A place of a request, given back when dropped.
pub struct Place(Arc<Limit>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.used.lock().remove(Instant::now());
    }
}

impl Place {
    /// Keeps the place of a request whose answer is still worked on while it is sent, but not beyond its deadline: a client that
    /// does not read holds no place.
    pub fn while_sent(self, response: Response, deadline: Option<Instant>) -> Response {
        if response.body().bytes().is_some() || response.body().is_end_stream() {
            return response;
        }
        let place = Arc::new(Mutex::new(Some(self)));
        let alarm = deadline.map(|deadline| {
            let place = place.clone();
            let alarm = tokio::spawn(async move {
                tokio::time::sleep_until(deadline).await;
                drop(place.lock().take());
            });
            alarm.abort_handle()
        });
        response.map(|body| body.holding(Held { place, alarm }))
    }
}

/// A place until its request's answer is sent.
struct Held {
    place: Arc<Mutex<Option<Place>>>,
    alarm: Option<AbortHandle>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(alarm) = &self.alarm {
            alarm.abort();
        }
        drop(self.place.lock().take());
    }
}

struct InflightCollector {
    inflight: Inflight,
    gauges: GaugeVec,
}

impl Collector for InflightCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now = Instant::now();
        let kinds = [
            ("readOnly", &self.inflight.read_only),
            ("mutating", &self.inflight.mutating),
        ];
        for (kind, limit) in kinds {
            let peak = limit.used.lock().last_peak(now);
            self.gauges.with_label_values(&[kind]).set(peak as f64);
        }
        let [read_only, mutating] = kinds.map(|(_, limit)| limit.used.lock().timing.clone());
        let mut families = self.gauges.collect();
        let executing = [("readOnly", &read_only), ("mutating", &mutating)];
        families.extend(without_levels(executing));
        families
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_most_of_the_last_second_is_shown() {
        let limit = Limit::new(2);
        let mut used = limit.used.lock();
        let at = |milliseconds| Duration::from_millis(milliseconds);
        let start = used.since;
        assert!(used.add(start + at(100), 2));
        assert!(used.add(start + at(200), 2));
        assert!(!used.add(start + at(300), 2));
        used.remove(start + at(400));
        assert_eq!(used.last_peak(start + at(900)), 0);
        assert_eq!(used.last_peak(start + at(1100)), 2);
        assert_eq!(used.last_peak(start + at(2100)), 1);
        // In nanoseconds: one of two places is half of them.
        let of = |used: &Used, ratio: f64| {
            let buckets = &used.timing.histogram;
            let mut bounds = buckets.bounds.iter();
            buckets.counts[bounds.position(|bound| *bound == ratio).unwrap()] / 1_000_000
        };
        assert_eq!((of(&used, 0.5), of(&used, 1.0)), (1800, 200));
        used.remove(start + at(2200));
        assert_eq!(used.last_peak(start + at(3000)), 1);
        assert_eq!(used.last_peak(start + at(9000)), 0);
    }
}
