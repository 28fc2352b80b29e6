//! JSON decoding, as sigs.k8s.io/json does it: case-sensitive keys, `null` leaves a zero value, the first type error is
//! reported after the whole text was read, unknown and duplicate fields are collected with their paths on request.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::json_scan::{Scanner, compact};
use super::{DecodeError, FieldProblem, FieldProblemKind, MAX_TYPED_DEPTH};
use crate::custom::CustomObject;
use crate::schema::{JsonForm, StructSchema};
use crate::special::{Duration, IntOrString, JSON, MicroTime, Quantity, Time};
use crate::value::{Described, ListView, MapView, Struct, Value, ViewMut, clear};

/// Findings beyond this number are dropped, as upstream does.
const MAX_PROBLEMS: usize = 100;

/// Decodes JSON; fields that the type does not have are dropped.
pub fn decode_json<T: Described>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut value = T::default();
    Decoder::new(bytes, false).run(&mut value)?;
    Ok(value)
}

/// Decodes JSON into a value that is zero, or over one that is not.
pub fn decode_json_into(value: &mut dyn Struct, bytes: &[u8]) -> Result<(), DecodeError> {
    Decoder::new(bytes, false).run(value).map(drop)
}

/// Decodes JSON and reports unknown and duplicate fields.
pub fn decode_json_reporting<T: Described>(
    bytes: &[u8],
) -> Result<(T, Vec<FieldProblem>), DecodeError> {
    let mut value = T::default();
    let problems = Decoder::new(bytes, true).run(&mut value)?;
    Ok((value, problems))
}

/// Like [`decode_json_reporting`], for a value whose type is known at run time only.
pub fn decode_json_reporting_into(
    value: &mut dyn Struct,
    bytes: &[u8],
) -> Result<Vec<FieldProblem>, DecodeError> {
    Decoder::new(bytes, true).run(value)
}

enum Segment<'a> {
    Field(&'static str),
    Key(Cow<'a, str>),
    Index(usize),
}

/// Why decoding of a value stopped.
enum Stop {
    /// Broken syntax.
    Syntax(DecodeError),
    /// A type's own reader refused the value; upstream gives up at once, though only after checking the syntax.
    Refused(String),
}

impl From<DecodeError> for Stop {
    fn from(err: DecodeError) -> Self {
        Stop::Syntax(err)
    }
}

struct Decoder<'a> {
    scan: Scanner<'a>,
    reporting: bool,
    problems: Vec<FieldProblem>,
    /// Where the cursor is, for findings.
    path: Vec<Segment<'a>>,
    /// Name of the struct whose field is being read, and the names of fields down to it, for type errors.
    owner: &'static str,
    fields: Vec<&'static str>,
    first_error: Option<String>,
    depth: usize,
}

impl<'a> Decoder<'a> {
    fn new(data: &'a [u8], reporting: bool) -> Self {
        Decoder {
            scan: Scanner::new(data),
            reporting,
            problems: Vec::new(),
            path: Vec::new(),
            owner: "",
            fields: Vec::new(),
            first_error: None,
            depth: 0,
        }
    }

    fn run(mut self, value: &mut dyn Struct) -> Result<Vec<FieldProblem>, DecodeError> {
        let name = value.schema().name;
        let result = match value.schema().json_form {
            JsonForm::Object | JsonForm::Custom => self.top(value),
            _ => self.struct_value(value, name),
        };
        match result.and_then(|()| self.scan.end().map_err(Stop::Syntax)) {
            Ok(()) => {}
            Err(Stop::Syntax(err)) => return Err(err),
            Err(Stop::Refused(message)) => {
                // Syntax errors further on come first, as upstream checks the whole text before it decodes.
                let mut check = Scanner::new(self.scan.data);
                check.skip_value(0)?;
                check.end()?;
                return Err(DecodeError::Value(message));
            }
        }
        match self.first_error {
            Some(message) => Err(DecodeError::Value(message)),
            None => Ok(self.problems),
        }
    }

    fn top(&mut self, value: &mut dyn Struct) -> Result<(), Stop> {
        let schema = value.schema();
        match self.scan.peek() {
            Some(b'{') => self.object_fields(value),
            Some(b'n') => Ok(self.scan.word("null")?),
            _ => {
                let package = schema.package.rsplit('/').next().unwrap_or_default();
                self.mismatch(&format!("{package}.{}", schema.name))
            }
        }
    }

