//! DELETE and DELETECOLLECTION. Upstream: endpoints/handlers/delete.go.

use std::sync::Arc;

use api_types::meta::v1::DeleteOptions;
use apimachinery::status::{self, StatusError};
use component_base::auth::BoxFuture;
use component_base::serving::{Body, Response};
use http::StatusCode;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::finisher::run_write;
use super::write::{is_dry_run, write_of};
use super::{Endpoint, body, list, options, respond};
use crate::admission::{self, Operation};
use crate::hooks::priority_classes;
use crate::negotiation::{self, Encoding};
use crate::registry::object::Object;
use crate::registry::store::Deleted;
use crate::request::context::RequestContext;
use crate::server::ApiServer;
use crate::traces::trace;

/// Delete options from the body, or without one from the query.
fn delete_options(cx: &RequestContext, bytes: &[u8]) -> Result<DeleteOptions, StatusError> {
    let mut options = if bytes.is_empty() {
        options::delete_options_from_query(&cx.query)?
    } else {
        let encoding = negotiation::negotiate_input(&cx.headers, &Encoding::ALL)
            .map_err(respond::unsupported_media_type)?;
        let options = decode_delete_options(encoding, bytes)?;
        trace::step("Decoded delete options");
        if let Some(audit) = &cx.audit {
            audit.sent_object(None, || Some(noted_options(&options)));
            trace::step("Recorded the audit event");
        }
        options
    };
    // Deleting objects that cannot be read is an alpha feature; the option counts as not set.
    options.ignore_store_read_error_with_cluster_breaking_potential = None;
    options::check_delete_options(&options)?;
    Ok(options)
}

/// Delete options as audit shows them: of the type that upstream works with.
fn noted_options(options: &DeleteOptions) -> Vec<u8> {
    let header = api_types::codec::Header {
        api_version: "meta.k8s.io/__internal",
        kind: "DeleteOptions",
    };
    api_types::codec::encode_json_as(options, header)
}

fn decode_delete_options(encoding: Encoding, bytes: &[u8]) -> Result<DeleteOptions, StatusError> {
    let bad = |error: &dyn std::fmt::Display| status::bad_request(error.to_string());
    let check_kind = |api_version: &str, kind: &str| match kind {
        "" | "DeleteOptions" => Ok(()),
        _ => Err(status::bad_request(format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
        ))),
    };
    let decode_json = |json: &[u8]| {
        let (api_version, kind) = body::version_and_kind(json).map_err(|error| bad(&error))?;
        check_kind(&api_version, &kind)?;
        api_types::decode_json(json).map_err(|error| bad(&error))
    };
    match encoding {
        Encoding::Protobuf => {
            let envelope = api_types::decode_envelope(bytes).map_err(|error| bad(&error))?;
            check_kind(envelope.api_version, envelope.kind)?;
            api_types::decode_protobuf(envelope.raw).map_err(|error| bad(&error))
        }
        Encoding::Json => decode_json(bytes),
        Encoding::Yaml => {
            let value = super::yaml::to_json(bytes).map_err(|error| bad(&error))?;
            decode_json(value.to_string().as_bytes())
        }
    }
}

/// DELETE of one object.
pub async fn delete(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    endpoint: &Endpoint,
    request_body: Body,
) -> Result<Response, StatusError> {
    let media = respond::negotiate_objects(cx, &endpoint.resource)?;
    let bytes = body::read(cx, request_body).await?;
    let options = delete_options(cx, &bytes)?;
    let (server, cx, endpoint) = (server.clone(), cx.clone(), endpoint.clone());
    run_write(
        server.request_metrics.clone(),
        Box::pin(async move {
            let orphan = options.orphan_dependents;
            let name = cx.info.name.clone();
            trace::step("About to delete object from database");
            let (deleted, gone) = delete_one(&server, &cx, &endpoint, &name, options).await?;
            trace::step("Object deleted from database");
            // Asking for dependents to be deleted is the one case where waiting shows in the status code.
            let code = if !gone && orphan == Some(false) {
                StatusCode::ACCEPTED
            } else {
                StatusCode::OK
            };
            respond::written(&cx, || match deleted {
                Deleted::Object(object) => {
                    respond::object(&cx, &endpoint.resource, media, code, object)
                }
                Deleted::Status(status) => Ok(respond::status(&cx, media, code, *status)),
            })
        }),
    )
    .await
}

/// Deleting jobs leaves their pods, which surprises.
fn warn_of_preserved_pods(cx: &RequestContext, endpoint: &Endpoint, options: &DeleteOptions) {
    let resource = endpoint.resource.info;
    if (resource.group, resource.resource) == ("batch", "jobs")
        && options.propagation_policy.is_none()
        && options.orphan_dependents.is_none()
    {
        cx.warnings.add(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",
        );
    }
}

