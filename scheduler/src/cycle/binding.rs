//! From an assumed pod to a bound one. Upstream: schedule_one.go (`bindingCycle`).

use std::sync::Arc;

use api_types::core::v1::Pod;

use super::status_patch::patch_pod_status;
use super::{Assumed, Failure, Scheduler, failure_on_node};
use crate::framework::event::{Change, ClusterEvent};
use crate::framework::plugin::NominatingInfo;
use crate::framework::status::{Status, Verdict};

impl Scheduler {
    pub(super) async fn bind_one(self: &Arc<Self>, mut assumed: Assumed) {
        match self.binding_cycle(&mut assumed).await {
            Ok(()) => self.bound(&assumed),
            Err(failure) => self.binding_failed(assumed, failure),
        }
    }

    async fn binding_cycle(&self, assumed: &mut Assumed) -> Result<(), Failure> {
        let Assumed {
            queued,
            state,
            result,
            framework,
            ..
        } = assumed;
        let (pod, host) = (&queued.pod, &*result.host);
        let error = |status: Status| Failure::Error(status.message());
        let pre_bind_has_work = match framework.run_pre_bind_pre_flight(state, pod, host) {
            Ok(()) => true,
            Err(status) if status.is_skip() => false,
            Err(status) => return Err(error(status)),
        };
        let waits = self.handle.unbound.waiting(pod.uid()).is_some();
        if pre_bind_has_work || waits {
            // Binding will take a while: others (the cluster autoscaler) shall know where the pod goes.
            let patched = patch_pod_status(&self.handle.client, &pod.pod, None, Some(host)).await;
            if let Err(error) = patched {
                tracing::error!(pod = queued.key, node = host, %error, "Failed to update the nominated node name in the binding cycle");
            }
        }
        framework
            .wait_on_permit(pod)
            .await
            .map_err(|status| failure_on_node(host, status))?;
        // Later failures are errors, and errors need no events to be tried again.
        self.queue.done(pod.uid());

        if pre_bind_has_work {
            let in_pre_bind = self.handle.unbound.add_in_pre_bind(pod.uid());
            let verdict = tokio::select! {
                verdict = framework.run_pre_bind(state, pod, host) => verdict,
                () = in_pre_bind.token().cancelled() => Ok(()),
            };
            let verdict = verdict
                .map_err(error)
                .and_then(|()| in_pre_bind.mark_prebound().map_err(Failure::Error));
            if let Err(failure) = verdict {
                self.handle.unbound.remove_in_pre_bind(pod.uid());
                return Err(failure);
            }
        }
        let verdict = match self.bind_by_extender(&pod.pod, host).await {
            Some(verdict) => verdict,
            None => framework.run_bind(state, pod, host).await,
        };
        self.handle.unbound.remove_in_pre_bind(pod.uid());
        verdict.map_err(error)
    }

    /// `None` if no extender binds this pod.
    async fn bind_by_extender(&self, pod: &Pod, host: &str) -> Option<Verdict> {
        for extender in self.handle.extenders.iter() {
            if !extender.is_binder() || !extender.is_interested(pod) {
                continue;
            }
            match extender.bind(pod, host).await {
                Err(error) if extender.is_ignorable() => {
                    tracing::info!(extender = extender.name(), %error, "Skipping extender in bind as it returned error and has ignorable flag set");
                }
                result => {
                    return Some(result.map_err(|error| Status::error(error.to_string())));
                }
            }
        }
        None
    }

    fn bound(&self, assumed: &Assumed) {
        let Assumed {
            queued,
            state,
            result,
            framework,
            start,
        } = assumed;
        let pod = &queued.pod;
        let meta = &pod.pod.metadata;
        framework.handle.recorder.event_with(
            &client::object_reference(&*pod.pod),
            None,
            "Normal",
            "Scheduled",
            "Binding",
            format!(
                "Successfully assigned {}/{} to {}",
                meta.namespace, meta.name, result.host
            ),
        );
        tracing::debug!(
            v = 2,
            pod = queued.key,
            node = result.host,
            evaluatedNodes = result.evaluated_nodes,
            feasibleNodes = result.feasible_nodes,
            "Successfully bound pod to node"
        );
        let metrics = &self.handle.metrics;
        metrics.attempt(
            "scheduled",
            &framework.profile,
            start.elapsed().as_secs_f64(),
        );
        metrics
            .pod_scheduling_attempts
            .observe(f64::from(queued.attempts));
        if let Some(first) = queued.initial_attempt {
            let attempts = match queued.attempts {
                15.. => "15+".to_owned(),
                attempts => attempts.to_string(),
            };
            let now = (crate::queue::system_clock())();
            metrics
                .pod_scheduling_sli_duration
                .with_label_values(&[&attempts])
                .observe((now - first) as f64 / 1e9);
        }
        if queued.was_flushed {
            metrics.pod_scheduled_after_flush.inc();
        }
        framework.run_post_bind(state, pod, &result.host);
    }

    fn binding_failed(self: &Arc<Self>, assumed: Assumed, failure: Failure) {
        let Assumed {
            queued,
            state,
            result,
            framework,
            start,
        } = assumed;
        let forgotten = self.unreserve_and_forget(&framework, &state, &queued.pod, &result.host);
        // To other pods this is as if the pod had been deleted from the node.
        let mut was_there = (*queued.pod.pod).clone();
        was_there.spec.node_name = result.host;
        let uid = was_there.metadata.uid.clone();
        let change = Change::deleted(&Arc::new(was_there));
        let event = ClusterEvent::ASSIGNED_POD_DELETE;
        let rejected = failure.is_rejection();
        if forgotten && !rejected {
            self.queue.move_all(event, &change, None);
        }
        self.fail(&framework, queued, failure, NominatingInfo::clear(), start);
        if forgotten && rejected {
            // After the pod is back in the queue, so that the event is not replayed for itself.
            let others = |pod: &Pod| pod.metadata.uid != uid;
            self.queue.move_all(event, &change, Some(&others));
        }
    }
}
