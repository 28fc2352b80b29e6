//! Objects as response bytes: JSON, YAML or protobuf, as they are or as PartialObjectMetadata or Table rows.
//!
//! Input is always the served object's protobuf message, whose bytes mostly come straight from etcd. Custom objects have no
//! protobuf form: their input is their JSON.

use api_types::apps::v1::StatefulSet;
use api_types::codec::Header;
use api_types::core::v1::PersistentVolumeClaim;
use api_types::meta::v1::{ObjectMeta, PartialObjectMetadata, Status};
use api_types::schema::{JsonForm, StructSchema};
use api_types::{CustomObject, Described, ListTranscoder, Struct};
use apimachinery::pretty;
use apimachinery::status::{self, StatusError};

use std::sync::Arc;

use super::yaml;
use crate::apis::validation::apps;
use crate::custom_resources::{CustomResource, document};
use crate::negotiation::{Encoding, MediaType};
use crate::registry::convert::autoscaling;
use crate::registry::resource::metadata_of;
use crate::registry::wire;
use crate::table::{self, Cells, Column, Completed};

/// A kind as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub schema: &'static StructSchema,
}

impl Form {
    pub fn header(&self) -> Header<'static> {
        Header {
            api_version: self.api_version,
            kind: self.kind,
        }
    }

    /// Whether input is JSON already.
    pub fn is_json(&self) -> bool {
        self.schema.json_form == JsonForm::Custom
    }

    /// The form of a type whose kind is in its table.
    pub fn of(value: &dyn Struct) -> Form {
        let schema = value.schema();
        let (api_version, kind) = schema
            .kind
            .map_or(("", ""), |kind| (kind.api_version, kind.kind));
        Form {
            api_version,
            kind,
            schema,
        }
    }
}

fn transcode_error(error: impl std::fmt::Display) -> StatusError {
    status::internal(format!("unable to encode object: {error}"))
}

/// Appends the JSON of a message, without a newline.
pub fn json(form: Form, raw: &[u8], out: &mut Vec<u8>) -> Result<(), StatusError> {
    if form.is_json() {
        out.extend_from_slice(raw);
        return Ok(());
    }
    if std::ptr::eq(form.schema, StatefulSet::SCHEMA) && has_claims(raw) {
        let mut set = api_types::decode_protobuf(raw).map_err(transcode_error)?;
        name_claims(&mut set);
        api_types::codec::write_json(&set, Some(form.header()), out);
        return Ok(());
    }
    api_types::transcode_protobuf_to_json(form.schema, raw, Some(form.header()), out)
        .map_err(transcode_error)
}

/// As [`json`], without apiVersion and kind: an item of a list, as Go's structs are written. Custom objects keep theirs.
pub fn json_item(
    form: Form,
    transcoder: &mut ListTranscoder,
    raw: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), StatusError> {
    if form.is_json() {
        out.extend_from_slice(raw);
        return Ok(());
    }
    if std::ptr::eq(form.schema, StatefulSet::SCHEMA) && has_claims(raw) {
        let mut set = api_types::decode_protobuf(raw).map_err(transcode_error)?;
        name_claims(&mut set);
        api_types::codec::write_json_item(&set, out);
        return Ok(());
    }
    transcoder.write(raw, out).map_err(transcode_error)
}

/// Tags of StatefulSet's spec and of its claim templates.
const CLAIM_TEMPLATES: [u32; 2] = [2, 4];

fn has_claims(raw: &[u8]) -> bool {
    wire::find(raw, &CLAIM_TEMPLATES).is_ok_and(|found| found.is_some())
}

/// The claims in a StatefulSet say in JSON what they are, as they have since upstream converted objects by reflection. Stored
/// they do not, since no object inside another does in protobuf.
fn name_claims(set: &mut StatefulSet) {
    for claim in &mut set.spec.volume_claim_templates {
        let kind = PersistentVolumeClaim::SCHEMA.kind;
        if let Some(name) = kind {
            name.api_version
                .clone_into(&mut claim.type_meta.api_version);
            name.kind.clone_into(&mut claim.type_meta.kind);
        }
    }
}

/// A whole response body from a protobuf message.
pub fn message(media: MediaType, form: Form, raw: &[u8]) -> Result<Vec<u8>, StatusError> {
    if media.encoding == Encoding::Protobuf {
        if form.is_json() {
            return Err(not_in_protobuf());
        }
        let mut out = wire::envelope_head(form.api_version, form.kind, raw.len());
        out.extend_from_slice(raw);
        out.extend_from_slice(wire::ENVELOPE_TAIL);
        return Ok(out);
    }
    let mut out = Vec::with_capacity(raw.len() * 2);
    json(form, raw, &mut out)?;
    Ok(finish_json(media, out))
}

