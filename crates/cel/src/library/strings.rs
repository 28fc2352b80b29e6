//! Strings by code points. Upstream: ext/strings.go of cel-go, version 2.

use super::{format_string, int, list, text};
use crate::env::Function;
use crate::error::EvalError;
use crate::types::Type;
use crate::value::Value;

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let (string, int_type, strings) = (Type::String, Type::Int, Type::list(Type::String));
    let s = |count: usize| vec![Type::String; count];
    let with_int = |count: usize| [s(count), vec![Type::Int]].concat();
    vec![
        Function::new("charAt").member(
            "string_char_at_int",
            &with_int(1),
            string.clone(),
            |args| {
                let (text, index) = (text(args, 0)?, int(args, 1)?);
                let mut characters = usize::try_from(index).map(|index| text.chars().skip(index));
                match characters.as_mut().map(Iterator::next) {
                    Ok(Some(c)) => Ok(Value::from(c.to_string())),
                    Ok(None) if text.chars().count() as i64 == index => {
                        Ok(Value::from(String::new()))
                    }
                    _ => out_of_range(index),
                }
            },
        ),
        Function::new("indexOf")
            .member("string_index_of_string", &s(2), int_type.clone(), |args| {
                index_of(args, 0)
            })
            .member(
                "string_index_of_string_int",
                &with_int(2),
                int_type.clone(),
                |args| index_of(args, int(args, 2)?),
            ),
        Function::new("lastIndexOf")
            .member(
                "string_last_index_of_string",
                &s(2),
                int_type.clone(),
                |args| {
                    let (string, part) = (text(args, 0)?, text(args, 1)?);
                    let length = string.chars().count() as i64;
                    match (part.is_empty(), string.len() < part.len()) {
                        (true, _) => Ok(Value::Int(length)),
                        (_, true) => Ok(Value::Int(-1)),
                        _ => last_index_of(args, length - 1),
                    }
                },
            )
            .member(
                "string_last_index_of_string_int",
                &with_int(2),
                int_type,
                |args| last_index_of(args, int(args, 2)?),
            ),
        Function::new("lowerAscii").member("string_lower_ascii", &s(1), string.clone(), |args| {
            Ok(Value::from(text(args, 0)?.to_ascii_lowercase()))
        }),
        Function::new("upperAscii").member("string_upper_ascii", &s(1), string.clone(), |args| {
            Ok(Value::from(text(args, 0)?.to_ascii_uppercase()))
        }),
        Function::new("replace")
            .member(
                "string_replace_string_string",
                &s(3),
                string.clone(),
                |args| {
                    Ok(Value::from(
                        text(args, 0)?.replace(text(args, 1)?, text(args, 2)?),
                    ))
                },
            )
            .member(
                "string_replace_string_string_int",
                &with_int(3),
                string.clone(),
                |args| {
                    let (string, from, to) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
                    Ok(Value::from(match usize::try_from(int(args, 3)?) {
                        Ok(count) => string.replacen(from, to, count),
                        Err(_) => string.replace(from, to),
                    }))
                },
            ),
        Function::new("split")
            .member("string_split_string", &s(2), strings.clone(), |args| {
                split(args, -1)
            })
            .member(
                "string_split_string_int",
                &with_int(2),
                strings.clone(),
                |args| split(args, int(args, 2)?),
            ),
        Function::new("substring")
            .member(
                "string_substring_int",
                &with_int(1),
                string.clone(),
                |args| {
                    let (string, start) = (text(args, 0)?, int(args, 1)?);
                    match offset(string, start) {
                        Some(start) => Ok(Value::from(string[start..].to_owned())),
                        None => out_of_range(start),
                    }
                },
            )
            .member(
                "string_substring_int_int",
                &[string.clone(), Type::Int, Type::Int],
                string.clone(),
                substring,
            ),
        Function::new("trim").member("string_trim", &s(1), string.clone(), |args| {
            Ok(Value::from(text(args, 0)?.trim().to_owned()))
        }),
        Function::new("format").member(
            "string_format",
            &[string.clone(), Type::list(Type::Dyn)],
            string.clone(),
            |args| {
                format_string::format(text(args, 0)?, list(args, 1)?)
                    .map(Value::from)
                    .map_err(EvalError::new)
            },
        ),
        Function::new("strings.quote").global("strings_quote", &s(1), string.clone(), |args| {
            Ok(Value::from(quote(text(args, 0)?)))
        }),
        Function::new("join")
            .member(
                "list_join",
                std::slice::from_ref(&strings),
                string.clone(),
                |args| join(args, ""),
            )
            .member(
                "list_join_string",
                &[strings.clone(), string.clone()],
                string,
                |args| join(args, text(args, 1)?),
            ),
    ]
}

