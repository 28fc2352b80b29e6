//! Responses: status, headers and bodies. Upstream: endpoints/handlers/responsewriters.

use std::io::Write;

use api_types::Described;
use api_types::codec::Header;
use api_types::meta::v1::Status;
use apimachinery::pretty;
use apimachinery::status::StatusError;
use bytes::Bytes;
use component_base::serving::{Body, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::body;
use super::encode::{self, Form, IncludeObject, Printer, RowFormat};
use crate::negotiation::{self, Encoding, MediaType, Restrictions, Transform};
use crate::registry::object::Object;
use crate::registry::resource::{Resource, raw_of};
use crate::request::context::RequestContext;
use crate::storage;
use crate::table;
use crate::traces::trace;

/// Responses above this are compressed for clients that take gzip.
pub const GZIP_THRESHOLD: usize = 128 * 1024;

/// A response of these bytes.
pub fn bytes(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A response in the negotiated encoding, compressed when it is large and the client takes it.
pub fn negotiated(
    cx: &RequestContext,
    code: StatusCode,
    media: MediaType,
    body: Vec<u8>,
) -> Response {
    if let Some(audit) = &cx.audit {
        audit.answered(media.encoding, &body);
    }
    if body.len() <= GZIP_THRESHOLD || !negotiation::accepts_gzip(&cx.headers) {
        return bytes(code, media.encoding.media_type(), body);
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::new(1));
    // Writing to memory does not fail.
    let compressed = encoder
        .write_all(&body)
        .and_then(|()| encoder.finish())
        .unwrap_or_default();
    let mut response = bytes(code, media.encoding.media_type(), compressed);
    compressed_headers(response.headers_mut());
    response
}

/// A JSON document made beforehand, compressed when it is large and the client takes it.
pub fn json_document(cx: &RequestContext, text: &Bytes) -> Response {
    const MEDIA_TYPE: &str = "application/json";
    if text.len() <= GZIP_THRESHOLD || !negotiation::accepts_gzip(&cx.headers) {
        return bytes(StatusCode::OK, MEDIA_TYPE, text.clone());
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::new(1));
    // Writing to memory does not fail.
    let compressed = encoder
        .write_all(text)
        .and_then(|()| encoder.finish())
        .unwrap_or_default();
    let mut response = bytes(StatusCode::OK, MEDIA_TYPE, compressed);
    compressed_headers(response.headers_mut());
    response
}

pub fn compressed_headers(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
}

/// An error as a Status in the encoding the client accepts, JSON when it accepts none of ours.
pub fn error(cx: &RequestContext, error: StatusError) -> Response {
    let media = negotiation::negotiate(&cx.headers, &cx.query, Restrictions::PLAIN).ok();
    let code = StatusCode::from_u16(u16::try_from(error.code).unwrap_or(500))
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let retry_after = error
        .details
        .as_ref()
        .map_or(0, |details| details.retry_after_seconds);
    let status: Status = error.into();
    // What is written for want of a better form is not noted, as upstream.
    if let Some(audit) = cx.audit.as_ref().filter(|_| media.is_some()) {
        audit.answered_status(&status);
    }
    let mut response = match media {
        Some(media) => bytes(
            code,
            media.encoding.media_type(),
            encode::value(media, &status),
        ),
        None => {
            let json = api_types::encode_json(&status);
            bytes(code, "application/json", pretty::indent(&json))
        }
    };
    if retry_after > 0 {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    }
    response
}

/// A success Status.
pub fn status(
    cx: &RequestContext,
    media: MediaType,
    code: StatusCode,
    mut status: Status,
) -> Response {
    if status.code == 0 && code != StatusCode::OK {
        status.code = i32::from(code.as_u16());
    }
    if let Some(audit) = &cx.audit {
        audit.answered_status(&status);
    }
    negotiated(
        cx,
        code,
        MediaType {
            convert: None,
            ..media
        },
        encode::value(
            MediaType {
                convert: None,
                ..media
            },
            &status,
        ),
    )
}

/// How the rows of a resource's table look, from the query.
pub fn row_format(
    cx: &RequestContext,
    resource: &Resource,
    form: Form,
    api_version: &'static str,
) -> Result<RowFormat, StatusError> {
    let include = IncludeObject::parse(cx.query.first("includeObject").unwrap_or_default())?;
    let hub = (resource.hub.group, resource.hub.version, resource.hub.kind);
    let (group, version, kind) = match cx.info.subresource.as_str() {
        "scale" => ("autoscaling", "v1", "Scale"),
        _ => hub,
    };
    let printer = match &resource.custom {
        Some(_) if cx.info.subresource == "scale" => Printer::BuiltIn(&table::CUSTOM_SCALE),
        Some(custom) => Printer::Custom(custom.clone()),
        None => match table::lookup(group, version, kind) {
            Some(printer) => Printer::BuiltIn(printer),
            None => Printer::Default,
        },
    };
    Ok(RowFormat {
        printer,
        include,
        form,
        table_api_version: api_version,
    })
}

/// One object, given as the hub object, in the negotiated shape.
pub fn object(
    cx: &RequestContext,
    resource: &Resource,
    media: MediaType,
    code: StatusCode,
    hub: Object,
) -> Result<Response, StatusError> {
    let printed = media
        .convert
        .is_some_and(|convert| convert.transform == Transform::Table)
        .then(|| hub.clone());
    let served = resource.to_served(hub)?;
    served_object(cx, resource, media, code, &served, printed.as_ref())
}

/// One object of the served version or of a subresource's kind.
pub fn served_object(
    cx: &RequestContext,
    resource: &Resource,
    media: MediaType,
    code: StatusCode,
    served: &Object,
    printed: Option<&Object>,
) -> Result<Response, StatusError> {
    let body = match media.convert {
        None => match of_stored(resource, media, served) {
            Some(body) => body?,
            None => encode::value(media, served.value()),
        },
        Some(_) => {
            let raw = raw_of(served.value());
            let form = match Form::of(served.value()) {
                form if form.is_json() => served_form(resource),
                form => form,
            };
            transformed(cx, resource, media, form, &raw, printed.unwrap_or(served))?
        }
    };
    Ok(negotiated(cx, code, media, body))
}

/// The body for an object that was just stored, from its bytes there: quicker than from its fields. None where storage holds it in another
/// form.
fn of_stored(
    resource: &Resource,
    media: MediaType,
    object: &Object,
) -> Option<Result<Vec<u8>, StatusError>> {
    let value = object.stored()?;
    if resource.conversion.is_some() {
        return None;
    }
    // A dry run has none.
    let version = object.metadata().resource_version.parse().ok()?;
    let raw = storage::splice_resource_version(resource.raw(value)?, version)?;
    let mut message = Vec::with_capacity(raw.len());
    raw.write(&mut message);
    Some(encode::message(media, Form::of(object.value()), &message))
}

/// One object straight from storage, in the negotiated shape; decoded only for tables.
pub fn stored(
    cx: &RequestContext,
    resource: &Resource,
    media: MediaType,
    object: &storage::Object,
) -> Result<Response, StatusError> {
    let served = resource.served(&object.value, object.resource_version)?;
    let form = served_form(resource);
    let mut buffer = Vec::new();
    let raw = served.contiguous(&mut buffer);
    let body = match media.convert.map(|convert| convert.transform) {
        None => encode::message(media, form, raw)?,
        Some(_) => {
            let hub = resource.decode_stored(&object.value, object.resource_version)?;
            transformed(cx, resource, media, form, raw, &hub)?
        }
    };
    Ok(negotiated(cx, StatusCode::OK, media, body))
}

/// Makes the answer of a request that has been done.
pub fn written(
    cx: &RequestContext,
    respond: impl FnOnce() -> Result<Response, StatusError>,
) -> Result<Response, StatusError> {
    trace::step("About to write a response");
    let response = trace::serialize(cx, respond);
    trace::step("Writing http response done");
    response
}

/// The answer of a write that made an object, or changed one.
pub fn stored_object(
    cx: &RequestContext,
    resource: &Resource,
    media: MediaType,
    created: bool,
    hub: Object,
) -> Result<Response, StatusError> {
    let code = match created {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    written(cx, || object(cx, resource, media, code, hub))
}

/// The form in which a resource's objects are served.
pub fn served_form(resource: &Resource) -> Form {
    Form {
        api_version: resource.api_version,
        kind: resource.info.kind,
        schema: resource.served.schema,
    }
}

fn transformed(
    cx: &RequestContext,
    resource: &Resource,
    media: MediaType,
    form: Form,
    raw: &[u8],
    hub: &Object,
) -> Result<Vec<u8>, StatusError> {
    let Some(convert) = media.convert else {
        return encode::message(media, form, raw);
    };
    match convert.transform {
        Transform::PartialObjectMetadata => encode::message(
            media,
            encode::partial_form(convert.api_version()),
            &encode::partial_metadata(form, raw),
        ),
        Transform::PartialObjectMetadataList => {
            Err(apimachinery::status::StatusError::from(Status {
                status: "Failure".to_owned(),
                code: 406,
                reason: "NotAcceptable".to_owned(),
                message: format!(
                    "you requested PartialObjectMetadataList, but the requested object is not a list (*{})",
                    go_type(resource)
                ),
                ..Status::default()
            }))
        }
        Transform::Table => {
            let rows = row_format(cx, resource, form, convert.api_version())?;
            let metadata = encode::list_metadata(&hub.metadata().resource_version, "", None);
            let mut out = Vec::new();
            rows.head(&metadata, !cx.query.bool("noHeaders"), &mut out);
            rows.row(raw, hub.value(), hub.metadata(), &mut out)?;
            out.extend_from_slice(b"]}");
            Ok(encode::finish_json(media, out))
        }
    }
}

/// A list that is not in storage as a table.
pub fn table_of(
    cx: &RequestContext,
    resource: &Resource,
    media: MediaType,
    objects: &[Object],
) -> Result<Response, StatusError> {
    let version = media
        .convert
        .map_or("meta.k8s.io/v1", |convert| convert.api_version());
    let rows = row_format(cx, resource, served_form(resource), version)?;
    let mut out = Vec::new();
    let metadata = encode::list_metadata("", "", None);
    rows.head(&metadata, !cx.query.bool("noHeaders"), &mut out);
    for (i, object) in objects.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let raw = api_types::encode_protobuf(object.value());
        rows.row(&raw, object.value(), object.metadata(), &mut out)?;
    }
    out.extend_from_slice(b"]}");
    Ok(negotiated(
        cx,
        StatusCode::OK,
        media,
        encode::finish_json(media, out),
    ))
}

/// Upstream's internal type name, as its errors show it.
pub fn go_type(resource: &Resource) -> String {
    let package = body::hub_package(resource.info.group);
    format!("{package}.{}", resource.info.kind)
}

/// Encodes any value whose kind is in its table, for discovery and other plain endpoints.
pub fn plain(cx: &RequestContext, code: StatusCode, value: &impl Described) -> Response {
    match negotiation::negotiate(&cx.headers, &cx.query, Restrictions::PLAIN) {
        Ok(media) => negotiated(cx, code, media, encode::value(media, value)),
        Err(refusal) => error(cx, not_acceptable(refusal)),
    }
}

/// As [`plain`], with another apiVersion: documents of the core group have none.
pub fn plain_as(
    cx: &RequestContext,
    value: &impl Described,
    api_version: &'static str,
) -> Response {
    match negotiation::negotiate(&cx.headers, &cx.query, Restrictions::PLAIN) {
        Ok(media) => {
            let kind = Form::of(value).kind;
            let body = encode::value_as(media, value, Header { api_version, kind });
            negotiated(cx, StatusCode::OK, media, body)
        }
        Err(refusal) => error(cx, not_acceptable(refusal)),
    }
}

pub fn not_acceptable(refusal: negotiation::NotAcceptable) -> StatusError {
    failure(406, "NotAcceptable", refusal.to_string())
}

pub fn unsupported_media_type(refusal: negotiation::UnsupportedMediaType) -> StatusError {
    failure(415, "UnsupportedMediaType", refusal.to_string())
}

fn failure(code: i32, reason: &str, message: String) -> StatusError {
    Status {
        status: "Failure".to_owned(),
        code,
        reason: reason.to_owned(),
        message,
        ..Status::default()
    }
    .into()
}

/// Chooses the media type of a resource's response.
pub fn negotiate(cx: &RequestContext) -> Result<MediaType, StatusError> {
    negotiation::negotiate(&cx.headers, &cx.query, Restrictions::RESOURCE).map_err(not_acceptable)
}

/// As [`negotiate`], for what is no object: no table, no metadata alone.
pub fn negotiate_plain(cx: &RequestContext) -> Result<MediaType, StatusError> {
    negotiation::negotiate(&cx.headers, &cx.query, Restrictions::PLAIN).map_err(not_acceptable)
}

/// As [`negotiate`], for the objects of a resource: custom ones have no protobuf form.
pub fn negotiate_objects(
    cx: &RequestContext,
    resource: &Resource,
) -> Result<MediaType, StatusError> {
    let mut restrictions = restrictions(resource);
    let name = (resource.info.resource, cx.info.subresource.as_str());
    if resource.custom.is_none() && WITHOUT_COLUMNS.contains(&name) {
        restrictions.tables = false;
    }
    negotiation::negotiate(&cx.headers, &cx.query, restrictions).map_err(not_acceptable)
}

/// Subresources that upstream has no columns for.
const WITHOUT_COLUMNS: [(&str, &str); 10] = [
    ("apiservices", "status"),
    ("certificatesigningrequests", "approval"),
    ("customresourcedefinitions", "status"),
    ("devicetaintrules", "status"),
    ("namespaces", "finalize"),
    ("podgroups", "status"),
    ("pods", "ephemeralcontainers"),
    ("pods", "resize"),
    ("resourceclaims", "status"),
    ("resourcepoolstatusrequests", "status"),
];

/// What a resource's objects are served as.
pub fn restrictions(resource: &Resource) -> Restrictions {
    if resource.custom.is_some() {
        Restrictions::CUSTOM
    } else {
        Restrictions::RESOURCE
    }
}

/// What objects can be had in.
pub const OBJECTS: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
/// The same for lists that can be watched.
pub const WATCHED: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
/// Logs, and the errors about them.
pub const LOGS: &[&str] = &[
    "text/plain",
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// What the router refuses before any handler looks: no media type that an endpoint could answer with, whatever its
/// parameters say. Custom resources, and lists of groups, have no router.
pub fn check_accept(cx: &RequestContext, available: &[&str]) -> Result<(), StatusError> {
    let accept = cx.header(header::ACCEPT);
    let known = |clause: &str| {
        let name = clause.split(';').next().unwrap_or_default().trim();
        name == "*/*" || available.contains(&name)
    };
    if accept.is_empty() || accept.split(',').any(known) {
        return Ok(());
    }
    let text = format!(
        "406: Not Acceptable\n\nAvailable representations: {}",
        available.join(", ")
    );
    let resource = apimachinery::gvk::GroupResource::default();
    Err(apimachinery::status::generic_server_response(
        406, "", &resource, "", &text, 0, false,
    ))
}

/// Whether a response may be written in this encoding without knowing its length.
pub fn streams(encoding: Encoding) -> bool {
    encoding == Encoding::Json
}
