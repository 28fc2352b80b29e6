//! Turns a protobuf message into JSON with the tables alone, without building the object. The bytes equal those of
//! decoding and encoding again; LIST in JSON from stored protobuf spends its time here.

mod beside;
mod plan;
mod stream;
mod values;

use super::json_write::{empty_list, write_header};
use super::proto_read::{Payload, Records, error, read_micro_time, read_time, too_deep};
use super::{DecodeError, Header, MAX_TYPED_DEPTH};
use crate::schema::{FieldSchema, JsonForm, Omit, StructSchema, TypeRef};
use beside::{Beside, Companion, Reference};
use plan::{Plan, Shape};
use values::is_packable;

pub use beside::ListTranscoder;

/// Appends the JSON of a protobuf message to `out`. A kind gets `header` at its top, or its type's own names without
/// one. On an error `out` may hold half an object.
pub fn transcode_protobuf_to_json(
    schema: &'static StructSchema,
    raw: &[u8],
    header: Option<Header<'_>>,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let mut transcoder = Transcoder::new();
    let plan = Plan::of(schema);
    let Some(name) = schema.kind else {
        return transcoder.message(plan, raw, 0, Beside::Nothing, out);
    };
    let header = header.unwrap_or(Header {
        api_version: name.api_version,
        kind: name.kind,
    });
    out.push(b'{');
    let mut first = true;
    write_header(header.kind, header.api_version, &mut first, out);
    transcoder.fields(plan, raw, 1, &mut first, 0, Beside::Nothing, out)?;
    out.push(b'}');
    Ok(())
}

/// As [`transcode_protobuf_to_json`], without apiVersion and kind: an item of a list.
pub fn transcode_protobuf_to_json_item(
    schema: &'static StructSchema,
    raw: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    transcode_item(schema, raw, Transcoder::new(), Beside::Nothing, out).map(|_| ())
}

fn transcode_item<'a>(
    schema: &'static StructSchema,
    raw: &'a [u8],
    mut transcoder: Transcoder<'a>,
    beside: Beside,
    out: &mut Vec<u8>,
) -> Result<Transcoder<'a>, DecodeError> {
    let plan = Plan::of(schema);
    if schema.kind.is_none() {
        transcoder.message(plan, raw, 0, beside, out)?;
    } else {
        out.push(b'{');
        transcoder.fields(plan, raw, 1, &mut true, 0, beside, out)?;
        out.push(b'}');
    }
    Ok(transcoder)
}

/// How many fields of a struct have a bit.
const BITS: usize = 128;

/// One record of a message being read.
#[derive(Clone, Copy)]
struct Record<'a> {
    /// Index of its field.
    field: usize,
    payload: Payload<'a>,
}

/// The records of one field: a range of places in `Transcoder::records`, empty for an absent field.
#[derive(Clone, Copy)]
struct Run {
    start: usize,
    end: usize,
}

impl Run {
    fn is_absent(self) -> bool {
        self.start == self.end
    }
}

struct Transcoder<'a> {
    /// Records of all messages that are open, innermost last; those of one message in the order of its fields.
    records: Vec<Record<'a>>,
    /// The object that others are written beside; empty where there is none.
    reference: Reference,
}

/// The bytes of a singular message field. Protobuf lets one come in pieces, which then are one message.
enum Merged<'a> {
    Whole(&'a [u8]),
    Joined(Vec<u8>),
}

/// The fields of a struct that may have something in JSON without a record, ascending.
struct Unrecorded {
    bits: u128,
    /// Fields without a bit are looked at one by one.
    beyond: std::ops::Range<usize>,
}

impl Unrecorded {
    fn new(schema: &StructSchema, from: usize) -> Self {
        Unrecorded {
            bits: schema.written_when_absent >> from << from,
            beyond: BITS..schema.fields.len(),
        }
    }

    fn peek(&self) -> usize {
        if self.bits != 0 {
            self.bits.trailing_zeros() as usize
        } else if self.beyond.is_empty() {
            usize::MAX
        } else {
            self.beyond.start
        }
    }

    fn advance(&mut self) {
        if self.bits != 0 {
            self.bits &= self.bits - 1;
        } else {
            self.beyond.next();
        }
    }
}

/// Finds the fields of a message's records, and notes whether they come in the order of the struct's fields.
struct Order {
    plan: &'static Plan,
    hint: usize,
    last: usize,
    kept: bool,
}

impl Order {
    fn new(plan: &'static Plan) -> Self {
        Order {
            plan,
            hint: 0,
            last: 0,
            kept: true,
        }
    }

    /// The index of the field with a tag; None where there is no such field.
    #[inline(always)]
    fn field(&mut self, tag: u32) -> Option<usize> {
        let field = self.plan.field_of(tag, &mut self.hint)?;
        self.kept &= self.last <= field;
        self.last = field;
        Some(field)
    }
}

