//! One line of log. Upstream: klog/v2/internal/serialize, component-base/logs/json.

use std::fmt::Write as _;

use apimachinery::quote::quote;
use tracing::Level;
use tracing::field::{Field, Visit};

/// A field's value, kept as it is written: quoted texts and bare numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FieldValue {
    Text(String),
    /// Numbers, booleans, lists: the same in text and JSON, or close to it.
    Bare(String),
}

/// Message and fields of an event or a span.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    /// The event's own say about its verbosity.
    pub(super) verbosity: Option<u32>,
    pub(super) values: Vec<(&'static str, FieldValue)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: FieldValue) {
        let name = match field.name() {
            "message" => {
                let (FieldValue::Text(text) | FieldValue::Bare(text)) = value;
                self.message = text;
                return;
            }
            "error" => "err",
            // A raw identifier where the key is a word of Rust (`r#type`).
            name => name.strip_prefix("r#").unwrap_or(name),
        };
        self.values.push((name, value));
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, FieldValue::Bare(value.to_string()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        match (field.name(), u32::try_from(value)) {
            ("v", Ok(level)) => self.verbosity = Some(level),
            _ => self.add(field, FieldValue::Bare(value.to_string())),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match (field.name(), u32::try_from(value)) {
            ("v", Ok(level)) => self.verbosity = Some(level),
            _ => self.add(field, FieldValue::Bare(value.to_string())),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, FieldValue::Bare(value.to_string()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, FieldValue::Text(value.to_owned()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, FieldValue::Text(crate::Chain(value).to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        // `%value` and `?value` look the same here. What is clearly a list, a struct, a number or already quoted stays as it
        // is; everything else is text.
        let bare = text.starts_with(['"', '[', '{'])
            || text.ends_with(['}', ')'])
            || (!text.is_empty() && text.parse::<f64>().is_ok())
            || matches!(text.as_str(), "true" | "false" | "None");
        self.add(
            field,
            // An error's text may end in any character and stays text.
            if bare && !matches!(field.name(), "message" | "error") {
                FieldValue::Bare(text)
            } else {
                FieldValue::Text(text)
            },
        );
    }
}

/// Everything a line is made of.
pub(super) struct Line<'a> {
    pub(super) level: Level,
    pub(super) verbosity: u32,
    pub(super) file: &'a str,
    pub(super) line: u32,
    /// Whether the event itself has fields: then the message is quoted.
    pub(super) structured: bool,
    pub(super) fields: &'a Fields,
}

impl Line<'_> {
    /// `I1120 14:58:10.123456   12345 file.rs:12] "msg" key="value"`.
    pub(super) fn text(&self) -> String {
        let severity = match self.level {
            Level::ERROR => 'E',
            Level::WARN => 'W',
            _ => 'I',
        };
        let now = jiff::Zoned::now();
        let mut out = String::with_capacity(160);
        let _ = write!(
            out,
            "{severity}{:02}{:02} {:02}:{:02}:{:02}.{:06} {:>7} {}:{}] ",
            now.month(),
            now.day(),
            now.hour(),
            now.minute(),
            now.second(),
            now.subsec_nanosecond() / 1000,
            std::process::id(),
            self.file,
            self.line
        );
        if self.structured {
            out.push_str(&quote(&self.fields.message));
        } else {
            out.push_str(&self.fields.message);
        }
        for (name, value) in &self.fields.values {
            match value {
                FieldValue::Text(text) if text.contains('\n') => {
                    // klog writes texts of several lines as a block.
                    let _ = write!(out, " {name}=<");
                    for line in text.trim_end_matches('\n').split('\n') {
                        let _ = write!(out, "\n\t{line}");
                    }
                    out.push_str("\n >");
                }
                FieldValue::Text(text) => {
                    let _ = write!(out, " {name}={}", quote(text));
                }
                FieldValue::Bare(text) => {
                    let _ = write!(out, " {name}={text}");
                }
            }
        }
        out.push('\n');
        out
    }

    /// One JSON object with `ts` in milliseconds, `caller`, `msg`, and `v` for lines that are not errors.
    pub(super) fn json(&self) -> String {
        let now = jiff::Timestamp::now();
        let mut out = String::with_capacity(200);
        let _ = write!(
            out,
            "{{\"ts\":{}.{:04},\"caller\":{},\"msg\":{}",
            now.as_millisecond(),
            now.subsec_nanosecond().unsigned_abs() % 1_000_000 / 100,
            json_text(&format!("{}:{}", self.file, self.line)),
            json_text(&self.fields.message)
        );
        if self.level != Level::ERROR {
            let _ = write!(out, ",\"v\":{}", self.verbosity);
        }
        for (name, value) in &self.fields.values {
            let _ = match value {
                FieldValue::Bare(text) if is_json_scalar(text) => {
                    write!(out, ",{}:{text}", json_text(name))
                }
                FieldValue::Text(text) | FieldValue::Bare(text) => {
                    write!(out, ",{}:{}", json_text(name), json_text(text))
                }
            };
        }
        out.push_str("}\n");
        out
    }
}

fn is_json_scalar(text: &str) -> bool {
    matches!(text, "true" | "false")
        || (text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
            && serde_json::from_str::<f64>(text).is_ok())
}

fn json_text(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}
