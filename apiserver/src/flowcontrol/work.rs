//! How many seats a request is going to take. Upstream: util/flowcontrol/request, list_work_estimator.go and
//! mutating_work_estimator.go.

use std::sync::Arc;
use std::time::Duration;

use super::seats::{SeatSeconds, WorkEstimate, nanoseconds};
use super::watches::WatchTracker;
use crate::registry::table::Resources;
use crate::request::context::RequestContext;
use crate::request::query::Query;

const OBJECTS_PER_SEAT: f64 = 100.0;
const BYTES_PER_SEAT: f64 = 100_000.0;
/// What a list from the cache holds at once, at most.
const CACHED_LIST_BYTES: u64 = 1_000_000;
/// What etcd accepts as an object.
const MAX_OBJECT_SIZE: u64 = 1_500_000;
const WATCHES_PER_SEAT: f64 = 10.0;
/// What ten watches take of one seat when they are told of a change.
const EVENT_DURATION: Duration = Duration::from_millis(5);

const MAX_LIST_SEATS_BY_SIZE: u32 = 100;
const MAX_LIST_SEATS_BY_COUNT: u32 = 10;
const MAX_MUTATING_SEATS: u32 = 10;

/// Estimates work by what is stored and watched.
pub(crate) struct WorkEstimator {
    resources: Arc<Resources>,
    pub(crate) watches: Arc<WatchTracker>,
    /// Lists cost by bytes, not by objects: the feature SizeBasedListCostEstimate.
    by_size: bool,
    /// Watches can begin with a list: the feature WatchList.
    watch_list: bool,
}

/// A resource's objects.
#[derive(Clone, Copy, Debug)]
struct Stored {
    objects: u64,
    bytes: u64,
}

impl WorkEstimator {
    pub(crate) fn new(resources: Arc<Resources>, by_size: bool, watch_list: bool) -> WorkEstimator {
        WorkEstimator {
            resources,
            watches: Arc::default(),
            by_size,
            watch_list,
        }
    }

    /// The work of a request, which the seats of its level limit, and how many watches may see what it changes.
    pub(crate) fn estimate(
        &self,
        cx: &RequestContext,
        max_seats: Option<u32>,
    ) -> (WorkEstimate, Option<usize>) {
        let info = &cx.info;
        match info.verb.as_str() {
            "list" => (self.list(cx, max_seats), None),
            "watch" if self.watch_list => (self.list(cx, max_seats), None),
            "create" | "update" | "patch" | "delete" => {
                // Tokens are no changes of their ServiceAccounts.
                if info.resource == "serviceaccounts" && info.subresource == "token" {
                    return (WorkEstimate::ONE, None);
                }
                let watches = self.watches.interested(info);
                let max = max_seats.unwrap_or(MAX_MUTATING_SEATS);
                (change(watches, max.min(MAX_MUTATING_SEATS)), Some(watches))
            }
            _ => (WorkEstimate::ONE, None),
        }
    }

    fn list(&self, cx: &RequestContext, max_seats: Option<u32>) -> WorkEstimate {
        let limit = if self.by_size {
            MAX_LIST_SEATS_BY_SIZE
        } else {
            MAX_LIST_SEATS_BY_COUNT
        };
        let max = max_seats.unwrap_or(limit).min(limit);
        let (info, query) = (&cx.info, &cx.query);
        let watch = info.verb == "watch";
        if watch && !starts_with_list(query) {
            return WorkEstimate::ONE;
        }
        // It is refused later on, and taken for the worst until then.
        if query.optional_i64("limit").is_err() || query.optional_i64("timeoutSeconds").is_err() {
            return WorkEstimate::seats(max);
        }
        let resource = self
            .resources
            .get(&info.api_group, &info.api_version, &info.resource);
        let stats = resource.and_then(|resource| resource.storage.as_ref()?.object_stats());
        // Of another server, or not known yet.
        let Some((objects, bytes)) = stats else {
            return WorkEstimate::ONE;
        };
        let stored = Stored { objects, bytes };
        let list = List::new(query, watch || from_cache(query), !info.name.is_empty());
        let seats = if self.by_size {
            list.seats_by_size(stored)
        } else {
            list.seats_by_count(stored)
        };
        WorkEstimate::seats((seats.min(f64::from(max)) as u32).max(1))
    }
}

/// Whether a watch sends what there is first.
fn starts_with_list(query: &Query) -> bool {
    query.optional_bool("sendInitialEvents") == Some(true)
        || matches!(query.first("resourceVersion"), None | Some("" | "0"))
}

/// Whether a list is answered by the watch cache.
fn from_cache(query: &Query) -> bool {
    let first = |name: &str| query.first(name).unwrap_or_default();
    let version = first("resourceVersion");
    match first("resourceVersionMatch") {
        "NotOlderThan" => true,
        "" => {
            let limited = query
                .optional_i64("limit")
                .is_ok_and(|limit| limit > Some(0));
            let exact = limited && !matches!(version, "" | "0");
            first("continue").is_empty() && !exact
        }
        _ => false,
    }
}

