//! CREATE, UPDATE, DELETE and DELETECOLLECTION. Upstream: endpoints/handlers/{create,update,delete}.go.

use std::sync::Arc;

use api_types::core::v1::Namespace;
use api_types::meta::v1::{CreateOptions, DeleteOptions, OwnerReference, UpdateOptions};
use apimachinery::status::{self, StatusError};
use component_base::auth::{BoxFuture, Decision};
use component_base::serving::{Body, Response};
use http::StatusCode;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::finisher::run_write;
use super::options::{self, FieldValidation};
use super::{Endpoint, body, list, respond};
use crate::admission::{self, Attributes, Operation};
use crate::apis::defaults::set_defaults;
use crate::apis::validation::dra::AdminAccess;
use crate::hooks::priority_classes;
use crate::loopback::Loopback;
use crate::negotiation::{self, Encoding};
use crate::registry::escalation;
use crate::registry::managed_fields;
use crate::registry::normalize::normalize;
use crate::registry::object::Object;
use crate::registry::resource::Resource;
use crate::registry::sent_empty;
use crate::registry::store::{self, Deleted, Write};
use crate::registry::strategy::{Context, Strategy};
use crate::registry::{claim_rights, signing_rights};
use crate::request::context::RequestContext;
use crate::server::ApiServer;
use crate::traces::trace;

/// What a write needs besides its object.
pub fn write_of<'a>(
    server: &ApiServer,
    cx: &RequestContext,
    endpoint: &'a Endpoint,
    strategy: &'a dyn Strategy,
    dry_run: bool,
) -> Write<'a> {
    let resource = &endpoint.resource;
    Write {
        resource,
        strategy,
        context: Context {
            user: cx.user.clone(),
            namespace: cx.info.namespace.clone(),
            api_version: resource.api_version.to_owned(),
            subresource: endpoint.subresource_name().to_owned(),
            dry_run,
            warnings: cx.warnings.clone(),
            ..Context::default()
        },
        name: cx.info.name.clone(),
        warnings: cx.warnings.clone(),
        hooks: server.write_hooks(resource),
        garbage_collection: server.config.enable_garbage_collector,
        metrics: server.request_metrics.clone(),
    }
}

/// As [`write_of`], with what the rules of the kind have to know of other objects.
pub async fn informed_write_of<'a>(
    server: &Arc<ApiServer>,
    cx: &RequestContext,
    endpoint: &'a Endpoint,
    strategy: &'a dyn Strategy,
    dry_run: bool,
) -> Write<'a> {
    let mut write = write_of(server, cx, endpoint, strategy, dry_run);
    let info = endpoint.resource.info;
    if info.group == "resource.k8s.io"
        && matches!(info.resource, "resourceclaims" | "resourceclaimtemplates")
    {
        let namespace = &cx.info.namespace;
        let found = Loopback::new(server).get::<Namespace>("", namespace).await;
        write.context.admin_access = match found {
            Ok(Some(namespace)) => AdminAccess::of(&namespace.metadata.labels),
            Ok(None) => AdminAccess::Unknown(format!("namespaces {namespace:?} not found")),
            Err(error) => AdminAccess::Unknown(error.to_string()),
        };
    }
    write
}

/// Drops repeated owner references, which upstream has done with a warning since 1.20.
pub fn dedup_owner_references(object: &mut Object, cx: &RequestContext, after_admission: bool) {
    let Some(metadata) = object.metadata_mut() else {
        return;
    };
    let mut kept: Vec<OwnerReference> = Vec::with_capacity(metadata.owner_references.len());
    let mut duplicates = Vec::new();
    for reference in std::mem::take(&mut metadata.owner_references) {
        if kept.contains(&reference) {
            duplicates.push(reference.uid);
        } else {
            kept.push(reference);
        }
    }
    metadata.owner_references = kept;
    if !duplicates.is_empty() {
        let after = if after_admission {
            " after mutating admission happens"
        } else {
            ""
        };
        cx.warnings.add(format!(
            ".metadata.ownerReferences contains duplicate entries{after}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            duplicates.join(", ")
        ));
    }
}

/// Runs mutating admission on an object.
pub async fn admit(
    server: &ApiServer,
    attributes: &mut Attributes,
    object: Object,
) -> Result<Object, StatusError> {
    refuse_in_terminating(server, attributes)?;
    let object = if server.admission.handles(attributes.operation) {
        attributes.object = Some(object);
        server.admission.admit(attributes).await?;
        attributes
            .object
            .take()
            .ok_or_else(|| status::internal("admission removed the object"))?
    } else {
        object
    };
    escalation::check(server, attributes, &object).await?;
    Ok(object)
}

