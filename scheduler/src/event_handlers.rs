//! What informers tell cache and queue. Upstream: pkg/scheduler/eventhandlers.go.

use std::sync::Arc;
use std::time::Instant;

use api_types::core::v1::{Node, Pod};
use apimachinery::scheduling::pod_priority;
use client::cache::{DeletedObject, EventHandler, HandlerRegistration, SharedInformer};

use crate::cycle::Scheduler;
use crate::framework::event::{
    Action, Change, ClusterEvent, EventObject, EventResource, node_scheduling_properties_change,
    pod_scheduling_properties_change,
};

/// Pods on nodes go to the cache, others to the queue.
pub struct PodHandler(pub Arc<Scheduler>);

/// Nodes go to the cache, and wake pods.
pub struct NodeHandler(pub Arc<Scheduler>);

/// Other objects only wake pods.
pub struct WakingHandler {
    pub scheduler: Arc<Scheduler>,
    pub resource: EventResource,
}

struct Timed<'a> {
    scheduler: &'a Scheduler,
    event: ClusterEvent,
    start: Instant,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        self.scheduler
            .handle
            .metrics
            .event_handling_duration
            .with_label_values(&[&self.event.label()])
            .observe(self.start.elapsed().as_secs_f64());
    }
}

fn timed(scheduler: &Scheduler, event: ClusterEvent) -> Timed<'_> {
    Timed {
        scheduler,
        event,
        start: Instant::now(),
    }
}

fn is_assigned(pod: &Pod) -> bool {
    !pod.spec.node_name.is_empty()
}

impl PodHandler {
    fn is_ours(&self, pod: &Pod) -> bool {
        self.0.profiles.contains_key(&pod.spec.scheduler_name)
    }

    fn add_assigned(&self, pod: &Arc<Pod>) {
        let event = ClusterEvent::ASSIGNED_POD_ADD;
        let _timed = timed(&self.0, event);
        self.0.cache.add_pod(pod);
        self.0.queue.move_all(event, &Change::added(pod), None);
    }

    fn update_assigned(&self, old: &Arc<Pod>, new: &Arc<Pod>) {
        let _timed = timed(&self.0, ClusterEvent::ASSIGNED_POD_UPDATE);
        self.0.cache.update_pod(new);
        for event in pod_scheduling_properties_change(new, old) {
            self.0
                .queue
                .move_all(event, &Change::updated(old, new), None);
        }
    }

    fn delete_assigned(&self, pod: &Arc<Pod>) {
        let event = ClusterEvent::ASSIGNED_POD_DELETE;
        let _timed = timed(&self.0, event);
        self.0.cache.remove_pod(pod);
        self.0.queue.move_all(event, &Change::deleted(pod), None);
    }

    fn update_waiting(&self, old: &Arc<Pod>, new: &Arc<Pod>) {
        // A resync.
        if old.metadata.resource_version == new.metadata.resource_version {
            return;
        }
        let _timed = timed(&self.0, ClusterEvent::UNSCHEDULED_POD_UPDATE);
        if self.0.cache.is_assumed(new) {
            if new.metadata.deletion_timestamp.is_some()
                && old.metadata.deletion_timestamp.is_none()
            {
                self.assumed_is_deleted(new);
            }
            return;
        }
        self.0.queue.update(old, new);
        let nominated = &old.status.nominated_node_name;
        if !nominated.is_empty() && *nominated != new.status.nominated_node_name {
            self.wake_up_to_priority(old);
        }
    }

    fn delete_waiting(&self, pod: &Arc<Pod>, is_bound: bool) {
        let _timed = timed(&self.0, ClusterEvent::UNSCHEDULED_POD_DELETE);
        self.0.queue.delete(pod);
        if is_bound {
            return;
        }
        if self.0.cache.is_assumed(pod) {
            self.assumed_is_deleted(pod);
        } else if !pod.status.nominated_node_name.is_empty() {
            self.wake_up_to_priority(pod);
        }
    }

    /// The room that was held for a pod is free for those that are not more important.
    fn wake_up_to_priority(&self, pod: &Arc<Pod>) {
        let priority = pod_priority(pod);
        self.0.queue.move_all(
            ClusterEvent::ASSIGNED_POD_DELETE,
            &Change::deleted(pod),
            Some(&|other| pod_priority(other) <= priority),
        );
    }

