//! LIST, streamed: nothing as large as the list is held in memory. Upstream: endpoints/handlers/get.go handleList and
//! the streaming encoders of the JSON and protobuf serializers.

use std::io::Write;
use std::sync::Arc;

use api_types::ListTranscoder;
use apimachinery::fields::Selector;
use apimachinery::status::StatusError;
use bytes::Bytes;
use component_base::serving::{Body, PIECE, Producer, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, StatusCode, header};

use super::encode::{self, Form, RowFormat};
use super::options::{self, ListOptions};
use super::respond;
use super::select;
use crate::flowcontrol::WhileSent;
use crate::negotiation::{self, Encoding, MediaType, Transform};
use crate::registry::errors::{Operation, interpret};
use crate::registry::fields;
use crate::registry::object::Object;
use crate::registry::resource::{self, Resource, Served};
use crate::registry::wire;
use crate::request::context::RequestContext;
use crate::storage::{self, Entry, List, ListIter, ResourceVersionMatch};

/// Reads and checks the list options of a request. A single name, from the path or the selector, becomes a selector.
pub fn options_of(
    cx: &RequestContext,
    resource: &Resource,
    watch: bool,
) -> Result<ListOptions, StatusError> {
    let info = resource.info;
    let mut options = options::list_options(&cx.query, watch, |label| match &resource.custom {
        Some(custom) => custom.version().field_label(label),
        None => fields::convert_label(info.group, info.version, info.resource, info.kind, label),
    })?;
    if let Some(custom) = &resource.custom
        && custom.definition.webhook.is_some()
    {
        let (stored, converted) = options
            .field_selector
            .requirements()
            .iter()
            .cloned()
            .partition::<Vec<_>, _>(|requirement| requirement.field.starts_with("metadata."));
        options.field_selector = stored.into_iter().collect();
        options.converted_fields = converted.into_iter().collect();
    }
    if !cx.info.name.is_empty() {
        if options.field_selector.is_empty() {
            options.field_selector =
                apimachinery::fields::Selector::equals("metadata.name", cx.info.name.clone());
        } else if options.field_selector.requires_exact_match("metadata.name")
            != Some(cx.info.name.as_str())
        {
            return Err(apimachinery::status::bad_request(
                "fieldSelector metadata.name doesn't match requested name",
            ));
        }
    }
    Ok(options)
}

/// The keys a list or watch looks at.
pub fn scope_of(
    cx: &RequestContext,
    resource: &Resource,
    options: &ListOptions,
) -> Result<storage::Scope, StatusError> {
    let mut namespace = if resource.info.namespaced {
        cx.info.namespace.clone()
    } else {
        String::new()
    };
    if namespace.is_empty()
        && resource.info.namespaced
        && let Some(selected) = options
            .field_selector
            .requires_exact_match("metadata.namespace")
        && crate::request::path_segment_problems(selected).is_empty()
    {
        namespace = selected.to_owned();
    }
    let name = options
        .field_selector
        .requires_exact_match("metadata.name")
        .unwrap_or_default();
    // One object has a key of its own only when its namespace is known.
    let name = if resource.info.namespaced && namespace.is_empty()
        || !crate::request::path_segment_problems(name).is_empty()
    {
        ""
    } else {
        name
    };
    resource
        .storage()?
        .scope(&namespace, name)
        .map_err(|error| interpret(error, Operation::List, &resource.group_resource(), name))
}

/// Lists from storage.
pub async fn read(
    cx: &RequestContext,
    resource: &Resource,
    options: &ListOptions,
) -> Result<List, StatusError> {
    let scope = scope_of(cx, resource, options)?;
    let storage_options = storage::ListOptions {
        resource_version: options.resource_version.clone(),
        resource_version_match: match options.resource_version_match.as_str() {
            "Exact" => Some(ResourceVersionMatch::Exact),
            "NotOlderThan" => Some(ResourceVersionMatch::NotOlderThan),
            _ => None,
        },
        limit: options.limit,
        continue_token: options.continue_token.clone(),
    };
    resource
        .storage()?
        .list(&scope, &storage_options, select::predicate(options))
        .await
        .map_err(|error| interpret(error, Operation::List, &resource.group_resource(), ""))
}

