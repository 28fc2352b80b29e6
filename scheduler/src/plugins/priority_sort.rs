//! Orders the active queue: higher priority first, then who came first. Upstream: plugins/queuesort.

use crate::framework::plugin::{Plugin, QueueSort};
use crate::queue::QueuedPodInfo;

pub struct PrioritySort;

impl Plugin for PrioritySort {
    fn name(&self) -> &'static str {
        super::names::PRIORITY_SORT
    }
}

impl QueueSort for PrioritySort {
    fn less(&self, a: &QueuedPodInfo, b: &QueuedPodInfo) -> bool {
        let (pa, pb) = (a.pod.priority, b.pod.priority);
        pa > pb || pa == pb && a.timestamp < b.timestamp
    }
}