/// What is said of a custom object that would be written as protobuf; negotiation does not let it come so far.
fn not_in_protobuf() -> StatusError {
    StatusError::from(Status {
        status: "Failure".to_owned(),
        code: 406,
        reason: "NotAcceptable".to_owned(),
        message: "object *unstructured.Unstructured does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message".to_owned(),
        ..Status::default()
    })
}

/// A whole response body from a decoded value of the served version.
pub fn value(media: MediaType, value: &dyn Struct) -> Vec<u8> {
    value_as(media, value, Form::of(value).header())
}

/// As [`value`], under another name.
pub fn value_as(media: MediaType, value: &dyn Struct, header: Header<'_>) -> Vec<u8> {
    match media.encoding {
        Encoding::Protobuf => api_types::encode_envelope_as(value, header),
        _ => {
            let json = match value.downcast_ref::<StatefulSet>() {
                Some(set) if !set.spec.volume_claim_templates.is_empty() => {
                    let mut set = set.clone();
                    name_claims(&mut set);
                    api_types::encode_json_as(&set, header)
                }
                _ => api_types::encode_json_as(value, header),
            };
            finish_json(media, json)
        }
    }
}

/// Brings compact JSON into the form asked for.
pub fn finish_json(media: MediaType, mut json: Vec<u8>) -> Vec<u8> {
    match (media.encoding, media.pretty) {
        (Encoding::Yaml, _) => yaml::from_json(&json),
        (_, true) => pretty::indent(&json),
        _ => {
            json.push(b'\n');
            json
        }
    }
}

/// The PartialObjectMetadata message of a served object: its metadata alone.
pub fn partial_metadata(form: Form, raw: &[u8]) -> Vec<u8> {
    if form.is_json() {
        // What this server has written itself.
        let object: CustomObject = api_types::decode_json(raw).unwrap_or_default();
        let metadata = api_types::codec::encode_protobuf(&object.metadata);
        let mut out = Vec::with_capacity(metadata.len() + 6);
        wire::put_bytes(&mut out, 1, &metadata);
        return out;
    }
    let kind = form.kind;
    let mut metadata = metadata_of(raw);
    // Upstream's metadata is that of the internal type, which keeps some annotations as fields of its spec.
    let of_fields = match kind {
        "DaemonSet" => &[apps::TEMPLATE_GENERATION],
        "HorizontalPodAutoscaler" => autoscaling::ANNOTATIONS,
        _ => &[],
    };
    let without_annotations;
    if !of_fields.is_empty()
        && let Ok(mut decoded) = api_types::decode_protobuf::<ObjectMeta>(metadata)
    {
        let annotations = &mut decoded.annotations;
        annotations.retain(|name, _| !of_fields.contains(&name.as_str()));
        without_annotations = api_types::codec::encode_protobuf(&decoded);
        metadata = &without_annotations;
    }
    let mut out = Vec::with_capacity(metadata.len() + 6);
    wire::put_bytes(&mut out, 1, metadata);
    out
}

/// The form of PartialObjectMetadata in one of its versions.
pub fn partial_form(api_version: &'static str) -> Form {
    Form {
        api_version,
        kind: "PartialObjectMetadata",
        schema: PartialObjectMetadata::SCHEMA,
    }
}

/// What a row of a table carries besides its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeObject {
    Metadata,
    None,
    Object,
}

