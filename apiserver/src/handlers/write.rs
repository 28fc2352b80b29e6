//! CREATE and UPDATE, and what all writes have in common. Upstream: endpoints/handlers/{create,update}.go.

use std::collections::HashSet;
use std::sync::Arc;

use api_types::core::v1::Namespace;
use api_types::meta::v1::{CreateOptions, OwnerReference, UpdateOptions};
use apimachinery::status::{self, StatusError};
use component_base::auth::{BoxFuture, Decision};
use component_base::serving::{Body, Response};

use super::finisher::run_write;
use super::options::{self, FieldValidation};
use super::{Endpoint, body, respond};
use crate::admission::{self, Attributes, Operation};
use crate::apis::defaults::set_defaults;
use crate::apis::validation::dra::AdminAccess;
use crate::loopback::Loopback;
use crate::negotiation::{self, Encoding};
use crate::registry::escalation;
use crate::registry::managed_fields;
use crate::registry::normalize::normalize;
use crate::registry::object::Object;
use crate::registry::resource::Resource;
use crate::registry::sent_empty;
use crate::registry::store::{self, Write};
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
    let references = std::mem::take(&mut metadata.owner_references);
    let mut seen = HashSet::new();
    let repeated: Vec<bool> = references
        .iter()
        .map(|reference| !seen.insert(parts(reference)))
        .collect();
    let mut kept = Vec::with_capacity(references.len());
    let mut duplicates = Vec::new();
    for (reference, repeated) in references.into_iter().zip(repeated) {
        if repeated {
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

/// All that a reference is compared by.
fn parts(reference: &OwnerReference) -> ([&str; 4], [Option<bool>; 2]) {
    let OwnerReference {
        api_version,
        kind,
        name,
        uid,
        controller,
        block_owner_deletion,
    } = reference;
    (
        [api_version, kind, name, uid],
        [*controller, *block_owner_deletion],
    )
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
    run_write(
        server.request_metrics.clone(),
        Box::pin(async move {
            let created = create_decoded(&server, &cx, &endpoint, object, options).await;
            let created = stored(&endpoint, &bytes, created)?;
            respond::stored_object(&cx, &endpoint.resource, media, true, created)
        }),
    )
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
    run_write(
        server.request_metrics.clone(),
        Box::pin(async move {
            let updated = update_decoded(&server, &cx, &endpoint, object, options).await;
            let (object, created) = stored(&endpoint, &bytes, updated)?;
            respond::stored_object(&cx, &endpoint.resource, media, created, object)
        }),
    )
    .await
}

/// Notes how a write has ended of which these bytes were sent, and says of them what was wrong.
fn stored<T>(
    endpoint: &Endpoint,
    bytes: &[u8],
    outcome: Result<T, StatusError>,
) -> Result<T, StatusError> {
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
            Err(sent_empty::explain(
                error,
                bytes,
                endpoint.resource.served.schema,
            ))
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