impl<'a> Transcoder<'a> {
    fn new() -> Self {
        Transcoder {
            records: Vec::with_capacity(128),
            reference: Reference::default(),
        }
    }

    fn message(
        &mut self,
        plan: &'static Plan,
        raw: &'a [u8],
        depth: usize,
        beside: Beside,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        match plan.schema.json_form {
            JsonForm::Object => {
                out.push(b'{');
                let mut first = true;
                self.fields(plan, raw, 0, &mut first, depth, beside, out)?;
                out.push(b'}');
                Ok(())
            }
            JsonForm::Custom => Err(error("custom objects have no protobuf form")),
            // The second field wins where it is there: the list, or the schema of SchemaOrBool.
            _ => {
                let all = self.read(plan, raw, depth)?;
                let second = self.run(all, 1);
                let (index, run) = if second.is_absent() {
                    (0, self.run(all, 0))
                } else {
                    (1, second)
                };
                self.field_value(&plan.fields[index], run, b"null", depth + 1, out)?;
                self.records.truncate(all.start);
                Ok(())
            }
        }
    }

    /// Reads a message's records and puts them in the order of its fields; the order on the wire stays that of one field's.
    fn read(
        &mut self,
        plan: &'static Plan,
        raw: &'a [u8],
        depth: usize,
    ) -> Result<Run, DecodeError> {
        if depth > MAX_TYPED_DEPTH {
            return Err(too_deep());
        }
        let start = self.records.len();
        let mut order = Order::new(plan);
        let mut records = Records::new(raw);
        loop {
            // The payload is made where it is stored.
            if let Some((tag, bytes)) = records.read_bytes() {
                if let Some(field) = order.field(tag) {
                    let payload = Payload::Bytes(bytes);
                    self.records.push(Record { field, payload });
                }
            } else if let Some((tag, number)) = records.read_number() {
                if let Some(field) = order.field(tag) {
                    let payload = Payload::Varint(number);
                    self.records.push(Record { field, payload });
                }
            } else if let Some(record) = records.next() {
                let (tag, payload) = record?;
                if let Some(field) = order.field(tag) {
                    self.records.push(Record { field, payload });
                }
            } else {
                break;
            }
        }
        if !order.kept {
            self.records[start..].sort_by_key(|record| record.field);
        }
        Ok(Run {
            start,
            end: self.records.len(),
        })
    }

    /// The records of a field among those of its message.
    fn run(&self, all: Run, field: usize) -> Run {
        let records = &self.records[all.start..all.end];
        Run {
            start: all.start + records.partition_point(|record| record.field < field),
            end: all.start + records.partition_point(|record| record.field <= field),
        }
    }

    /// Writes the fields of a message from the one at `from` on.
    #[expect(clippy::too_many_arguments, reason = "of one walk")]
    fn fields(
        &mut self,
        plan: &'static Plan,
        raw: &'a [u8],
        from: usize,
        first: &mut bool,
        depth: usize,
        beside: Beside,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        if depth > MAX_TYPED_DEPTH {
            return Err(too_deep());
        }
        if !matches!(beside, Beside::Nothing)
            && plan.can_be_streamed()
            && self.fields_beside(plan, raw, from, first, depth, beside, out)
        {
            return Ok(());
        }
        if plan.may_be_ordered() {
            let (start, was_first, records) = (out.len(), *first, self.records.len());
            let nobody = Companion::Nobody;
            if self.stream::<false>(plan, raw, from, first, depth, nobody, out)? {
                return Ok(());
            }
            out.truncate(start);
            *first = was_first;
            self.records.truncate(records);
            plan.was_disordered();
        }
        self.sorted(plan, raw, from, first, depth, out)
    }

    /// Writes the fields of a message whose records come in another order.
    fn sorted(
        &mut self,
        plan: &'static Plan,
        raw: &'a [u8],
        from: usize,
        first: &mut bool,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let all = self.read(plan, raw, depth)?;
        let mut at = all.start;
        while at < all.end && self.records[at].field < from {
            at += 1;
        }
        let mut unrecorded = Unrecorded::new(plan.schema, from);
        loop {
            let start = at;
            let mut index = unrecorded.peek();
            if at < all.end && self.records[at].field <= index {
                if self.records[at].field == index {
                    unrecorded.advance();
                }
                index = self.records[at].field;
                while at < all.end && self.records[at].field == index {
                    at += 1;
                }
            } else if index == usize::MAX {
                break;
            } else {
                unrecorded.advance();
            }
            self.field(plan, index, Run { start, end: at }, first, depth + 1, out)?;
        }
        self.records.truncate(all.start);
        Ok(())
    }