/// What a list asks for.
struct List {
    limit: Option<u64>,
    selects: bool,
    from_cache: bool,
    /// A field selector names the object.
    single: bool,
}

impl List {
    fn new(query: &Query, from_cache: bool, single: bool) -> List {
        let has = |name: &str| query.first(name).is_some_and(|text| !text.is_empty());
        let limit = query.optional_i64("limit").ok().flatten();
        List {
            limit: limit
                .and_then(|limit| u64::try_from(limit).ok())
                .filter(|limit| *limit > 0),
            selects: has("fieldSelector") || has("labelSelector"),
            from_cache,
            single,
        }
    }

    fn limited(&self, objects: u64) -> u64 {
        self.limit.map_or(objects, |limit| limit.min(objects))
    }

    fn seats_by_count(&self, stored: Stored) -> f64 {
        let limited = self.limited(stored.objects);
        let processed = if self.single {
            1
        } else if self.from_cache {
            stored.objects
        } else if self.selects {
            stored.objects + limited
        } else {
            2 * limited
        };
        (processed as f64 / OBJECTS_PER_SEAT).ceil()
    }

    fn seats_by_size(&self, stored: Stored) -> f64 {
        let average = match (stored.bytes, stored.objects) {
            (_, 0) => 0,
            (0, _) => MAX_OBJECT_SIZE,
            (bytes, objects) => bytes / objects,
        };
        let limited = self.limited(stored.objects);
        let loaded = if self.single {
            1
        } else if self.selects && !self.from_cache {
            limited.max(stored.objects / 2)
        } else {
            limited
        };
        let mut bytes = loaded * average;
        if self.from_cache {
            bytes = bytes.min(CACHED_LIST_BYTES);
        }
        (bytes as f64 / BYTES_PER_SEAT).ceil()
    }
}

/// A change that this many watches may be told of.
fn change(watches: usize, max_seats: u32) -> WorkEstimate {
    if (watches as f64) < WATCHES_PER_SEAT {
        return WorkEstimate::ONE;
    }
    let seats = (watches as f64 / WATCHES_PER_SEAT).ceil();
    let work = SeatSeconds::new(seats, nanoseconds(EVENT_DURATION));
    // A wide request blocks others until there are enough seats: narrow and long is the same work.
    let final_seats = (seats as u32).min(max_seats);
    WorkEstimate {
        initial_seats: 1,
        final_seats,
        additional_latency: work.per_seat(final_seats),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_cost_by_watches() {
        assert_eq!(change(9, 10), WorkEstimate::ONE);
        let seats = |watches, max| {
            let estimate = change(watches, max);
            (estimate.final_seats, estimate.additional_latency)
        };
        assert_eq!(seats(10, 10), (1, Duration::from_millis(5)));
        assert_eq!(seats(29, 10), (3, Duration::from_millis(5)));
        assert_eq!(seats(1000, 10), (10, Duration::from_millis(50)));
        assert_eq!(seats(1000, 1), (1, Duration::from_millis(500)));
    }

    /// Cases of upstream's TestWorkEstimator.
    #[test]
    fn lists_cost_by_what_they_load() {
        let stored = Stored {
            objects: 699,
            bytes: 699 * 1_000,
        };
        let list = |text: &str| {
            let query = Query::parse(text);
            List::new(&query, from_cache(&query), false)
        };
        for (query, by_count, by_size) in [
            ("resourceVersion=0", 7.0, 7.0),
            ("resourceVersion=0&limit=399", 7.0, 4.0),
            ("limit=399", 7.0, 4.0),
            ("limit=399&resourceVersion=7", 8.0, 4.0),
            ("limit=100&resourceVersion=7&labelSelector=a", 8.0, 4.0),
            ("continue=x&limit=100", 2.0, 1.0),
            ("resourceVersionMatch=Exact&resourceVersion=5", 14.0, 7.0),
            (
                "resourceVersionMatch=NotOlderThan&resourceVersion=5&limit=100",
                7.0,
                1.0,
            ),
        ] {
            let list = list(query);
            assert_eq!(list.seats_by_count(stored), by_count, "{query}");
            assert_eq!(list.seats_by_size(stored), by_size, "{query}");
        }
        let single = List::new(&Query::default(), true, true);
        assert_eq!(single.seats_by_count(stored), 1.0);
        assert_eq!(single.seats_by_size(stored), 1.0);
        let unknown_size = Stored {
            objects: 3,
            bytes: 0,
        };
        assert_eq!(list("").seats_by_size(unknown_size), 10.0);
        let none = Stored {
            objects: 0,
            bytes: 0,
        };
        assert_eq!(list("").seats_by_size(none), 0.0);
    }

    #[test]
    fn watches_that_begin_with_a_list() {
        for (query, expected) in [
            ("", true),
            ("resourceVersion=0", true),
            ("resourceVersion=7", false),
            ("resourceVersion=7&sendInitialEvents=true", true),
        ] {
            assert_eq!(starts_with_list(&Query::parse(query)), expected, "{query}");
        }
    }
}