/// GET of a collection.
pub async fn list(cx: &RequestContext, resource: &Arc<Resource>) -> Result<Response, StatusError> {
    let media = respond::negotiate_objects(cx, resource)?;
    let options = options_of(cx, resource, false)?;
    if let Some(convert) = media.convert
        && convert.transform == Transform::PartialObjectMetadata
    {
        let message = format!(
            "you requested PartialObjectMetadata, but the requested object is a list (*{}List)",
            respond::go_type(resource)
        );
        return Err(api_types::meta::v1::Status {
            status: "Failure".to_owned(),
            code: 406,
            reason: "NotAcceptable".to_owned(),
            message,
            ..api_types::meta::v1::Status::default()
        }
        .into());
    }
    let list = read(cx, resource, &options).await?;
    respond_list(cx, resource, media, &list, &options.converted_fields)
}

/// A list as a response, streamed when it is long.
pub fn respond_list(
    cx: &RequestContext,
    resource: &Arc<Resource>,
    media: MediaType,
    list: &List,
    converted_fields: &Selector,
) -> Result<Response, StatusError> {
    let resource_version = list.resource_version().to_string();
    let (token, remaining) = (list.continue_token(), list.remaining_item_count());
    let form = respond::served_form(resource);
    let items = match media.convert {
        None => Items::Objects(form, ListTranscoder::new(form.schema)),
        Some(convert) if convert.transform == Transform::Table => Items::Rows(Box::new(
            respond::row_format(cx, resource, form, convert.api_version())?,
        )),
        Some(convert) => Items::Metadata(encode::partial_form(convert.api_version())),
    };
    let mut writer = ListWriter {
        resource: resource.clone(),
        shape: Shape {
            items,
            form,
            protobuf: media.encoding == Encoding::Protobuf,
            first: true,
            scratch: Vec::new(),
        },
        converted: converted(resource, list, converted_fields)?,
    };
    let (api_version, kind) = match media.convert {
        None => (resource.api_version, resource.list_kind()),
        Some(convert) => (
            convert.api_version(),
            "PartialObjectMetadataList".to_owned(),
        ),
    };

    let mut head = Vec::with_capacity(256);
    let mut tail: &[u8];
    let mut closed = false;
    let mut custom_tail = Vec::new();
    if writer.shape.protobuf {
        let mut metadata = Vec::new();
        wire::put_bytes(&mut metadata, 1, b"");
        wire::put_bytes(&mut metadata, 2, resource_version.as_bytes());
        wire::put_bytes(&mut metadata, 3, token.as_bytes());
        if let Some(remaining) = remaining {
            metadata.push(4 << 3);
            wire::put_varint(&mut metadata, remaining as u64);
        }
        let mut length = 1 + wire::varint_len(metadata.len() as u64) + metadata.len();
        let mut entries = list.iter();
        while let Some(entry) = entries.next_ref() {
            let item = writer.message_length(entry)?;
            length += 1 + wire::varint_len(item as u64) + item;
        }
        head = wire::envelope_head(api_version, &kind, length);
        wire::put_bytes(&mut head, 1, &metadata);
        tail = wire::ENVELOPE_TAIL;
    } else {
        let metadata = encode::list_metadata(&resource_version, token, remaining);
        match &writer.shape.items {
            Items::Rows(rows) => rows.head(&metadata, !cx.query.bool("noHeaders"), &mut head),
            // As Go writes the list of what it knows as maps only: keys in order, and the items with their names.
            Items::Objects(form, _) if form.is_json() => {
                head.extend_from_slice(
                    format!("{{\"apiVersion\":\"{api_version}\",\"items\":[").as_bytes(),
                );
                custom_tail = encode::custom_list_tail(&kind, &resource_version, token, remaining);
            }
            _ => {
                head.extend_from_slice(
                    format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":")
                        .as_bytes(),
                );
                head.extend_from_slice(&metadata);
                // Go's nil slice.
                let no_items = matches!(writer.shape.items, Items::Metadata(_))
                    && list.iter().next().is_none();
                head.extend_from_slice(if no_items {
                    b",\"items\":null"
                } else {
                    b",\"items\":["
                });
                closed = no_items;
            }
        }
        tail = if closed { b"}" } else { b"]}" };
    }
    if !custom_tail.is_empty() {
        tail = &custom_tail;
    }

    let mut iter = list.iter();
    // Indented JSON and YAML are for people: they are made whole. So is what is noted for audit.
    let noted = cx
        .audit
        .as_ref()
        .is_some_and(|audit| audit.wants_response());
    let whole = media.pretty || media.encoding == Encoding::Yaml || noted;
    let limit = if whole {
        usize::MAX
    } else {
        respond::GZIP_THRESHOLD
    };
    let mut buffer = head;
    let done = writer.fill(&mut iter, &mut buffer, limit)?;
    if done {
        buffer.extend_from_slice(tail);
        if !writer.shape.protobuf {
            buffer = encode::finish_json(media, buffer);
        }
        return Ok(respond::negotiated(cx, StatusCode::OK, media, buffer));
    }

    let gzip = negotiation::accepts_gzip(&cx.headers)
        .then(|| GzEncoder::new(Vec::with_capacity(PIECE), Compression::new(1)));
    let compressed = gzip.is_some();
    let mut end = tail.to_vec();
    if !writer.shape.protobuf {
        end.push(b'\n');
    }
    let body = Body::produced(ListProducer {
        iter,
        writer,
        pending: buffer,
        tail: Some(end),
        gzip,
        _seats: cx.place.while_sent(cx.deadline),
    });
    let mut response = Response::new(body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(media.encoding.media_type()),
    );
    if compressed {
        respond::compressed_headers(response.headers_mut());
    }
    Ok(response)
}