    /// Writes a field with its key, unless JSON leaves it out.
    #[inline]
    fn field(
        &mut self,
        plan: &'static Plan,
        index: usize,
        run: Run,
        first: &mut bool,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let planned = &plan.fields[index];
        if let [record] = &self.records[run.start..run.end] {
            match (planned.shape, record.payload) {
                (Shape::Text | Shape::TextOrNothing, Payload::Bytes(bytes)) => {
                    planned.write_text(bytes, first, out);
                    return Ok(());
                }
                (Shape::Number | Shape::NumberOrNothing, Payload::Varint(number)) => {
                    return planned.write_number(number, first, out);
                }
                (Shape::Struct, Payload::Bytes(raw)) => {
                    planned.write_key(first, out);
                    return self.message(planned.of_struct()?, raw, depth, Beside::Nothing, out);
                }
                _ => {}
            }
        }
        let field = planned.field;
        if field.inline {
            let Some(inner) = planned.inner() else {
                return Ok(());
            };
            return match self.merged(run, field)? {
                Merged::Whole(raw) => {
                    self.fields(inner, raw, 0, first, depth, Beside::Nothing, out)
                }
                Merged::Joined(raw) => {
                    let beside = Beside::Nothing;
                    Transcoder::new().fields(inner, &raw, 0, first, depth, beside, out)
                }
            };
        }
        if field.json.is_empty() {
            return Ok(());
        }
        let left_out = match field.omit {
            Omit::Never => false,
            Omit::Empty => self.is_empty(field, run)?,
            Omit::Zero => self.is_zero(field, run)?,
        };
        if left_out {
            return Ok(());
        }
        planned.write_key(first, out);
        self.field_value(planned, run, empty_list(plan.schema, index), depth, out)
    }

    fn merged(&self, run: Run, field: &FieldSchema) -> Result<Merged<'a>, DecodeError> {
        match &self.records[run.start..run.end] {
            [] => Ok(Merged::Whole(&[])),
            [one] => one.payload.bytes(field.go).map(Merged::Whole),
            several => {
                let mut joined = Vec::new();
                for record in several {
                    joined.extend_from_slice(record.payload.bytes(field.go)?);
                }
                Ok(Merged::Joined(joined))
            }
        }
    }

    fn last(&self, run: Run) -> Option<Payload<'a>> {
        self.records[run.start..run.end]
            .last()
            .map(|record| record.payload)
    }

    #[inline]
    fn is_empty(&self, field: &FieldSchema, run: Run) -> Result<bool, DecodeError> {
        let Some(payload) = self.last(run) else {
            // Structs and types that marshal themselves are never empty, not even when absent.
            return Ok(!matches!(
                field.ty,
                TypeRef::Struct(_)
                    | TypeRef::Quantity
                    | TypeRef::Time
                    | TypeRef::MicroTime
                    | TypeRef::Duration
                    | TypeRef::TimeOrMetaDuration
                    | TypeRef::IntOrString
                    | TypeRef::RawExtension
                    | TypeRef::FieldsV1
                    | TypeRef::Json
            ));
        };
        Ok(match &field.ty {
            TypeRef::String | TypeRef::Bytes => payload.bytes(field.go)?.is_empty(),
            TypeRef::Bool | TypeRef::Int64 => payload.varint(field.go)? == 0,
            TypeRef::Int32 | TypeRef::Uint32 => payload.varint(field.go)? as u32 == 0,
            TypeRef::Float64 => {
                matches!(payload, Payload::Fixed64(bits) if f64::from_bits(bits) == 0.0)
            }
            TypeRef::WrappedList(_) => !self.any_item(run, field)?,
            // A list of numbers may be one packed record without any number in it.
            TypeRef::List(item) => is_packable(item) && self.all_packed_empty(run),
            _ => false,
        })
    }

    fn all_packed_empty(&self, run: Run) -> bool {
        self.records[run.start..run.end]
            .iter()
            .all(|record| matches!(record.payload, Payload::Bytes(bytes) if bytes.is_empty()))
    }

    fn any_item(&self, run: Run, field: &FieldSchema) -> Result<bool, DecodeError> {
        for record in &self.records[run.start..run.end] {
            for inner in Records::new(record.payload.bytes(field.go)?) {
                if inner?.0 == 1 {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn is_zero(&self, field: &FieldSchema, run: Run) -> Result<bool, DecodeError> {
        match (&field.ty, self.last(run)) {
            (_, None) => Ok(true),
            (TypeRef::Time, Some(payload)) => Ok(read_time(payload.bytes(field.go)?)?.is_zero()),
            (TypeRef::MicroTime, Some(payload)) => {
                Ok(read_micro_time(payload.bytes(field.go)?)?.is_zero())
            }
            _ => self.is_empty(field, run),
        }
    }
}