    /// Skips a value and records that it has the wrong type.
    fn mismatch(&mut self, go_type: &str) -> Result<(), Stop> {
        let what = match self.scan.peek() {
            Some(b'{') => "object",
            Some(b'[') => "array",
            Some(b'"') => "string",
            Some(b't' | b'f') => "bool",
            _ => "number",
        };
        self.scan.skip_value(self.depth)?;
        self.type_error(what, go_type);
        Ok(())
    }

    #[cold]
    fn type_error(&mut self, what: &str, go_type: &str) {
        if self.first_error.is_some() {
            return;
        }
        self.first_error = Some(self.type_error_text(what, go_type.trim_start_matches('*')));
    }

    fn type_error_text(&self, what: &str, go_type: &str) -> String {
        if self.owner.is_empty() {
            return format!("json: cannot unmarshal {what} into Go value of type {go_type}");
        }
        let path = self.fields.join(".");
        format!(
            "json: cannot unmarshal {what} into Go struct field {}.{path} of type {go_type}",
            self.owner
        )
    }

    /// The error of a type that reads itself with Go's plain decoder. Where it was met is filled in all the same.
    #[cold]
    fn own_mismatch(&self, raw: &[u8], go_type: &str) -> Stop {
        let what = match raw.first() {
            Some(b'{') => "object".to_string(),
            Some(b'[') => "array".to_string(),
            Some(b'"') => "string".to_string(),
            Some(b't' | b'f') => "bool".to_string(),
            _ if go_type == "string" => "number".to_string(),
            _ => format!("number {}", String::from_utf8_lossy(raw)),
        };
        Stop::Refused(self.type_error_text(&what, go_type))
    }

