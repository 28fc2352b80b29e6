//! Binding a pod to a node, the scheduler's one write. Upstream: pkg/registry/core/pod/storage, BindingREST.
//!
//! A pod is bound once: a second binding is a conflict, whoever sends it.

use std::sync::Arc;

use api_types::Time;
use api_types::core::v1::{Binding, Pod, PodCondition};
use api_types::meta::v1::Status;
use apimachinery::field::{self, ErrorList, Path};
use apimachinery::status::{self, StatusError};
use component_base::serving::{Body, Response};
use http::StatusCode;

use crate::handlers::finisher::run_write;
use crate::handlers::write::{self, is_dry_run};
use crate::handlers::{Endpoint, post, respond};
use crate::registry::object::Object;
use crate::request::context::RequestContext;
use crate::server::ApiServer;
use crate::storage::Preconditions;

/// POST of a binding, on pods/binding or on the older bindings resource (whose body names the pod).
pub async fn create(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    endpoint: &Endpoint,
    request_body: Body,
) -> Result<Response, StatusError> {
    let posted = post::read(cx, endpoint, request_body).await?;
    let mut inner = RequestContext::clone(cx);
    if inner.info.name.is_empty() {
        inner.info.name.clone_from(&posted.object.metadata().name);
    }
    let (server, cx, endpoint) = (server.clone(), Arc::new(inner), endpoint.clone());
    run_write(
        server.request_metrics.clone(),
        Box::pin(async move {
            let dry_run = is_dry_run(&posted.options.dry_run);
            let (object, attributes) = post::admit(&server, &cx, &endpoint, &posted).await?;
            let binding = object
                .get::<Binding>()
                .cloned()
                .ok_or_else(|| status::bad_request("not a Binding object"))?;
            if binding.metadata.name != cx.info.name {
                return Err(status::bad_request(
                    "name in URL does not match name in Binding object",
                ));
            }
            let errors = problems(&binding);
            if let Some(text) = errors.aggregate() {
                return Err(Status {
                    status: "Failure".to_owned(),
                    code: 500,
                    message: text,
                    ..Status::default()
                }
                .into());
            }
            post::validate(&server, attributes, &object).await?;
            bind(&server, &cx, &endpoint, binding, dry_run).await?;
            Ok(respond::status(
                &cx,
                posted.media,
                StatusCode::CREATED,
                Status {
                    status: "Success".to_owned(),
                    ..Status::default()
                },
            ))
        }),
    )
    .await
}

fn problems(binding: &Binding) -> ErrorList {
    let mut errors = ErrorList::new();
    let target = Path::new("target");
    if !matches!(binding.target.kind.as_str(), "" | "Node") {
        errors.push(field::not_supported(
            &target.child("kind"),
            binding.target.kind.as_str(),
            &["Node", "<empty>"],
        ));
    }
    if binding.target.name.is_empty() {
        errors.push(field::required(&target.child("name"), ""));
    }
    errors
}

async fn bind(
    server: &Arc<ApiServer>,
    cx: &RequestContext,
    endpoint: &Endpoint,
    binding: Binding,
    dry_run: bool,
) -> Result<(), StatusError> {
    let pods = server
        .resources
        .known("", "pods")
        .ok_or_else(|| status::internal("pods are not served"))?;
    let target = Endpoint {
        resource: pods.clone(),
        subresource: endpoint.subresource,
    };
    let write = write::write_of(server, cx, &target, &*pods.strategy, dry_run);
    let not_empty = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let preconditions = Preconditions {
        uid: not_empty(&binding.metadata.uid),
        resource_version: not_empty(&binding.metadata.resource_version),
    };
    let resource = apimachinery::gvk::GroupResource::new("", "pods/binding");
    write
        .modify(preconditions, move |object| {
            let result = assign(object, &binding)
                .map_err(|message| status::conflict(&resource, &binding.metadata.name, message));
            Box::pin(std::future::ready(result))
        })
        .await?;
    Ok(())
}

/// The pod on its node, or why it cannot go there.
fn assign(mut object: Object, binding: &Binding) -> Result<Object, String> {
    let Some(pod) = object.get_mut::<Pod>() else {
        return Err("not a pod".to_owned());
    };
    let name = &binding.metadata.name;
    if pod.metadata.deletion_timestamp.is_some() {
        return Err(format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        ));
    }
    if !pod.spec.node_name.is_empty() {
        return Err(format!(
            "pod {name} is already assigned to node \"{}\"",
            pod.spec.node_name
        ));
    }
    if !pod.spec.scheduling_gates.is_empty() {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod.spec.node_name.clone_from(&binding.target.name);
    for (key, value) in &binding.metadata.annotations {
        pod.metadata.annotations.insert(key.clone(), value.clone());
    }
    for (key, value) in &binding.metadata.labels {
        pod.metadata.labels.insert(key.clone(), value.clone());
    }
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Time::now(),
        ..PodCondition::default()
    };
    match pod
        .status
        .conditions
        .iter_mut()
        .find(|have| have.type_ == condition.type_)
    {
        Some(have) => {
            let last_transition_time = if have.status == condition.status {
                have.last_transition_time
            } else {
                condition.last_transition_time
            };
            *have = PodCondition {
                last_transition_time,
                ..condition
            };
        }
        None => pod.status.conditions.push(condition),
    }
    Ok(object)
}
