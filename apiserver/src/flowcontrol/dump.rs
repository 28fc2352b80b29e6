//! `/debug/api_priority_and_fairness/*`: what goes on in the queues, as tables. Upstream: util/flowcontrol/
//! apf_controller_debug.go, which writes with Go's tabwriter.

use std::time::SystemTime;

use super::FlowControl;
use super::queue_set::{Distinguisher, Entry, Phase, QueueSet, RequestId};
use super::seats::nanoseconds;
use crate::request::query::Query;

const PREFIX: &str = "/debug/api_priority_and_fairness/";

/// A column is as wide as its widest cell and one more, and at least this.
const MIN_WIDTH: usize = 8;

/// The paths that [`serve`] knows.
pub fn paths() -> [String; 3] {
    ["dump_priority_levels", "dump_queues", "dump_requests"].map(|page| format!("{PREFIX}{page}"))
}

/// The text of a path, if it is one of these.
pub fn serve(flow: &FlowControl, path: &str, query: &Query) -> Option<String> {
    match path.strip_prefix(PREFIX)? {
        "dump_priority_levels" => Some(priority_levels(flow)),
        "dump_queues" => Some(queues(flow)),
        "dump_requests" => {
            let details = query.first("includeRequestDetails");
            Some(requests(flow, details.is_some_and(|text| !text.is_empty())))
        }
        _ => None,
    }
}

struct Table(Vec<Vec<String>>);

impl Table {
    fn new(headers: &[&str]) -> Table {
        Table(vec![
            headers.iter().map(|text| (*text).to_owned()).collect(),
        ])
    }

    /// Cells are followed by commas, which belong to them, and padded but for the last.
    fn text(mut self) -> String {
        let columns = self.0.first().map_or(0, Vec::len);
        let mut widths = vec![MIN_WIDTH; columns];
        for row in &mut self.0 {
            let last = row.len().saturating_sub(1);
            for (at, cell) in row.iter_mut().enumerate().take(last) {
                cell.push(',');
                widths[at] = widths[at].max(cell.chars().count() + 1);
            }
        }
        let mut text = String::new();
        for row in &self.0 {
            for (at, cell) in row.iter().enumerate() {
                text.push_str(cell);
                if at + 1 < row.len() {
                    let pad = widths[at].saturating_sub(cell.chars().count());
                    text.extend(std::iter::repeat_n(' ', pad));
                }
            }
            text.push('\n');
        }
        text
    }
}

fn priority_levels(flow: &FlowControl) -> String {
    let mut table = Table::new(&[
        "PriorityLevelName",
        "ActiveQueues",
        "IsIdle",
        "IsQuiescing",
        "WaitingRequests",
        "ExecutingRequests",
        "DispatchedRequests",
        "RejectedRequests",
        "TimedoutRequests",
        "CancelledRequests",
    ]);
    for (name, managed) in &flow.control.lock().levels {
        let queues = managed.level.lock_synced();
        let active = queues
            .queues
            .iter()
            .filter(|queue| !queue.waiting.is_empty());
        table.0.push(vec![
            name.clone(),
            active.count().to_string(),
            queues.is_idle().to_string(),
            managed.quiescing.to_string(),
            queues.waiting.to_string(),
            queues.executing.to_string(),
            queues.stats.dispatched.to_string(),
            queues.stats.rejected.to_string(),
            // Upstream counts those that waited too long as cancelled, too.
            "0".to_owned(),
            queues.stats.cancelled.to_string(),
        ]);
    }
    table.text()
}

fn queues(flow: &FlowControl) -> String {
    let mut table = Table::new(&[
        "PriorityLevelName",
        "Index",
        "PendingRequests",
        "ExecutingRequests",
        "SeatsInUse",
        "NextDispatchR",
        "InitialSeatsSum",
        "MaxSeatsSum",
        "TotalWorkSum",
    ]);
    for (name, managed) in &flow.control.lock().levels {
        let queues = managed.level.lock_synced();
        for (at, queue) in queues.queues.iter().enumerate() {
            table.0.push(vec![
                name.clone(),
                at.to_string(),
                queue.waiting.len().to_string(),
                queue.executing.to_string(),
                queue.seats_in_use.to_string(),
                queue.next_dispatch.to_string(),
                queue.initial_seats.to_string(),
                queue.max_seats.to_string(),
                queue.work.to_string(),
            ]);
        }
    }
    table.text()
}

