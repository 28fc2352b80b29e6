//! What parts of a request's way took. Upstream: endpoints/request/webhook_duration.go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A part of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    QueueWait,
    Authentication,
    Authorization,
    Impersonation,
    /// One after the other.
    MutatingWebhook,
    /// All at once: the slowest counts.
    ValidatingWebhook,
}

/// As the audit log calls them.
const NAMES: [(Latency, &str); 6] = [
    (Latency::QueueWait, "apf-queue-wait"),
    (Latency::Authentication, "authentication"),
    (Latency::Authorization, "authorization"),
    (Latency::Impersonation, "impersonation"),
    (Latency::MutatingWebhook, "mutating-webhook"),
    (Latency::ValidatingWebhook, "validating-webhook"),
];

/// Nanoseconds per part.
#[derive(Debug, Default)]
pub struct Latencies([AtomicU64; 6]);

impl Latencies {
    pub fn add(&self, part: Latency, took: Duration) {
        let Some(sum) = self.0.get(part as usize) else {
            return;
        };
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if part == Latency::ValidatingWebhook {
            sum.fetch_max(took, Ordering::Relaxed);
        } else {
            sum.fetch_add(took, Ordering::Relaxed);
        }
    }

    pub fn get(&self, part: Latency) -> Duration {
        let found = self.0.get(part as usize);
        Duration::from_nanos(found.map_or(0, |sum| sum.load(Ordering::Relaxed)))
    }

    /// What webhooks and queues took, for which a server's own speed is not to blame.
    pub fn elsewhere(&self) -> Duration {
        let parts = [
            Latency::QueueWait,
            Latency::MutatingWebhook,
            Latency::ValidatingWebhook,
        ];
        parts.into_iter().map(|part| self.get(part)).sum()
    }

    /// What took any time, as annotations of the audit log.
    pub fn annotations(&self) -> impl Iterator<Item = (String, String)> {
        NAMES.into_iter().filter_map(|(part, name)| {
            let took = self.get(part).as_nanos();
            let took = i64::try_from(took).unwrap_or(i64::MAX);
            (took > 0).then(|| {
                let key = format!("apiserver.latency.k8s.io/{name}");
                (key, apimachinery::duration::format(took))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_or_are_the_slowest() {
        let latencies = Latencies::default();
        let ms = Duration::from_millis;
        for took in [3, 2] {
            latencies.add(Latency::MutatingWebhook, ms(took));
            latencies.add(Latency::ValidatingWebhook, ms(took));
        }
        latencies.add(Latency::Authorization, ms(7));
        assert_eq!(latencies.get(Latency::MutatingWebhook), ms(5));
        assert_eq!(latencies.get(Latency::ValidatingWebhook), ms(3));
        assert_eq!(latencies.elsewhere(), ms(8));
        let told: Vec<(String, String)> = latencies.annotations().collect();
        let told: Vec<(&str, &str)> = told.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            told,
            [
                ("apiserver.latency.k8s.io/authorization", "7ms"),
                ("apiserver.latency.k8s.io/mutating-webhook", "5ms"),
                ("apiserver.latency.k8s.io/validating-webhook", "3ms"),
            ]
        );
    }
}