/// Deletes by name with the request's rights and admission.
pub async fn delete_one(
    server: &Arc<ApiServer>,
    cx: &RequestContext,
    endpoint: &Endpoint,
    name: &str,
    mut options: DeleteOptions,
) -> Result<(Deleted, bool), StatusError> {
    let dry_run = is_dry_run(&options.dry_run);
    warn_of_preserved_pods(cx, endpoint, &options);
    // Not so of a collection, as upstream.
    let one = cx.info.verb != "deletecollection";
    if one && is_system_priority_class(endpoint, name) {
        let text = "this is a system priority class and cannot be deleted";
        return Err(status::forbidden(
            &endpoint.resource.group_resource(),
            name,
            text,
        ));
    }
    let mut attributes = endpoint.admission_attributes(
        cx,
        Operation::Delete,
        admission::Options::Delete(Box::new(options.clone())),
        dry_run,
    );
    // Objects of a collection are judged without a name, as upstream.
    if one {
        name.clone_into(&mut attributes.name);
    }
    let mut write = write_of(server, cx, endpoint, &*endpoint.resource.strategy, dry_run);
    name.clone_into(&mut write.name);
    let validate = |old: Arc<Object>| -> BoxFuture<'_, Result<(), StatusError>> {
        let mut attributes = attributes.clone();
        Box::pin(async move {
            if !server.admission.handles(Operation::Delete) {
                return Ok(());
            }
            attributes.old_object = Some(old);
            server.admission.admit(&mut attributes).await?;
            server.admission.validate(&attributes).await
        })
    };
    if endpoint.resource.info.resource == "namespaces" && endpoint.resource.info.group.is_empty() {
        return crate::registry::namespaces::delete(&write, &mut options, &validate).await;
    }
    if endpoint.resource.info.resource == "customresourcedefinitions" {
        return crate::custom_resources::deletion::delete(&write, &mut options, &validate).await;
    }
    write.delete(&mut options, &validate).await
}

/// Upstream: pkg/registry/scheduling/priorityclass/storage.
fn is_system_priority_class(endpoint: &Endpoint, name: &str) -> bool {
    let info = &endpoint.resource.info;
    (&*info.group, &*info.resource) == ("scheduling.k8s.io", "priorityclasses")
        && priority_classes::is_system(name)
}

/// DELETE of a collection: each selected object is deleted by itself.
pub async fn delete_collection(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    endpoint: &Endpoint,
    request_body: Body,
) -> Result<Response, StatusError> {
    let media = respond::negotiate_objects(cx, &endpoint.resource)?;
    let list_options = list::options_of(cx, &endpoint.resource, false)?;
    let bytes = body::read(cx, request_body).await?;
    let options = delete_options(cx, &bytes)?;
    // Whether there is anything to delete or not.
    warn_of_preserved_pods(cx, endpoint, &options);
    let listed = list::read(cx, &endpoint.resource, &list_options).await?;
    let fields = &list_options.converted_fields;
    let selected = list::converted(&endpoint.resource, &listed, fields)?;
    let mut selected = selected.map(|objects| objects.map(|object| object.is_some()));
    let names: Vec<(String, String)> = listed
        .iter()
        .filter(|_| {
            let next = selected.as_mut().map(Iterator::next);
            next.is_none_or(|selected| selected == Some(true))
        })
        .map(|entry| (entry.namespace().to_owned(), entry.name().to_owned()))
        .collect();
    let (task_server, task_cx, task_endpoint) = (server.clone(), cx.clone(), endpoint.clone());
    // Not bound by the limit of single writes, as upstream: collections can be large.
    let task = tokio::spawn(async move {
        delete_all(&task_server, &task_cx, &task_endpoint, names, &options).await
    });
    task.await.map_err(status::internal)??;
    // The answer lists what was there, as it was.
    list::respond_list(cx, &endpoint.resource, media, &listed, fields)
}

/// Deletes objects by `--delete-collection-workers`. A worker ends with its first error, which is the answer when all have ended.
async fn delete_all(
    server: &Arc<ApiServer>,
    cx: &RequestContext,
    endpoint: &Endpoint,
    names: Vec<(String, String)>,
    options: &DeleteOptions,
) -> Result<(), StatusError> {
    let queue = Arc::new(Mutex::new(names.into_iter()));
    let mut workers = JoinSet::new();
    for _ in 0..server.config.delete_collection_workers {
        let (server, mut cx) = (server.clone(), cx.clone());
        let (endpoint, options, queue) = (endpoint.clone(), options.clone(), queue.clone());
        let next = move || queue.lock().next();
        workers.spawn(async move {
            while let Some((namespace, name)) = next() {
                cx.info.namespace = namespace;
                match delete_one(&server, &cx, &endpoint, &name, options.clone()).await {
                    Err(error) if !status::is_not_found(&error) => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        });
    }
    let mut result = Ok(());
    while let Some(ended) = workers.join_next().await {
        result = result.and(ended.map_err(status::internal)?);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(body: &str, want: &str) {
        let error = decode_delete_options(Encoding::Json, body.as_bytes()).unwrap_err();
        assert_eq!(error.message, want);
    }

    #[test]
    fn delete_options_say_first_what_they_are() {
        refused(
            "{",
            "couldn't get version/kind; json parse error: unexpected end of JSON input",
        );
        refused(
            "[]",
            "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }",
        );
        refused(
            r#"{"apiVersion":"v1","kind":"Pod"}"#,
            "no kind \"Pod\" is registered for version \"v1\" in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\"",
        );
        let options = decode_delete_options(Encoding::Json, br#"{"gracePeriodSeconds":3}"#);
        assert_eq!(options.unwrap().grace_period_seconds, Some(3));
    }
}