fn requests(flow: &FlowControl, details: bool) -> String {
    let mut headers = vec![
        "PriorityLevelName",
        "FlowSchemaName",
        "QueueIndex",
        "RequestIndexInQueue",
        "FlowDistingsher",
        "ArriveTime",
        "InitialSeats",
        "FinalSeats",
        "AdditionalLatency",
        "StartTime",
    ];
    if details {
        headers.extend([
            "UserName",
            "Verb",
            "APIPath",
            "Namespace",
            "Name",
            "APIVersion",
            "Resource",
            "SubResource",
        ]);
    }
    let mut table = Table::new(&headers);
    for (name, managed) in &flow.control.lock().levels {
        let queues = managed.level.lock_synced();
        let mut push = |queue: i64, place: i64, entry: &Entry| {
            let places = [queue, place];
            let row = request(flow, (name, &queues), places, entry, details);
            table.0.push(row);
        };
        // By queue: those that wait, then those that are executed; at the end those without a queue.
        for (at, queue) in queues.queues.iter().enumerate() {
            for (place, id) in queue.waiting.iter().enumerate() {
                if let Some(entry) = queues.entry(*id) {
                    push(at as i64, place as i64, entry);
                }
            }
            for (_, entry) in executing(&queues, Some(at)) {
                push(at as i64, -1, entry);
            }
        }
        for (_, entry) in executing(&queues, None) {
            push(-1, -1, entry);
        }
    }
    table.text()
}

fn executing(queues: &QueueSet, queue: Option<usize>) -> impl Iterator<Item = (RequestId, &Entry)> {
    queues
        .entries()
        .filter(move |(_, entry)| entry.phase == Phase::Executing && entry.queue == queue)
}

fn request(
    flow: &FlowControl,
    (level, queues): (&str, &QueueSet),
    [queue, place]: [i64; 2],
    entry: &Entry,
    details: bool,
) -> Vec<String> {
    let cx = entry.context.upgrade();
    let cx = cx.as_deref();
    let flow_name = match (entry.distinguisher, cx) {
        (Distinguisher::ByUser, Some(cx)) => cx.user.name.as_str(),
        (Distinguisher::ByNamespace, Some(cx)) => cx.info.namespace.as_str(),
        _ => "",
    };
    let started = if entry.phase == Phase::Waiting {
        "0001-01-01T00:00:00Z".to_owned()
    } else {
        time(flow.shared.clock.wall(entry.started))
    };
    let mut row = vec![
        level.to_owned(),
        queues.schemas[entry.schema as usize].name.clone(),
        queue.to_string(),
        place.to_string(),
        flow_name.to_owned(),
        time(flow.shared.clock.wall(entry.arrived)),
        entry.estimate.initial_seats.to_string(),
        entry.estimate.final_seats.to_string(),
        apimachinery::duration::format(nanoseconds(entry.estimate.additional_latency)),
        started,
    ];
    if details {
        let text = |value: fn(&crate::request::context::RequestContext) -> String| {
            cx.map(value).unwrap_or_default()
        };
        row.extend([
            text(|cx| cx.user.name.clone()),
            text(|cx| cx.info.verb.clone()),
            text(|cx| cx.info.path.clone()),
            text(|cx| cx.info.namespace.clone()),
            text(|cx| cx.info.name.clone()),
            text(|cx| {
                let info = &cx.info;
                if info.api_group.is_empty() {
                    info.api_version.clone()
                } else {
                    format!("{}/{}", info.api_group, info.api_version)
                }
            }),
            text(|cx| cx.info.resource.clone()),
            text(|cx| cx.info.subresource.clone()),
        ]);
    }
    row
}

/// Go's RFC3339Nano.
fn time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_padded_as_upstream_does() {
        let mut table = Table::new(&["PriorityLevelName", "Index", "Last"]);
        table.0.push(vec!["a".into(), "0".into(), "x".into()]);
        assert_eq!(
            table.text(),
            "PriorityLevelName, Index,  Last\na,                 0,      x\n"
        );
    }

    #[test]
    fn times_have_no_needless_zeros() {
        let at =
            |nanoseconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(nanoseconds);
        assert_eq!(time(at(1_500_000_000)), "1970-01-01T00:00:01.5Z");
        assert_eq!(time(at(2_000_000_000)), "1970-01-01T00:00:02Z");
    }
}