/// What the items of a list become.
enum Items {
    /// And what turns them into JSON, one beside the other.
    Objects(Form, ListTranscoder),
    Metadata(Form),
    Rows(Box<RowFormat>),
}

/// Encodes items one after another.
struct ListWriter {
    resource: Arc<Resource>,
    shape: Shape,
    /// The objects that a webhook has converted, in the order of the list; None for those that are not selected.
    converted: Option<std::vec::IntoIter<Option<Object>>>,
}

/// How an item is written.
struct Shape {
    items: Items,
    /// What is served before it becomes something else.
    form: Form,
    protobuf: bool,
    first: bool,
    scratch: Vec<u8>,
}

/// A webhook converts all objects of a list at once. None where no webhook does; without those that are not selected.
pub fn converted(
    resource: &Resource,
    list: &List,
    fields: &Selector,
) -> Result<Option<std::vec::IntoIter<Option<Object>>>, StatusError> {
    let Some(custom) = resource
        .custom
        .as_ref()
        .filter(|custom| custom.definition.webhook.is_some())
    else {
        return Ok(None);
    };
    let entries: Vec<_> = list.iter().collect();
    let values: Vec<_> = entries.iter().map(|entry| entry.value()).collect();
    let values: Vec<&[u8]> = values.iter().map(|value| &value[..]).collect();
    let objects = custom
        .read_all(&values)
        .map_err(apimachinery::status::internal)?;
    let objects = objects.into_iter().zip(&entries).map(|(object, entry)| {
        if !custom.version().matches(fields, &object) {
            return None;
        }
        let mut object = Object::from(object);
        let version = entry.resource_version().to_string();
        object.edit_metadata(|metadata| metadata.resource_version = version);
        Some(object)
    });
    Ok(Some(objects.collect::<Vec<_>>().into_iter()))
}