fn out_of_range<'a>(index: i64) -> Result<'a> {
    Err(EvalError::new(format!("index out of range: {index}")))
}

/// Where the code point with this number starts, in bytes; the end counts.
fn offset(text: &str, index: i64) -> Option<usize> {
    let index = usize::try_from(index).ok()?;
    let mut starts = text
        .char_indices()
        .map(|(start, _)| start)
        .chain([text.len()]);
    starts.nth(index)
}

fn index_of<'a>(args: &[Value<'a>], from: i64) -> Result<'a> {
    let (string, part) = (text(args, 0)?, text(args, 1)?);
    if part.is_empty() {
        return Ok(Value::Int(from));
    }
    if from < 0 {
        return out_of_range(from);
    }
    let found =
        offset(string, from).and_then(|start| string[start..].find(part).map(|at| start + at));
    Ok(Value::Int(
        found.map_or(-1, |at| string[..at].chars().count() as i64),
    ))
}

fn last_index_of<'a>(args: &[Value<'a>], from: i64) -> Result<'a> {
    let (string, part) = (text(args, 0)?, text(args, 1)?);
    if part.is_empty() {
        return Ok(Value::Int(from));
    }
    if from < 0 {
        return out_of_range(from);
    }
    if from >= string.chars().count() as i64 {
        return Ok(Value::Int(-1));
    }
    let start = offset(string, from).unwrap_or(string.len());
    let end = (start + part.len()).min(string.len());
    // Only matches that start at or before `from` count; the end must be where a character ends.
    let end = (end..=string.len())
        .find(|end| string.is_char_boundary(*end))
        .unwrap_or(string.len());
    let found = string[..end]
        .rmatch_indices(part)
        .map(|(at, _)| at)
        .chain(overlapping(string, part, end))
        .max();
    Ok(Value::Int(
        found.map_or(-1, |at| string[..at].chars().count() as i64),
    ))
}

/// The last match that ends by `end`, also where it overlaps a later one.
fn overlapping(string: &str, part: &str, end: usize) -> Option<usize> {
    (0..end)
        .rev()
        .find(|at| string.is_char_boundary(*at) && string[*at..end].starts_with(part))
}

fn split<'a>(args: &[Value<'a>], count: i64) -> Result<'a> {
    let (string, separator) = (text(args, 0)?, text(args, 1)?);
    let limit = usize::try_from(count).unwrap_or(usize::MAX);
    let mut parts: Vec<Value<'a>> = Vec::new();
    let own = |part: &str| Value::from(part.to_owned());
    if limit > 0 && separator.is_empty() {
        let mut rest = string;
        while let Some(c) = rest.chars().next() {
            if parts.len() + 1 == limit {
                parts.push(own(rest));
                break;
            }
            parts.push(own(&rest[..c.len_utf8()]));
            rest = &rest[c.len_utf8()..];
        }
    } else if limit > 0 {
        parts.extend(string.splitn(limit, separator).map(own));
    }
    Ok(Value::from(parts))
}

fn substring<'a>(args: &[Value<'a>]) -> Result<'a> {
    let (string, start, end) = (text(args, 0)?, int(args, 1)?, int(args, 2)?);
    if start > end {
        return Err(EvalError::new(format!(
            "invalid substring range. start: {start}, end: {end}"
        )));
    }
    match (offset(string, start), offset(string, end)) {
        (None, _) => out_of_range(start),
        (_, None) => out_of_range(end),
        (Some(start), Some(end)) => Ok(Value::from(string[start..end].to_owned())),
    }
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn join<'a>(args: &[Value<'a>], separator: &str) -> Result<'a> {
    let mut out = String::new();
    for (index, element) in list(args, 0)?.iter().enumerate() {
        if index > 0 {
            out.push_str(separator);
        }
        match element? {
            Value::String(text) => out.push_str(&text),
            other => return Err(EvalError::new(format!("join: invalid input: {other}"))),
        }
    }
    Ok(Value::from(out))
}
