//! Bodies that are asked about or acted on and not stored: reviews, bindings, evictions, token requests.

use std::sync::Arc;

use api_types::meta::v1::CreateOptions;
use apimachinery::status::{self, StatusError};
use component_base::serving::Body;

use super::options::{self, FieldValidation};
use super::{Endpoint, body, respond, write};
use crate::admission::{self, Attributes};
use crate::apis::defaults::set_defaults;
use crate::negotiation::{self, Encoding, MediaType, Restrictions};
use crate::registry::managed_fields;
use crate::registry::object::Object;
use crate::registry::store;
use crate::request::context::RequestContext;
use crate::server::ApiServer;

/// A decoded body with its request's options.
pub struct Posted {
    pub object: Object,
    pub options: CreateOptions,
    pub media: MediaType,
}

/// Reads and decodes the body of a POST as the endpoint's kind.
pub async fn read(
    cx: &RequestContext,
    endpoint: &Endpoint,
    request_body: Body,
) -> Result<Posted, StatusError> {
    let media = negotiation::negotiate(&cx.headers, &cx.query, Restrictions::REVIEW)
        .map_err(respond::not_acceptable)?;
    let encoding = negotiation::negotiate_input(&cx.headers, &Encoding::ALL)
        .map_err(respond::unsupported_media_type)?;
    let bytes = body::read(cx, request_body).await?;
    let options = options::create_options(&cx.query)?;
    let name = endpoint.kind();
    let kind = api_types::kinds::lookup(&name.group, &name.version, &name.kind)
        .ok_or_else(|| status::internal(format!("{name} is not known")))?;
    let validation = FieldValidation::parse(&options.field_validation);
    let mut object = body::decode(encoding, &bytes, kind, validation, &cx.warnings)?.object;
    object.clear_field("TypeMeta");
    set_defaults(object.value_mut());
    if let Some(audit) = &cx.audit {
        let json = || Some(api_types::encode_json(object.value()));
        audit.sent_object(Some(object.metadata()), json);
    }
    if let Some(metadata) = object.metadata_mut() {
        if !keeps_system_fields(endpoint) {
            store::wipe_system_fields(metadata);
        }
        let namespaced = endpoint.resource.info.namespaced;
        let namespace = if namespaced {
            cx.info.namespace.as_str()
        } else {
            ""
        };
        store::ensure_namespace(namespace, metadata)?;
    }
    write::dedup_owner_references(&mut object, cx, false);
    let manager = cx.field_manager(&options.field_manager);
    managed_fields::update_posted(&mut object, endpoint.subresource_name(), &manager);
    Ok(Posted {
        object,
        options,
        media,
    })
}

/// Whose metadata says which object is meant. Upstream: rest.SubresourceObjectMetaPreserver.
fn keeps_system_fields(endpoint: &Endpoint) -> bool {
    let info = &endpoint.resource.info;
    info.group.is_empty()
        && matches!(
            (info.resource, endpoint.subresource_name()),
            ("pods", "binding") | ("serviceaccounts", "token")
        )
}

/// Runs mutating admission; the attributes are for [`validate`].
pub async fn admit(
    server: &Arc<ApiServer>,
    cx: &RequestContext,
    endpoint: &Endpoint,
    posted: &Posted,
) -> Result<(Object, Attributes), StatusError> {
    let dry_run = write::is_dry_run(&posted.options.dry_run);
    let mut attributes = endpoint.admission_attributes(
        cx,
        admission::Operation::Create,
        admission::Options::Create(Box::new(posted.options.clone())),
        dry_run,
    );
    let mut object = write::admit(server, &mut attributes, posted.object.clone()).await?;
    write::dedup_owner_references(&mut object, cx, true);
    Ok((object, attributes))
}

/// Runs validating admission on the object as it is acted on.
pub async fn validate(
    server: &ApiServer,
    mut attributes: Attributes,
    object: &Object,
) -> Result<(), StatusError> {
    if !server.admission.handles(attributes.operation) {
        return Ok(());
    }
    attributes.object = Some(object.clone());
    server.admission.validate(&attributes).await
}
