//! Eviction: a deletion that disruption budgets may refuse. Upstream: pkg/registry/core/pod/storage/eviction.go.

use std::sync::Arc;
use std::time::Duration;

use api_types::Time;
use api_types::core::v1::{Pod, PodCondition};
use api_types::meta::v1::{Condition, DeleteOptions, Status, StatusCause};
use api_types::policy::v1::{Eviction, PodDisruptionBudget};
use apimachinery::gvk::GroupResource;
use apimachinery::labels::Selector;
use apimachinery::status::{self, StatusError};
use component_base::serving::{Body, Response};
use http::StatusCode;

use crate::handlers::finisher::run_write;
use crate::handlers::write::{self, is_dry_run};
use crate::handlers::{Endpoint, post, respond};
use crate::loopback::Loopback;
use crate::registry::errors::plain;
use crate::registry::object::Object;
use crate::request::context::RequestContext;
use crate::server::ApiServer;
use crate::storage::Preconditions;

const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(500);
/// More evictions than this wait for the disruption controller: no further ones.
const MAX_DISRUPTED_PODS: usize = 2000;
const CAUSE: &str = "DisruptionBudget";

/// POST of an eviction.
pub(super) async fn create(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    endpoint: &Endpoint,
    body: Body,
) -> Result<Response, StatusError> {
    let posted = post::read(cx, endpoint, body).await?;
    let (server, cx, endpoint) = (server.clone(), cx.clone(), endpoint.clone());
    run_write(
        server.request_metrics.clone(),
        Box::pin(async move {
            let (object, attributes) = post::admit(&server, &cx, &endpoint, &posted).await?;
            let eviction = object
                .get::<Eviction>()
                .ok_or_else(|| status::bad_request("not a Eviction object"))?;
            if eviction.metadata.name != cx.info.name {
                return Err(status::bad_request(
                    "name in URL does not match name in Eviction object",
                ));
            }
            let mut options = eviction
                .delete_options
                .as_deref()
                .cloned()
                .unwrap_or_default();
            let asked = &posted.options.dry_run;
            if !is_dry_run(&options.dry_run) {
                options.dry_run.clone_from(asked);
            } else if is_dry_run(asked) && options.dry_run != *asked {
                return Err(plain(format!(
                    "Non-matching dry-run options in request and content: [{}] and [{}]",
                    asked.join(" "),
                    options.dry_run.join(" ")
                )));
            }
            let evictor = Evictor {
                server: &server,
                cx: &cx,
                endpoint: &endpoint,
            };
            evictor.pod().await?;
            post::validate(&server, attributes, &object).await?;
            evictor.evict(options).await?;
            let success = Status {
                status: "Success".to_owned(),
                ..Status::default()
            };
            Ok(respond::status(
                &cx,
                posted.media,
                StatusCode::CREATED,
                success,
            ))
        }),
    )
    .await
}

struct Evictor<'a> {
    server: &'a Arc<ApiServer>,
    cx: &'a RequestContext,
    endpoint: &'a Endpoint,
}

fn has_version(options: &DeleteOptions) -> bool {
    let preconditions = options.preconditions.as_ref();
    preconditions.is_some_and(|preconditions| preconditions.resource_version.is_some())
}

fn with_version(options: &DeleteOptions, version: &str) -> DeleteOptions {
    let mut options = options.clone();
    options
        .preconditions
        .get_or_insert_with(Default::default)
        .resource_version = Some(version.to_owned());
    options
}

/// Pods that disrupt nothing any more, or not yet.
fn ignores_budgets(pod: &Pod) -> bool {
    matches!(
        pod.status.phase.as_str(),
        "Succeeded" | "Failed" | "Pending"
    ) || pod.metadata.deletion_timestamp.is_some()
}

fn is_ready(pod: &Pod) -> bool {
    pod.status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn too_many_requests(cause: String, retry_after_seconds: i32) -> StatusError {
    let error = status::too_many_requests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        retry_after_seconds,
    );
    let mut status: Status = error.into();
    status
        .details
        .get_or_insert_with(Default::default)
        .causes
        .push(StatusCause {
            reason: CAUSE.to_owned(),
            message: cause,
            ..StatusCause::default()
        });
    status.into()
}