impl ListWriter {
    /// Appends items until there are none left or the buffer has `limit` bytes. True when none are left.
    fn fill(
        &mut self,
        iter: &mut ListIter,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<bool, StatusError> {
        while out.len() < limit {
            let Some(entry) = iter.next_ref() else {
                return Ok(true);
            };
            self.item(entry, out)?;
        }
        Ok(false)
    }

    fn message_length(&self, entry: &Entry) -> Result<usize, StatusError> {
        if !matches!(self.shape.items, Items::Metadata(_)) {
            return self.resource.served_len(entry);
        }
        entry.with_value(|value| {
            let served = self.resource.served(value, entry.resource_version())?;
            let mut buffer = Vec::new();
            let raw = served.contiguous(&mut buffer);
            Ok(encode::partial_metadata(self.shape.form, raw).len())
        })
    }

    fn item(&mut self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), StatusError> {
        let Self {
            resource,
            shape,
            converted,
        } = self;
        let version = entry.resource_version();
        if let Some(converted) = converted {
            return match converted.next().flatten() {
                Some(object) => {
                    let served = Served::Made(resource::raw_of(object.value()));
                    shape.put(&served, || Ok(object), out)
                }
                None => Ok(()),
            };
        }
        // Most are written from where they are.
        let written = entry.with_pieces(|pieces| {
            let served = resource.served_pieces(pieces, version)?;
            let hub = || resource.decode_stored(&pieces.concat(), version);
            Some(shape.put(&served, hub, out))
        });
        if let Some(written) = written.flatten() {
            return written;
        }
        entry.with_value(|value| {
            let served = resource.served(value, version)?;
            shape.put(&served, || resource.decode_stored(value, version), out)
        })
    }
}

impl Shape {
    /// Appends an item. Rows need its hub.
    fn put(
        &mut self,
        served: &Served<'_>,
        hub: impl FnOnce() -> Result<Object, StatusError>,
        out: &mut Vec<u8>,
    ) -> Result<(), StatusError> {
        if self.protobuf {
            match &self.items {
                Items::Metadata(_) => {
                    let raw = served.contiguous(&mut self.scratch);
                    wire::put_bytes(out, 2, &encode::partial_metadata(self.form, raw));
                }
                _ => {
                    wire::put_header(out, 2, served.len());
                    served.write(out);
                }
            }
            return Ok(());
        }
        if !std::mem::take(&mut self.first) {
            out.push(b',');
        }
        let raw = served.contiguous(&mut self.scratch);
        match &mut self.items {
            // Items of a list carry no kind, as Go's structs do not.
            Items::Objects(form, transcoder) => encode::json_item(*form, transcoder, raw, out),
            Items::Metadata(form) => {
                let partial = encode::partial_metadata(self.form, raw);
                encode::json(*form, &partial, out)
            }
            Items::Rows(rows) => {
                let hub = hub()?;
                rows.row(raw, hub.value(), hub.metadata(), out)
            }
        }
    }
}

/// The rest of a long list, encoded as fast as it is read.
struct ListProducer {
    iter: ListIter,
    writer: ListWriter,
    pending: Vec<u8>,
    tail: Option<Vec<u8>>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    _seats: Option<WhileSent>,
}

impl Producer for ListProducer {
    fn next(&mut self) -> Result<Option<Bytes>, component_base::Error> {
        while self.tail.is_some() || !self.pending.is_empty() {
            let mut chunk = std::mem::take(&mut self.pending);
            if self.tail.is_some() {
                // The last object goes over the limit.
                chunk.reserve((PIECE + PIECE / 8).saturating_sub(chunk.len()));
                match self.writer.fill(&mut self.iter, &mut chunk, PIECE) {
                    Ok(true) => chunk.extend(self.tail.take().unwrap_or_default()),
                    Ok(false) => {}
                    // The status line is long gone: all that is left is to break off.
                    Err(error) => return Err(error.message.clone().into()),
                }
            }
            if self.gzip.is_none() && chunk.len() > PIECE {
                self.pending = chunk.split_off(PIECE);
            }
            if let Some(encoder) = &mut self.gzip {
                encoder.write_all(&chunk)?;
                chunk = std::mem::take(encoder.get_mut());
                if self.tail.is_none()
                    && let Some(encoder) = self.gzip.take()
                {
                    chunk.extend(encoder.finish()?);
                }
            }
            if !chunk.is_empty() {
                return Ok(Some(chunk.into()));
            }
        }
        Ok(None)
    }
}