    /// A pod that waits to be bound is to be deleted: what it took is given back.
    fn assumed_is_deleted(&self, pod: &Arc<Pod>) {
        let Some((known, node)) = self.0.cache.get_pod(&pod.metadata.uid) else {
            return;
        };
        let waiting = self.0.handle.unbound.waiting(known.uid());
        let rejected = waiting.is_some_and(|waiting| waiting.reject("", "removed"));
        if !rejected && let Err(error) = self.0.cache.forget(&known.pod) {
            tracing::error!(pod = known.full_name(), %error, "Scheduler cache ForgetPod failed");
        }
        let mut there = (*known.pod).clone();
        there.spec.node_name = node;
        self.0.queue.move_all(
            ClusterEvent::ASSIGNED_POD_DELETE,
            &Change::deleted(&Arc::new(there)),
            None,
        );
    }
}

impl EventHandler<Pod> for PodHandler {
    fn on_add(&self, pod: &Arc<Pod>, _: bool) {
        if is_assigned(pod) {
            self.add_assigned(pod);
        } else if self.is_ours(pod) {
            let _timed = timed(&self.0, ClusterEvent::UNSCHEDULED_POD_ADD);
            self.0.queue.add(pod.clone());
        }
    }

    fn on_update(&self, old: &Arc<Pod>, new: &Arc<Pod>) {
        if is_assigned(old) {
            self.update_assigned(old, new);
        } else if is_assigned(new) {
            self.add_assigned(new);
            if self.is_ours(old) {
                self.delete_waiting(old, true);
            }
        } else if self.is_ours(old) {
            self.update_waiting(old, new);
        }
    }

    fn on_delete(&self, deleted: DeletedObject<Pod>) {
        let pod = &deleted.object;
        if is_assigned(pod) || deleted.final_state_unknown {
            self.delete_assigned(pod);
        }
        if !is_assigned(pod) && self.is_ours(pod) {
            self.delete_waiting(pod, false);
        }
    }
}

impl EventHandler<Node> for NodeHandler {
    fn on_add(&self, node: &Arc<Node>, _: bool) {
        let event = ClusterEvent::new(EventResource::Node, Action::ADD);
        let _timed = timed(&self.0, event);
        self.0.cache.set_node(node);
        self.0.queue.move_all(event, &Change::added(node), None);
    }

    fn on_update(&self, old: &Arc<Node>, new: &Arc<Node>) {
        self.0.cache.set_node(new);
        for event in node_scheduling_properties_change(new, old) {
            let _timed = timed(&self.0, event);
            self.0
                .queue
                .move_all(event, &Change::updated(old, new), None);
        }
    }

    fn on_delete(&self, deleted: DeletedObject<Node>) {
        let event = ClusterEvent::new(EventResource::Node, Action::DELETE);
        let _timed = timed(&self.0, event);
        let change = Change::deleted(&deleted.object);
        self.0.queue.move_all(event, &change, None);
        self.0.cache.remove_node(&deleted.object);
    }
}

impl WakingHandler {
    fn wake(&self, action: Action, change: &Change) {
        let event = ClusterEvent::new(self.resource, action);
        let _timed = timed(&self.scheduler, event);
        self.scheduler.queue.move_all(event, change, None);
    }
}

impl<T> EventHandler<T> for WakingHandler
where
    for<'a> &'a Arc<T>: Into<EventObject>,
    T: Send + Sync + 'static,
{
    fn on_add(&self, object: &Arc<T>, _: bool) {
        self.wake(Action::ADD, &Change::added(object));
    }

    fn on_update(&self, old: &Arc<T>, new: &Arc<T>) {
        self.wake(Action::UPDATE, &Change::updated(old, new));
    }

    fn on_delete(&self, deleted: DeletedObject<T>) {
        self.wake(Action::DELETE, &Change::deleted(&deleted.object));
    }
}

/// Adds a handler that wakes pods.
pub fn wake_on<T>(
    scheduler: &Arc<Scheduler>,
    informer: &SharedInformer<T>,
    resource: EventResource,
) -> HandlerRegistration
where
    for<'a> &'a Arc<T>: Into<EventObject>,
    T: client::cache::Cacheable,
{
    informer.add_handler(Arc::new(WakingHandler {
        scheduler: scheduler.clone(),
        resource,
    }))
}