/// Nothing new is created once the CRD is being deleted, by whatever request. Upstream: forbidCreateAdmission.
fn refuse_in_terminating(server: &ApiServer, attributes: &Attributes) -> Result<(), StatusError> {
    let resource = &attributes.resource;
    // CRDs are of groups with a dot.
    if attributes.operation != Operation::Create || !resource.group.contains('.') {
        return Ok(());
    }
    let resources = &server.resources;
    if let Some(row) = resources.get(&resource.group, &resource.version, &resource.resource)
        && let Some(custom) = &row.custom
        && custom.definition.terminating
    {
        return Err(status::forbidden(
            &row.group_resource(),
            &attributes.name,
            "create not allowed while custom resource definition is terminating",
        ));
    }
    Ok(())
}

/// Validating admission as the store calls it: `create` and `update` are the attributes of either outcome.
pub fn validator<'a>(
    server: &'a ApiServer,
    create: Attributes,
    update: Option<Attributes>,
    request: Option<component_base::auth::Attributes>,
) -> impl Fn(Object, Option<Arc<Object>>) -> BoxFuture<'a, Result<Object, StatusError>> + Send + Sync + 'a
{
    move |object, old| {
        let mut attributes = match (&old, &update) {
            (Some(_), Some(update)) => update.clone(),
            _ => create.clone(),
        };
        let request = request.clone();
        Box::pin(async move {
            match (request, &old) {
                (Some(request), Some(old)) => {
                    claim_rights::check(server, &request, &object, old).await?;
                    signing_rights::check(server, &request, &object, old).await?;
                }
                (Some(request), None) => {
                    authorize_create(server, &creating(request)).await?;
                }
                (None, _) => {}
            }
            if !server.admission.handles(attributes.operation) {
                return Ok(object);
            }
            if attributes.name.is_empty() {
                attributes.name.clone_from(&object.metadata().name);
            }
            attributes.object = Some(object);
            attributes.old_object = old;
            server.admission.validate(&attributes).await?;
            attributes
                .object
                .take()
                .ok_or_else(|| status::internal("admission removed the object"))
        })
    }
}

/// An update that creates needs the right to create.
pub async fn authorize_create(
    server: &ApiServer,
    attributes: &component_base::auth::Attributes,
) -> Result<(), StatusError> {
    match server.authorizer.authorize(attributes).await {
        Ok(Decision::Allow(_)) => Ok(()),
        Ok(Decision::Deny(reason) | Decision::NoOpinion(reason)) => {
            Err(crate::server::authorization::forbidden(attributes, &reason))
        }
        Err(error) => Err(status::internal(error)),
    }
}

/// The authorization attributes of creating what a request would update.
pub fn creating(request: component_base::auth::Attributes) -> component_base::auth::Attributes {
    component_base::auth::Attributes {
        verb: "create".to_owned(),
        ..request
    }
}

/// The encoding of a request's body, if the resource takes it.
fn accepted_encoding(cx: &RequestContext, resource: &Resource) -> Result<Encoding, StatusError> {
    let read = negotiation::negotiate_input(&cx.headers, &Encoding::ALL);
    // What is accepted is said of all kinds alike; custom objects have no protobuf.
    let no_protobuf = || negotiation::UnsupportedMediaType {
        accepted: respond::OBJECTS.join(", "),
    };
    match read {
        Ok(Encoding::Protobuf) if resource.custom.is_some() => Err(no_protobuf()),
        read => read,
    }
    .map_err(respond::unsupported_media_type)
}

/// Decodes a request's body as the endpoint's kind, with defaults, into the hub version.
pub fn decode_hub(
    cx: &RequestContext,
    endpoint: &Endpoint,
    bytes: &[u8],
    validation: &str,
) -> Result<Object, StatusError> {
    let resource = &endpoint.resource;
    let encoding = accepted_encoding(cx, resource)?;
    let validation = FieldValidation::parse(validation);
    let object = match &resource.custom {
        Some(custom) => body::decode_custom(encoding, bytes, custom, validation, &cx.warnings)?,
        None => body::decode(encoding, bytes, resource.served, validation, &cx.warnings)?.object,
    };
    let object = hub_of(endpoint, object)?;
    if let Some(audit) = &cx.audit {
        audit.sent_object(Some(object.metadata()), || {
            let served = resource.to_served(object.clone()).ok()?;
            Some(api_types::encode_json(served.value()))
        });
    }
    Ok(object)
}