impl IncludeObject {
    pub fn parse(text: &str) -> Result<IncludeObject, StatusError> {
        match text {
            "" | "Metadata" => Ok(IncludeObject::Metadata),
            "None" => Ok(IncludeObject::None),
            "Object" => Ok(IncludeObject::Object),
            other => Err(status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

/// Who knows a resource's columns.
#[derive(Clone)]
pub enum Printer {
    BuiltIn(&'static table::Printer),
    Custom(Arc<CustomResource>),
    /// Name and creation time are all there is.
    Default,
}

/// How a resource's objects become rows.
#[derive(Clone)]
pub struct RowFormat {
    pub printer: Printer,
    pub include: IncludeObject,
    pub form: Form,
    /// meta.k8s.io version of the table and of the metadata in rows.
    pub table_api_version: &'static str,
}

impl RowFormat {
    pub fn columns(&self) -> &[Column] {
        match &self.printer {
            Printer::BuiltIn(printer) => printer.columns,
            Printer::Custom(custom) => &custom.version().columns.columns,
            Printer::Default => table::DEFAULT_COLUMNS,
        }
    }

    fn cells(&self, hub: &dyn Struct, metadata: &ObjectMeta) -> table::Row {
        let row = match &self.printer {
            Printer::BuiltIn(printer) => (printer.row)(hub),
            Printer::Custom(custom) => hub
                .downcast_ref::<CustomObject>()
                .and_then(|object| document::of(object).ok())
                .map(|document| (custom.version().columns.cells(&document, metadata), None)),
            Printer::Default => None,
        };
        row.unwrap_or_else(|| (table::default_cells(metadata), None))
    }

    /// Appends one row. `hub` is the object in the version that printers know.
    pub fn row(
        &self,
        raw: &[u8],
        hub: &dyn Struct,
        metadata: &ObjectMeta,
        out: &mut Vec<u8>,
    ) -> Result<(), StatusError> {
        let (cells, completed) = self.cells(hub, metadata);
        out.extend_from_slice(b"{\"cells\":");
        write_cells(&cells, out);
        if let Some(Completed { reason, message }) = completed {
            out.extend_from_slice(
                b",\"conditions\":[{\"type\":\"Completed\",\"status\":\"True\",\"reason\":",
            );
            api_types::codec::write_json_string(reason, out);
            out.extend_from_slice(b",\"message\":");
            api_types::codec::write_json_string(message, out);
            out.extend_from_slice(b"}]");
        }
        out.extend_from_slice(b",\"object\":");
        match self.include {
            IncludeObject::None => out.extend_from_slice(b"null"),
            IncludeObject::Metadata => json(
                partial_form(self.table_api_version),
                &partial_metadata(self.form, raw),
                out,
            )?,
            IncludeObject::Object => json(self.form, raw, out)?,
        }
        out.push(b'}');
        Ok(())
    }

    /// Appends everything of a table before its rows; `null` column definitions when headers are not wanted.
    pub fn head(&self, list_metadata: &[u8], headers: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"kind\":\"Table\",\"apiVersion\":\"");
        out.extend_from_slice(self.table_api_version.as_bytes());
        out.extend_from_slice(b"\",\"metadata\":");
        out.extend_from_slice(list_metadata);
        out.extend_from_slice(b",\"columnDefinitions\":");
        if headers {
            out.push(b'[');
            for (i, column) in self.columns().iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_column(column, out);
            }
            out.push(b']');
        } else {
            out.extend_from_slice(b"null");
        }
        out.extend_from_slice(b",\"rows\":[");
    }
}

fn write_cells(cells: &Cells, out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, cell) in cells.0.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        match cell {
            serde_json::Value::String(text) => api_types::codec::write_json_string(text, out),
            other => out.extend_from_slice(other.to_string().as_bytes()),
        }
    }
    out.push(b']');
}

fn write_column(column: &Column, out: &mut Vec<u8>) {
    for (name, text) in [
        ("{\"name\":", column.name),
        (",\"type\":", column.kind),
        (",\"format\":", column.format),
        (",\"description\":", column.description),
    ] {
        out.extend_from_slice(name.as_bytes());
        api_types::codec::write_json_string(text, out);
    }
    out.extend_from_slice(format!(",\"priority\":{}}}", column.priority).as_bytes());
}

/// Everything of a list of custom objects after its items.
pub fn custom_list_tail(
    kind: &str,
    resource_version: &str,
    continue_token: &str,
    remaining: Option<i64>,
) -> Vec<u8> {
    let mut out = b"],\"kind\":".to_vec();
    api_types::codec::write_json_string(kind, &mut out);
    out.extend_from_slice(b",\"metadata\":{\"continue\":");
    api_types::codec::write_json_string(continue_token, &mut out);
    if let Some(remaining) = remaining {
        out.extend_from_slice(format!(",\"remainingItemCount\":{remaining}").as_bytes());
    }
    out.extend_from_slice(b",\"resourceVersion\":");
    api_types::codec::write_json_string(resource_version, &mut out);
    out.extend_from_slice(b"}}");
    out
}

/// ListMeta as JSON.
pub fn list_metadata(
    resource_version: &str,
    continue_token: &str,
    remaining: Option<i64>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.push(b'{');
    if !resource_version.is_empty() {
        out.extend_from_slice(b"\"resourceVersion\":");
        api_types::codec::write_json_string(resource_version, &mut out);
    }
    if !continue_token.is_empty() {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(b"\"continue\":");
        api_types::codec::write_json_string(continue_token, &mut out);
    }
    if let Some(remaining) = remaining {
        out.extend_from_slice(format!(",\"remainingItemCount\":{remaining}").as_bytes());
    }
    out.push(b'}');
    out
}