fn still_processed(budget: &str) -> StatusError {
    too_many_requests(
        format!("The disruption budget {budget} is still being processed by the server."),
        10,
    )
}

impl Evictor<'_> {
    async fn pod(&self) -> Result<Pod, StatusError> {
        let loopback = Loopback::new(self.server);
        let info = &self.cx.info;
        loopback
            .get(&info.namespace, &info.name)
            .await?
            .ok_or_else(|| status::not_found(&GroupResource::new("", "pods"), &self.cx.info.name))
    }

    async fn evict(&self, options: DeleteOptions) -> Result<(), StatusError> {
        let mut attempt = 1;
        let pod = loop {
            let pod = self.pod().await?;
            if !ignores_budgets(&pod) {
                break pod;
            }
            // A pod that may yet start must not be deleted after it did.
            let delete_options = if pod.status.phase == "Pending"
                && pod.metadata.deletion_timestamp.is_none()
                && !has_version(&options)
            {
                with_version(&options, &pod.metadata.resource_version)
            } else {
                options.clone()
            };
            match self.delete(delete_options).await {
                Err(error)
                    if status::is_conflict(&error)
                        && !has_version(&options)
                        && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                result => return result,
            }
        };
        let dry_run = is_dry_run(&options.dry_run);
        let (budget, unhealthy) = self.ask_budgets(&pod, dry_run).await?;
        let delete_options = if unhealthy {
            with_version(&options, &pod.metadata.resource_version)
        } else {
            options.clone()
        };
        match self.mark_and_delete(delete_options, dry_run).await {
            Err(error) if status::is_conflict(&error) && unhealthy && !has_version(&options) => {
                Err(still_processed(&budget))
            }
            result => result,
        }
    }

    /// Takes the disruption from the pod's budget. Says which budget, and whether the pod is let go because it is not healthy.
    async fn ask_budgets(&self, pod: &Pod, dry_run: bool) -> Result<(String, bool), StatusError> {
        let loopback = Loopback::new(self.server);
        let namespace = &pod.metadata.namespace;
        let mut matching: Vec<PodDisruptionBudget> = Vec::new();
        if !pod.metadata.labels.is_empty() {
            matching = loopback.list::<PodDisruptionBudget>(namespace).await?;
            matching.retain(|budget| {
                Selector::from_label_selector(budget.spec.selector.as_deref())
                    .is_ok_and(|selector| selector.matches(&pod.metadata.labels))
            });
        }
        if matching.len() > 1 {
            return Err(Status {
                status: "Failure".to_owned(),
                message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.".to_owned(),
                code: 500,
                ..Status::default()
            }
            .into());
        }
        let Some(mut budget) = matching.pop() else {
            return Ok((String::new(), false));
        };
        let name = budget.metadata.name.clone();
        if !is_ready(pod) {
            let always =
                budget.spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow");
            let status = &budget.status;
            if always
                || status.current_healthy >= status.desired_healthy && status.desired_healthy > 0
            {
                return Ok((name, true));
            }
        }
        for _ in 0..ATTEMPTS {
            decrement(&mut budget, &pod.metadata.name)?;
            if dry_run {
                return Ok((name, false));
            }
            match loopback.update_status(budget).await {
                Ok(_) => return Ok((name, false)),
                Err(error) if status::is_conflict(&error) => {
                    tokio::time::sleep(PAUSE).await;
                    let found = loopback
                        .get::<PodDisruptionBudget>(namespace, &name)
                        .await?;
                    let resource = GroupResource::new("policy", "poddisruptionbudgets");
                    budget = found.ok_or_else(|| status::not_found(&resource, &name))?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(status::timeout(
            format!("couldn't update PodDisruptionBudget {name:?} due to conflicts"),
            10,
        ))
    }

    async fn mark_and_delete(
        &self,
        mut options: DeleteOptions,
        dry_run: bool,
    ) -> Result<(), StatusError> {
        if !dry_run {
            let resource = &self.endpoint.resource;
            let write = write::write_of(
                self.server,
                self.cx,
                self.endpoint,
                &*resource.strategy,
                false,
            );
            let preconditions = Preconditions {
                uid: None,
                resource_version: options
                    .preconditions
                    .as_ref()
                    .and_then(|preconditions| preconditions.resource_version.clone()),
            };
            let marked = write
                .modify(preconditions, |mut object| {
                    mark(&mut object);
                    Box::pin(std::future::ready(Ok(object)))
                })
                .await?;
            if has_version(&options) {
                options = with_version(&options, &marked.metadata().resource_version);
            }
        }
        self.delete(options).await
    }

    async fn delete(&self, mut options: DeleteOptions) -> Result<(), StatusError> {
        let dry_run = is_dry_run(&options.dry_run);
        let resource = &self.endpoint.resource;
        let write = write::write_of(
            self.server,
            self.cx,
            self.endpoint,
            &*resource.strategy,
            dry_run,
        );
        // As upstream: the right to evict is enough, and admission judged the eviction.
        write
            .delete(&mut options, &|_| Box::pin(std::future::ready(Ok(()))))
            .await?;
        Ok(())
    }
}

/// Tells why the pod goes.
fn mark(object: &mut Object) {
    let Some(pod) = object.get_mut::<Pod>() else {
        return;
    };
    let condition = PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: "EvictionByEvictionAPI".to_owned(),
        message: "Eviction API: evicting".to_owned(),
        last_transition_time: Time::now(),
        ..PodCondition::default()
    };
    let conditions = &mut pod.status.conditions;
    match conditions
        .iter_mut()
        .find(|have| have.type_ == condition.type_)
    {
        Some(have) if have.status == condition.status => {
            let since = have.last_transition_time;
            *have = PodCondition {
                last_transition_time: since,
                ..condition
            };
        }
        Some(have) => *have = condition,
        None => conditions.push(condition),
    }
}

/// Takes one disruption from a budget, if it has one left.
fn decrement(budget: &mut PodDisruptionBudget, pod: &str) -> Result<(), StatusError> {
    let name = budget.metadata.name.clone();
    let resource = GroupResource::new("policy", "poddisruptionbudget");
    let status = &mut budget.status;
    if status.observed_generation < budget.metadata.generation {
        return Err(still_processed(&name));
    }
    if status.disruptions_allowed < 0 {
        return Err(status::forbidden(
            &resource,
            &name,
            "pdb disruptions allowed is negative",
        ));
    }
    if status.disrupted_pods.len() > MAX_DISRUPTED_PODS {
        return Err(status::forbidden(
            &resource,
            &name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if status.disruptions_allowed == 0 {
        return Err(too_many_requests(
            format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                status.desired_healthy, status.current_healthy
            ),
            0,
        ));
    }
    status.disruptions_allowed -= 1;
    if status.disruptions_allowed == 0 {
        let condition = Condition {
            type_: "DisruptionAllowed".to_owned(),
            status: "False".to_owned(),
            reason: "InsufficientPods".to_owned(),
            observed_generation: budget.metadata.generation,
            last_transition_time: Time::now(),
            ..Condition::default()
        };
        match status
            .conditions
            .iter_mut()
            .find(|have| have.type_ == condition.type_)
        {
            Some(have) => *have = condition,
            None => status.conditions.push(condition),
        }
    }
    status.disrupted_pods.insert(pod.to_owned(), Time::now());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_gives_only_what_it_has() {
        let mut budget = PodDisruptionBudget::default();
        budget.metadata.name = "b".to_owned();
        budget.status.disruptions_allowed = 1;
        decrement(&mut budget, "p").unwrap();
        assert_eq!(budget.status.disruptions_allowed, 0);
        assert!(budget.status.disrupted_pods.contains_key("p"));
        assert_eq!(budget.status.conditions[0].reason, "InsufficientPods");
        let error = decrement(&mut budget, "q").unwrap_err();
        assert_eq!(
            (error.code, error.reason.as_str()),
            (429, "TooManyRequests")
        );
        budget.metadata.generation = 2;
        let error = decrement(&mut budget, "q").unwrap_err();
        let details = error.details.as_ref().unwrap();
        assert_eq!(details.retry_after_seconds, 10);
        assert_eq!(
            details.causes[0].message,
            "The disruption budget b is still being processed by the server."
        );
    }
}