/// The same with steps before and after.
fn converted(
    cx: &RequestContext,
    endpoint: &Endpoint,
    bytes: &[u8],
    validation: &str,
) -> Result<Object, StatusError> {
    trace::step("About to convert to expected version");
    let object = decode_hub(cx, endpoint, bytes, validation)?;
    trace::step("Conversion done");
    trace::step("About to store object in database");
    Ok(object)
}

/// Brings a decoded object into the hub version, with defaults.
pub fn hub_of(endpoint: &Endpoint, served: Object) -> Result<Object, StatusError> {
    let resource = &endpoint.resource;
    let mut served = served;
    // A version that is not the hub has defaults of its own. Where its fields differ, the hub's come when the object is stored.
    if resource.conversion.is_some() {
        set_defaults(served.value_mut());
    }
    let mut object = resource.to_hub(served)?;
    if resource.custom.is_none() {
        clear_type_meta(&mut object);
    }
    if !resource.has_own_fields() {
        resource.strategy.default(&mut object);
        sent_empty::take_out_defaults(&mut object);
    }
    normalize(&mut object);
    Ok(object)
}

/// apiVersion and kind are written from the type; what the client sent is not kept.
fn clear_type_meta(object: &mut Object) {
    object.clear_field("TypeMeta");
}

pub fn is_dry_run(values: &[String]) -> bool {
    !values.is_empty()
}

/// POST of a new object.
pub async fn create(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    endpoint: &Endpoint,
    request_body: Body,
) -> Result<Response, StatusError> {
    let media = respond::negotiate_objects(cx, &endpoint.resource)?;
    accepted_encoding(cx, &endpoint.resource)?;
    let bytes = body::read(cx, request_body).await?;
    let options = options::create_options(&cx.query)?;
    let mut object = converted(cx, endpoint, &bytes, &options.field_validation)?;
    if let Some(metadata) = object.metadata_mut() {
        store::wipe_system_fields(metadata);
        let namespace = if endpoint.resource.info.namespaced {
            cx.info.namespace.as_str()
        } else {
            ""
        };
        store::ensure_namespace(namespace, metadata)?;
    }
    let (server, cx, endpoint) = (server.clone(), cx.clone(), endpoint.clone());
    run_write(server.request_metrics.clone(), async move {
        let created = create_decoded(&server, &cx, &endpoint, object, options).await;
        let created = stored(&bytes, created)?;
        respond::written(|| {
            respond::object(&cx, &endpoint.resource, media, StatusCode::CREATED, created)
        })
    })
    .await
}

/// Admission and storage of a new, decoded object.
pub async fn create_decoded(
    server: &Arc<ApiServer>,
    cx: &RequestContext,
    endpoint: &Endpoint,
    mut object: Object,
    options: CreateOptions,
) -> Result<Object, StatusError> {
    let resource = &endpoint.resource;
    let dry_run = is_dry_run(&options.dry_run);
    let manager = cx.field_manager(&options.field_manager);
    let mut attributes = endpoint.admission_attributes(
        cx,
        Operation::Create,
        admission::Options::Create(Box::new(options)),
        dry_run,
    );
    attributes.name.clone_from(&object.metadata().name);
    if resource.info.resource == "namespaces" && resource.info.group.is_empty() {
        attributes.namespace.clone_from(&object.metadata().name);
    }
    dedup_owner_references(&mut object, cx, false);
    managed_fields::update(resource, None, &mut object, &manager, "");
    let entries = object.metadata().managed_fields.clone();
    let mut object = admit(server, &mut attributes, object).await?;
    managed_fields::keep_readable(&mut object, &entries);
    dedup_owner_references(&mut object, cx, true);
    let validate = validator(server, attributes, None, None);
    informed_write_of(server, cx, endpoint, &*resource.strategy, dry_run)
        .await
        .create(object, &validate)
        .await
}