    fn own_int(&self, raw: &[u8], go_type: &str) -> Result<i64, Stop> {
        if raw == b"null" {
            return Ok(0);
        }
        std::str::from_utf8(raw)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| self.own_mismatch(raw, go_type))
    }

    #[cold]
    fn problem(&mut self, kind: FieldProblemKind, key: &str) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let mut path = String::new();
        for segment in &self.path {
            match segment {
                Segment::Index(index) => path.push_str(&format!("[{index}]")),
                Segment::Field(name) => push_name(&mut path, name),
                Segment::Key(name) => push_name(&mut path, name),
            }
        }
        push_name(&mut path, key);
        let problem = FieldProblem { kind, path };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Reads any value. Only what recurses is here: the frame of this function is what bounds the nesting.
    fn value(&mut self, value: &mut dyn Value, go_type: &'static str) -> Result<(), Stop> {
        let next = self.scan.peek();
        match value.view_mut() {
            ViewMut::Pointer(pointer) => {
                if next == Some(b'n') {
                    self.scan.word("null")?;
                    pointer.clear();
                    return Ok(());
                }
                self.value(
                    pointer.get_or_default(),
                    go_type.strip_prefix('*').unwrap_or(go_type),
                )
            }
            ViewMut::Struct(target) => self.struct_value(target, go_type),
            ViewMut::List(target) if next == Some(b'[') => self.list(target, go_type),
            ViewMut::Map(target) if next == Some(b'{') => self.map(target, go_type),
            ViewMut::StringMap(target) if next == Some(b'{') => self.map(target, go_type),
            other => self.leaf(other, next, go_type),
        }
    }

    #[inline(never)]
    fn leaf(
        &mut self,
        target: ViewMut<'_>,
        next: Option<u8>,
        go_type: &'static str,
    ) -> Result<(), Stop> {
        match target {
            ViewMut::String(target) => match next {
                Some(b'"') => {
                    *target = self.scan.string()?.into_owned();
                    Ok(())
                }
                _ => self.null_or_mismatch(next, go_type),
            },
            ViewMut::Bool(target) => match next {
                Some(b't') => {
                    self.scan.word("true")?;
                    *target = true;
                    Ok(())
                }
                Some(b'f') => {
                    self.scan.word("false")?;
                    *target = false;
                    Ok(())
                }
                _ => self.null_or_mismatch(next, go_type),
            },
            ViewMut::Int32(target) => {
                if let Some(number) = self.number(next, go_type)? {
                    match number.parse() {
                        Ok(number) => *target = number,
                        Err(_) => self.type_error(&format!("number {number}"), go_type),
                    }
                }
                Ok(())
            }
            ViewMut::Int64(target) => {
                if let Some(number) = self.number(next, go_type)? {
                    match number.parse() {
                        Ok(number) => *target = number,
                        Err(_) => self.type_error(&format!("number {number}"), go_type),
                    }
                }
                Ok(())
            }
            ViewMut::Uint32(target) => {
                if let Some(number) = self.number(next, go_type)? {
                    match number.parse() {
                        Ok(number) => *target = number,
                        Err(_) => self.type_error(&format!("number {number}"), go_type),
                    }
                }
                Ok(())
            }
            ViewMut::Float64(target) => {
                if let Some(number) = self.number(next, go_type)? {
                    match number.parse::<f64>() {
                        Ok(number) if number.is_finite() => *target = number,
                        _ => self.type_error(&format!("number {number}"), go_type),
                    }
                }
                Ok(())
            }
            ViewMut::Float32(target) => {
                if let Some(number) = self.number(next, go_type)? {
                    match number.parse::<f32>() {
                        Ok(number) if number.is_finite() => *target = number,
                        _ => self.type_error(&format!("number {number}"), go_type),
                    }
                }
                Ok(())
            }
            ViewMut::Bytes(target) => match next {
                Some(b'"') => {
                    let text = self.scan.string()?;
                    match decode_base64(text.as_bytes()) {
                        Ok(bytes) => target.0 = bytes,
                        Err(message) => {
                            self.first_error.get_or_insert(message);
                        }
                    }
                    Ok(())
                }
                Some(b'n') => {
                    self.scan.word("null")?;
                    target.0.clear();
                    Ok(())
                }
                Some(b'[') => self.byte_list(&mut target.0),
                _ => self.mismatch(go_type),
            },
            ViewMut::Quantity(target) => {
                let raw = self.scan.skip_value(self.depth)?;
                *target = read_quantity(raw).map_err(Stop::Refused)?;
                Ok(())
            }
            ViewMut::Time(target) => match self.special_text(next)? {
                Some(text) => {
                    *target = Time::parse(&text).map_err(|err| Stop::Refused(err.to_string()))?;
                    Ok(())
                }
                None => {
                    *target = Time::default();
                    Ok(())
                }
            },
            ViewMut::MicroTime(target) => match self.special_text(next)? {
                Some(text) => {
                    *target =
                        MicroTime::parse(&text).map_err(|err| Stop::Refused(err.to_string()))?;
                    Ok(())
                }
                None => {
                    *target = MicroTime::default();
                    Ok(())
                }
            },
            ViewMut::Duration(target) => {
                // `null` is empty text to Go here, which is no duration.
                let text = self.special_text(next)?.unwrap_or_default();
                *target = Duration::parse(&text).map_err(|err| Stop::Refused(err.to_string()))?;
                Ok(())
            }
            ViewMut::TimeOrMetaDuration(target) => {
                if next == Some(b'"') {
                    let text = self.scan.string()?;
                    target.duration =
                        Duration::parse(&text).map_err(|err| Stop::Refused(err.to_string()))?;
                    target.serialize_as_string = true;
                } else {
                    let raw = self.scan.skip_value(self.depth)?;
                    target.duration = Duration(self.own_int(raw, "time.Duration")?);
                    target.serialize_as_string = false;
                }
                Ok(())
            }
            ViewMut::IntOrString(target) => {
                if next == Some(b'"') {
                    *target = IntOrString::String(self.scan.string()?.into_owned());
                } else {
                    let raw = self.scan.skip_value(self.depth)?;
                    let number = self.own_int(raw, "int32")?;
                    let number =
                        i32::try_from(number).map_err(|_| self.own_mismatch(raw, "int32"))?;
                    *target = IntOrString::Int(number);
                }
                Ok(())
            }
            ViewMut::RawJson(target) => {
                let raw = self.scan.skip_value(self.depth)?;
                target.clear();
                if raw != b"null" {
                    target.extend_from_slice(raw);
                }
                Ok(())
            }
            ViewMut::List(target) if next == Some(b'n') => {
                self.scan.word("null")?;
                target.clear();
                Ok(())
            }
            ViewMut::StringMap(target) if next == Some(b'n') => {
                self.scan.word("null")?;
                target.clear();
                Ok(())
            }
            ViewMut::Map(target) if next == Some(b'n') => {
                self.scan.word("null")?;
                target.clear();
                Ok(())
            }
            ViewMut::List(_)
            | ViewMut::StringMap(_)
            | ViewMut::Map(_)
            | ViewMut::Struct(_)
            | ViewMut::Pointer(_) => self.mismatch(go_type),
        }
    }

    fn null_or_mismatch(&mut self, next: Option<u8>, go_type: &str) -> Result<(), Stop> {
        match next {
            Some(b'n') => Ok(self.scan.word("null")?),
            _ => self.mismatch(go_type),
        }
    }

    fn number(&mut self, next: Option<u8>, go_type: &str) -> Result<Option<&'a str>, Stop> {
        match next {
            Some(b'-' | b'0'..=b'9') => Ok(Some(self.scan.number()?)),
            _ => self.null_or_mismatch(next, go_type).map(|()| None),
        }
    }

    /// Bytes as a list of numbers, which Go takes besides base64: it is how serde writes them, so webhooks in Rust send it.
    fn byte_list(&mut self, target: &mut Vec<u8>) -> Result<(), Stop> {
        self.enter()?;
        target.clear();
        self.scan.at += 1;
        if self.scan.peek() != Some(b']') {
            loop {
                let next = self.scan.peek();
                let number = self.number(next, "uint8")?;
                target.push(match number.map(str::parse) {
                    Some(Ok(byte)) => byte,
                    Some(Err(_)) => {
                        let number = number.unwrap_or_default();
                        self.type_error(&format!("number {number}"), "uint8");
                        0
                    }
                    None => 0,
                });
                match self.scan.peek() {
                    Some(b',') => self.scan.at += 1,
                    Some(b']') => break,
                    _ => return Err(self.scan.unexpected("after array element").into()),
                }
            }
        }
        self.scan.at += 1;
        self.depth -= 1;
        Ok(())
    }

    /// Text for a type that reads itself from a string; `None` for null.
    fn special_text(&mut self, next: Option<u8>) -> Result<Option<Cow<'a, str>>, Stop> {
        match next {
            Some(b'"') => Ok(Some(self.scan.string()?)),
            Some(b'n') => {
                self.scan.word("null")?;
                Ok(None)
            }
            _ => {
                let raw = self.scan.skip_value(self.depth)?;
                Err(self.own_mismatch(raw, "string"))
            }
        }
    }

    fn struct_value(&mut self, target: &mut dyn Struct, go_type: &'static str) -> Result<(), Stop> {
        let next = self.scan.peek();
        match target.schema().json_form {
            JsonForm::Object | JsonForm::Custom => match next {
                Some(b'{') => self.object_fields(target),
                _ => self.null_or_mismatch(next, go_type),
            },
            // The alternatives read themselves upstream, from a copy of the text: strict findings and error context
            // begin anew inside, and strictness ends there.
            form => {
                let raw = self.scan.skip_value(self.depth)?;
                let mut inner = Decoder::new(raw, false);
                inner.depth = self.depth + 1;
                if inner.depth > MAX_TYPED_DEPTH {
                    return Err(Stop::Syntax(self.scan.too_deep()));
                }
                inner.alternative(target, form).map_err(|stop| match stop {
                    Stop::Syntax(err) => Stop::Refused(err.to_string()),
                    other => other,
                })?;
                match inner.first_error {
                    Some(message) => Err(Stop::Refused(message)),
                    None => Ok(()),
                }
            }
        }
    }

    fn alternative(&mut self, target: &mut dyn Struct, form: JsonForm) -> Result<(), Stop> {
        let next = self.scan.peek();
        let list = target.schema().fields[1].go_type;
        match (form, next) {
            (JsonForm::SchemaOrBool, Some(b'{')) => {
                if let ViewMut::Bool(allows) = target.get_mut(0).view_mut() {
                    *allows = true;
                }
                self.value(target.get_mut(1), "v1.JSONSchemaProps")
            }
            (JsonForm::SchemaOrBool, Some(b't' | b'f')) => self.value(target.get_mut(0), "bool"),
            (JsonForm::SchemaOrBool, _) => {
                Err(Stop::Refused("boolean or JSON schema expected".to_string()))
            }
            (_, Some(b'{')) => self.value(target.get_mut(0), "v1.JSONSchemaProps"),
            (_, Some(b'[')) => self.value(target.get_mut(1), list),
            // Anything else leaves it empty.
            _ => {
                clear(target.get_mut(0));
                clear(target.get_mut(1));
                Ok(self.scan.skip_value(self.depth).map(drop)?)
            }
        }
    }

    fn enter(&mut self) -> Result<(), Stop> {
        self.depth += 1;
        if self.depth > MAX_TYPED_DEPTH {
            return Err(Stop::Syntax(self.scan.too_deep()));
        }
        Ok(())
    }

    fn object_fields(&mut self, target: &mut dyn Struct) -> Result<(), Stop> {
        self.enter()?;
        let schema: &'static StructSchema = target.schema();
        let (owner, fields_len, path_len) = (self.owner, self.fields.len(), self.path.len());
        let mut seen: Vec<&'static str> = Vec::new();
        let mut hint = 0;
        self.scan.at += 1;
        if self.scan.peek() == Some(b'}') {
            self.scan.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            if self.scan.peek() != Some(b'"') {
                return Err(self
                    .scan
                    .unexpected("looking for beginning of object key string")
                    .into());
            }
            let key = self.scan.string()?;
            self.scan.colon()?;
            match schema.find_json_near(&key, &mut hint) {
                None if schema.json_form == JsonForm::Custom => self.custom_field(target, key)?,
                None => {
                    if self.reporting {
                        self.problem(FieldProblemKind::Unknown, &key);
                    }
                    self.scan.skip_value(self.depth)?;
                }
                Some((steps, field)) => {
                    if self.reporting {
                        // The same field has the same text, not just an equal one.
                        if seen.iter().any(|name| std::ptr::eq(*name, field.json)) {
                            self.problem(FieldProblemKind::Duplicate, field.json);
                        } else {
                            seen.push(field.json);
                        }
                        self.path.push(Segment::Field(field.json));
                    }
                    self.owner = schema.name;
                    self.follow(target, steps.steps(), field.json, field.go_type)?;
                    self.owner = owner;
                    self.fields.truncate(fields_len);
                    self.path.truncate(path_len);
                }
            }
            match self.scan.peek() {
                Some(b',') => self.scan.at += 1,
                Some(b'}') => break,
                _ => return Err(self.scan.unexpected("after object key:value pair").into()),
            }
        }
        self.scan.at += 1;
        self.depth -= 1;
        Ok(())
    }

    /// Keeps a field of a custom object as text. Of a key that comes twice the last value counts.
    fn custom_field(&mut self, target: &mut dyn Struct, key: Cow<'a, str>) -> Result<(), Stop> {
        let start = self.scan.at;
        let raw = self.scan.skip_value(self.depth)?;
        let Some(object) = target.downcast_mut::<CustomObject>() else {
            return Ok(());
        };
        let known = object.content.contains_key(&*key);
        object
            .content
            .insert(key.clone().into_owned(), JSON::new(compact(raw)));
        if self.reporting {
            let end = std::mem::replace(&mut self.scan.at, start);
            self.path.push(Segment::Key(key.clone()));
            self.repeated_keys()?;
            self.path.pop();
            self.scan.at = end;
            if known {
                self.problem(FieldProblemKind::Duplicate, &key);
            }
        }
        Ok(())
    }

    /// Goes through any value and reports the keys that an object in it has twice, but for what is too deep to be typed.
    fn repeated_keys(&mut self) -> Result<(), Stop> {
        let end = match self.scan.peek() {
            Some(b'{') if self.depth < MAX_TYPED_DEPTH => b'}',
            Some(b'[') if self.depth < MAX_TYPED_DEPTH => b']',
            _ => return Ok(self.scan.skip_value(self.depth).map(drop)?),
        };
        self.depth += 1;
        let mut seen: std::collections::BTreeSet<Cow<'a, str>> = Default::default();
        self.scan.at += 1;
        let mut index = 0;
        while self.scan.peek() != Some(end) {
            if end == b'}' {
                let key = self.scan.string()?;
                self.scan.colon()?;
                if seen.contains(&key) {
                    self.problem(FieldProblemKind::Duplicate, &key);
                }
                seen.insert(key.clone());
                self.path.push(Segment::Key(key));
            } else {
                self.path.push(Segment::Index(index));
                index += 1;
            }
            self.repeated_keys()?;
            self.path.pop();
            if self.scan.peek() == Some(b',') {
                self.scan.at += 1;
            }
        }
        self.scan.at += 1;
        self.depth -= 1;
        Ok(())
    }

    /// Reads the value of a field that may lie inside inlined structs.
    fn follow(
        &mut self,
        target: &mut dyn Struct,
        steps: &[u8],
        json: &'static str,
        go_type: &'static str,
    ) -> Result<(), Stop> {
        let index = usize::from(steps[0]);
        if steps.len() == 1 {
            self.fields.push(json);
            return self.value(target.get_mut(index), go_type);
        }
        self.fields.push(target.schema().fields[index].go);
        match target.get_mut(index).view_mut() {
            ViewMut::Struct(inner) => self.follow(inner, &steps[1..], json, go_type),
            _ => Ok(self.scan.skip_value(self.depth).map(drop)?),
        }
    }

    fn list(&mut self, target: &mut dyn ListView, go_type: &'static str) -> Result<(), Stop> {
        self.enter()?;
        let item_type = go_type.strip_prefix("[]").unwrap_or("string");
        let path_len = self.path.len();
        self.scan.at += 1;
        if self.scan.peek() == Some(b']') {
            self.scan.at += 1;
            target.clear();
            self.depth -= 1;
            return Ok(());
        }
        let mut index = 0;
        loop {
            if self.reporting {
                self.path.push(Segment::Index(index));
            }
            // Items are there already when the key came before: Go reads into them.
            if index < target.len() {
                self.value(target.item_mut(index), item_type)?;
            } else {
                self.value(target.push_default(), item_type)?;
            }
            self.path.truncate(path_len);
            index += 1;
            match self.scan.peek() {
                Some(b',') => self.scan.at += 1,
                Some(b']') => break,
                _ => return Err(self.scan.unexpected("after array element").into()),
            }
        }
        self.scan.at += 1;
        target.truncate(index);
        self.depth -= 1;
        Ok(())
    }

    fn map(&mut self, target: &mut dyn MapView, go_type: &'static str) -> Result<(), Stop> {
        self.enter()?;
        let value_type = go_type
            .strip_prefix("map[")
            .and_then(|rest| rest.split_once(']'))
            .map_or("resource.Quantity", |(_, value)| value);
        let path_len = self.path.len();
        let mut seen: std::collections::BTreeSet<String> = Default::default();
        self.scan.at += 1;
        if self.scan.peek() == Some(b'}') {
            self.scan.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            if self.scan.peek() != Some(b'"') {
                return Err(self
                    .scan
                    .unexpected("looking for beginning of object key string")
                    .into());
            }
            let key = self.scan.string()?;
            self.scan.colon()?;
            if self.reporting {
                if !seen.insert(key.to_string()) {
                    self.problem(FieldProblemKind::Duplicate, &key);
                }
                self.path.push(Segment::Key(key.clone()));
            }
            self.value(target.insert_default(key.into_owned()), value_type)?;
            self.path.truncate(path_len);
            match self.scan.peek() {
                Some(b',') => self.scan.at += 1,
                Some(b'}') => break,
                _ => return Err(self.scan.unexpected("after object key:value pair").into()),
            }
        }
        self.scan.at += 1;
        self.depth -= 1;
        Ok(())
    }
}

fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

fn read_quantity(raw: &[u8]) -> Result<Quantity, String> {
    if raw == b"null" {
        return Ok(Quantity::default());
    }
    let text = raw
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(raw);
    Quantity::parse(String::from_utf8_lossy(text).trim()).map_err(|err| err.to_string())
}

/// Standard base64 with padding; line breaks are ignored, as Go does.
fn decode_base64(text: &[u8]) -> Result<Vec<u8>, String> {
    let stripped: Vec<u8>;
    let text = if memchr::memchr2(b'\r', b'\n', text).is_some() {
        stripped = text
            .iter()
            .copied()
            .filter(|byte| !matches!(byte, b'\r' | b'\n'))
            .collect();
        &stripped
    } else {
        text
    };
    STANDARD.decode(text).map_err(|err| {
        let offset = match err {
            base64::DecodeError::InvalidByte(offset, _)
            | base64::DecodeError::InvalidLastSymbol(offset, _) => offset,
            base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                text.len() / 4 * 4
            }
        };
        format!("illegal base64 data at input byte {offset}")
    })
}
