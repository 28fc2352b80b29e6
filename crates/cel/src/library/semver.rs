//! Semantic versions. Upstream: apiserver/pkg/cel/library/semverlib.go and blang/semver.

use std::cmp::Ordering;
use std::fmt;

use apimachinery::quote::quote;

use super::{opaque, text};
use crate::env::{Function, Implementation};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{Opaque, Value};

/// A semantic version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semver {
    numbers: [u64; 3],
    pre_release: Vec<Identifier>,
    build: Vec<String>,
}

/// A part of a pre-release. Numbers come before words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Word(String),
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        for (index, part) in self.pre_release.iter().enumerate() {
            f.write_str(if index == 0 { "-" } else { "." })?;
            match part {
                Identifier::Number(number) => write!(f, "{number}")?,
                Identifier::Word(word) => f.write_str(word)?,
            }
        }
        for (index, part) in self.build.iter().enumerate() {
            write!(f, "{}{part}", if index == 0 { "+" } else { "." })?;
        }
        Ok(())
    }
}

impl Semver {
    /// Reads `major.minor.patch` with what may follow it.
    pub fn parse(text: &str) -> Option<Semver> {
        parse(text).ok()
    }

    /// Reads also versions with a `v` in front, leading zeroes, or less than three numbers. Upstream: semver.ParseTolerant.
    pub fn parse_tolerant(text: &str) -> Option<Semver> {
        parse_sloppy(text.trim()).ok()
    }

    /// The order of versions; builds do not count.
    pub fn cmp(&self, other: &Semver) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.pre_release.is_empty(), other.pre_release.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => self.pre_release.cmp(&other.pre_release),
            }
        })
    }
}

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let of = || Type::object("kubernetes.Semver");
    let two = [of(), of()];
    let number = |name, id, implementation: Implementation| {
        Function::new(name).member(id, &[of()], Type::Int, implementation)
    };
    vec![
        Function::new("semver")
            .global("string_to_semver", &[Type::String], of(), |args| {
                made(parse(text(args, 0)?))
            })
            .global(
                "string_bool_to_semver",
                &[Type::String, Type::Bool],
                of(),
                |args| made(read(args)),
            ),
        Function::new("isSemver")
            .global("is_semver_string", &[Type::String], Type::Bool, |args| {
                Ok(parse(text(args, 0)?).is_ok().into())
            })
            .global(
                "is_semver_string_bool",
                &[Type::String, Type::Bool],
                Type::Bool,
                |args| Ok(read(args).is_ok().into()),
            ),
        Function::new("isGreaterThan").member("semver_is_greater_than", &two, Type::Bool, |args| {
            Ok(Value::Bool(order(args)?.is_gt()))
        }),
        Function::new("isLessThan").member("semver_is_less_than", &two, Type::Bool, |args| {
            Ok(Value::Bool(order(args)?.is_lt()))
        }),
        Function::new("compareTo").member("semver_compare_to", &two, Type::Int, |args| {
            Ok(Value::Int(order(args)? as i64))
        }),
        number("major", "semver_major", |args| {
            Ok(Value::Int(opaque!(args, 0, Semver)?.numbers[0] as i64))
        }),
        number("minor", "semver_minor", |args| {
            Ok(Value::Int(opaque!(args, 0, Semver)?.numbers[1] as i64))
        }),
        number("patch", "semver_patch", |args| {
            Ok(Value::Int(opaque!(args, 0, Semver)?.numbers[2] as i64))
        }),
    ]
}

fn made<'a>(version: Result<Semver, String>) -> Result<Value<'a>, EvalError> {
    version
        .map(|version| Opaque::Semver(version).into())
        .map_err(EvalError::new)
}

fn order(args: &[Value<'_>]) -> Result<Ordering, EvalError> {
    Ok(opaque!(args, 0, Semver)?.cmp(opaque!(args, 1, Semver)?))
}

/// Reads the first argument; the second says whether it may be sloppy.
fn read(args: &[Value<'_>]) -> Result<Semver, String> {
    let text = text(args, 0).map_err(|error| error.to_string())?;
    if args[1].as_bool() == Some(true) {
        parse_sloppy(text)
    } else {
        parse(text)
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_word(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        let why = if text.is_empty() {
            "invalid syntax"
        } else {
            "value out of range"
        };
        format!("strconv.ParseUint: parsing {}: {why}", quote(text))
    })
}

fn part(text: &str, lower: &str, upper: &str) -> Result<u64, String> {
    if !is_number(text) {
        return Err(format!(
            "Invalid character(s) found in {lower} number {}",
            quote(text)
        ));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!(
            "{upper} number must not contain leading zeroes {}",
            quote(text)
        ));
    }
    number(text)
}

fn parse(text: &str) -> Result<Semver, String> {
    if text.is_empty() {
        return Err("Version string empty".to_owned());
    }
    let mut parts = text.splitn(3, '.');
    let (Some(major), Some(minor), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("No Major.Minor.Patch elements found".to_owned());
    };
    let (major, minor) = (
        part(major, "major", "Major")?,
        part(minor, "minor", "Minor")?,
    );
    let (rest, build) = rest
        .split_once('+')
        .map_or((rest, None), |(rest, build)| (rest, Some(build)));
    let (patch, pre) = rest
        .split_once('-')
        .map_or((rest, None), |(patch, pre)| (patch, Some(pre)));
    let patch = part(patch, "patch", "Patch")?;
    let mut version = Semver {
        numbers: [major, minor, patch],
        pre_release: Vec::new(),
        build: Vec::new(),
    };
    for identifier in pre.into_iter().flat_map(|pre| pre.split('.')) {
        version.pre_release.push(if identifier.is_empty() {
            return Err("Prerelease is empty".to_owned());
        } else if is_number(identifier) {
            if identifier.len() > 1 && identifier.starts_with('0') {
                let quoted = quote(identifier);
                return Err(format!(
                    "Numeric PreRelease version must not contain leading zeroes {quoted}"
                ));
            }
            Identifier::Number(number(identifier)?)
        } else if is_word(identifier) {
            Identifier::Word(identifier.to_owned())
        } else {
            return Err(format!(
                "Invalid character(s) found in prerelease {}",
                quote(identifier)
            ));
        });
    }
    for meta in build.into_iter().flat_map(|build| build.split('.')) {
        if meta.is_empty() {
            return Err("Build meta data is empty".to_owned());
        }
        if !is_word(meta) {
            return Err(format!(
                "Invalid character(s) found in build meta data {}",
                quote(meta)
            ));
        }
        version.build.push(meta.to_owned());
    }
    Ok(version)
}

/// Also versions with a `v` in front, leading zeroes, or less than three numbers.
fn parse_sloppy(text: &str) -> Result<Semver, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text
        .splitn(3, '.')
        .map(|part| {
            if part.len() < 2 {
                return part.to_owned();
            }
            let trimmed = part.trim_start_matches('0');
            let starts_with_digit = trimmed.starts_with(|c: char| c.is_ascii_digit());
            if starts_with_digit {
                trimmed.to_owned()
            } else {
                format!("0{trimmed}")
            }
        })
        .collect();
    if parts.len() < 3 {
        if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return Err("short version cannot contain PreRelease/Build meta data".to_owned());
        }
        parts.resize(3, "0".to_owned());
    }
    parse(&parts.join("."))
}