/// PUT of an object.
pub async fn update(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    endpoint: &Endpoint,
    request_body: Body,
) -> Result<Response, StatusError> {
    let media = respond::negotiate_objects(cx, &endpoint.resource)?;
    let bytes = body::read(cx, request_body).await?;
    let options = options::update_options(&cx.query)?;
    let mut object = converted(cx, endpoint, &bytes, &options.field_validation)?;
    check_name(cx, endpoint, &mut object)?;
    let (server, cx, endpoint) = (server.clone(), cx.clone(), endpoint.clone());
    run_write(server.request_metrics.clone(), async move {
        let updated = update_decoded(&server, &cx, &endpoint, object, options).await;
        let (object, created) = stored(&bytes, updated)?;
        let code = if created {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        respond::written(|| respond::object(&cx, &endpoint.resource, media, code, object))
    })
    .await
}

/// Notes how a write has ended of which these bytes were sent, and says of them what was wrong.
fn stored<T>(bytes: &[u8], outcome: Result<T, StatusError>) -> Result<T, StatusError> {
    let length = bytes.len();
    match outcome {
        Ok(stored) => {
            trace::step_with("Write to database call succeeded", |fields| {
                fields.number("len", length);
            });
            Ok(stored)
        }
        Err(error) => {
            trace::step_with("Write to database call failed", |fields| {
                fields
                    .number("len", length)
                    .text("err", error.message.as_str());
            });
            Err(sent_empty::explain(error, bytes))
        }
    }
}

/// The object's name and namespace must be the request's.
pub fn check_name(
    cx: &RequestContext,
    endpoint: &Endpoint,
    object: &mut Object,
) -> Result<(), StatusError> {
    let namespace = if endpoint.resource.info.namespaced {
        cx.info.namespace.as_str()
    } else {
        ""
    };
    let Some(metadata) = object.metadata_mut() else {
        return Ok(());
    };
    store::ensure_namespace(namespace, metadata)?;
    if metadata.name != cx.info.name {
        return Err(if metadata.name.is_empty() {
            status::bad_request(format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                cx.info.name
            ))
        } else {
            status::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                metadata.name, cx.info.name
            ))
        });
    }
    Ok(())
}

/// Admission and storage of a decoded object that replaces another.
pub async fn update_decoded(
    server: &Arc<ApiServer>,
    cx: &RequestContext,
    endpoint: &Endpoint,
    mut object: Object,
    options: UpdateOptions,
) -> Result<(Object, bool), StatusError> {
    let resource = &endpoint.resource;
    let dry_run = is_dry_run(&options.dry_run);
    let manager = cx.field_manager(&options.field_manager);
    dedup_owner_references(&mut object, cx, false);
    let uid = object.metadata().uid.clone();
    let (create, update) = both_attributes(cx, endpoint, options, dry_run);
    let validate = validator(
        server,
        create.clone(),
        Some(update.clone()),
        Some(cx.attributes()),
    );
    let strategy = server.strategy(endpoint);
    informed_write_of(server, cx, endpoint, strategy, dry_run)
        .await
        .update(
            Some(uid),
            false,
            &validate,
            |existing: Option<Arc<Object>>| {
                let mut object = object.clone();
                let (mut attributes, manager) = (
                    if existing.is_some() {
                        update.clone()
                    } else {
                        create.clone()
                    },
                    manager.clone(),
                );
                Box::pin(async move {
                    managed_fields::update(
                        resource,
                        existing.as_deref(),
                        &mut object,
                        &manager,
                        endpoint.subresource_name(),
                    );
                    attributes.old_object = existing;
                    let entries = object.metadata().managed_fields.clone();
                    let mut object = admit(server, &mut attributes, object).await?;
                    managed_fields::keep_readable(&mut object, &entries);
                    dedup_owner_references(&mut object, cx, true);
                    Ok(object)
                })
            },
        )
        .await
}

/// Admission attributes of an update, for when it creates and for when it changes.
pub fn both_attributes(
    cx: &RequestContext,
    endpoint: &Endpoint,
    options: UpdateOptions,
    dry_run: bool,
) -> (Attributes, Attributes) {
    let create_options = CreateOptions {
        dry_run: options.dry_run.clone(),
        field_manager: options.field_manager.clone(),
        field_validation: options.field_validation.clone(),
        ..CreateOptions::default()
    };
    (
        endpoint.admission_attributes(
            cx,
            Operation::Create,
            admission::Options::Create(Box::new(create_options)),
            dry_run,
        ),
        endpoint.admission_attributes(
            cx,
            Operation::Update,
            admission::Options::Update(Box::new(options)),
            dry_run,
        ),
    )
}

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
    run_write(server.request_metrics.clone(), async move {
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
        respond::written(|| match deleted {
            Deleted::Object(object) => {
                respond::object(&cx, &endpoint.resource, media, code, object)
            }
            Deleted::Status(status) => Ok(respond::status(&cx, media, code, *status)),
        })
    })
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
