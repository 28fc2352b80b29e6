//! The policy file: one object per line, of v1beta1 or v0; a line without a known version is one of v0. Upstream: pkg/apis/abac.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use apimachinery::os_error;
use apimachinery::quote::quote;
use component_base::auth::ALL_AUTHENTICATED;
use component_base::config;
use serde_json::{Map, Value};

use crate::go_json;

const GROUP: &str = "abac.authorization.kubernetes.io";
const KIND: &str = "Policy";
/// Longer lines are refused, as by Go's scanner.
const LONGEST_LINE: usize = 64 * 1024;

/// What a policy allows to whom. `*` stands for everything; an empty text matches only empty ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub user: String,
    pub group: String,
    /// Only get, list and watch.
    pub readonly: bool,
    pub api_group: String,
    pub resource: String,
    pub namespace: String,
    /// May end in `*`.
    pub non_resource_path: String,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    #[error("{}", os_error::on_path("open", path, error))]
    Open {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("error reading policy file {}: {why}", path.display())]
    Read { path: PathBuf, why: String },
    #[error("error reading policy file {}, line {line}: {text}: {why}", path.display())]
    Line {
        path: PathBuf,
        /// From 1.
        line: usize,
        text: String,
        why: String,
    },
}

/// Reads a file. Empty lines and those that start with `#` are skipped.
pub(super) fn read(path: &Path) -> Result<Vec<Policy>, PolicyFileError> {
    let opened = std::fs::File::open(path).map_err(|error| PolicyFileError::Open {
        path: path.to_owned(),
        error,
    })?;
    let unreadable = |why: String| PolicyFileError::Read {
        path: path.to_owned(),
        why,
    };
    let mut policies = Vec::new();
    let mut unversioned = false;
    for (i, line) in std::io::BufReader::new(opened).split(b'\n').enumerate() {
        let mut line = line.map_err(|error| unreadable(os_error::on_reading(path, &error)))?;
        if line.len() >= LONGEST_LINE {
            return Err(unreadable("bufio.Scanner: token too long".to_owned()));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let text = String::from_utf8_lossy(&line);
        if matches!(text.trim().chars().next(), None | Some('#')) {
            continue;
        }
        let (policy, versioned) = decode(&line).map_err(|why| PolicyFileError::Line {
            path: path.to_owned(),
            line: i + 1,
            text: text.into_owned(),
            why,
        })?;
        unversioned |= !versioned;
        policies.push(policy);
    }
    if unversioned {
        tracing::warn!(
            "Policy file {} contained unversioned rules. See docs/admin/authorization.md#abac-mode for ABAC file format details.",
            path.display()
        );
    }
    Ok(policies)
}

/// A policy, and whether the line says of itself which version it has.
fn decode(line: &[u8]) -> Result<(Policy, bool), String> {
    let object = object_of(line)?;
    let (mut group_version, mut kind) = (
        meta(&object, "apiVersion")?.to_owned(),
        meta(&object, "kind")?.to_owned(),
    );
    let versioned = kind == KIND
        && group_version
            .strip_prefix(GROUP)
            .is_some_and(|version| matches!(version, "/v0" | "/v1beta1"));
    if !versioned {
        if kind.is_empty() {
            KIND.clone_into(&mut kind);
        }
        if group_version.is_empty() {
            group_version = format!("{GROUP}/v0");
        }
    }
    match group_version.strip_prefix(GROUP) {
        Some("/v0") if kind == KIND => Ok((v0(&Fields::of(&object, "Policy", "."))?, versioned)),
        Some("/v1beta1") if kind == KIND && versioned => Ok((v1beta1(&object)?, true)),
        Some("/v1beta1") if kind == KIND => {
            Err("converting (v1beta1.Policy) to (v0.Policy): unknown conversion".to_owned())
        }
        _ => Err(format!(
            "no kind {} is registered for version {} in scheme \"pkg/apis/abac/register.go:33\"",
            quote(&kind),
            quote(&group_version)
        )),
    }
}

/// A line is JSON, or else YAML that has room in one.
fn object_of(line: &[u8]) -> Result<Map<String, Value>, String> {
    let failed = |why: String| format!("couldn't get version/kind; json parse error: {why}");
    let value = if line.trim_ascii_start().starts_with(b"{") {
        go_json::parse(line).map_err(failed)?
    } else {
        config::yaml(line).map_err(|error| error.to_string())?
    };
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Null => Ok(Map::new()),
        other => Err(failed(go_json::cannot_unmarshal(&other, META))),
    }
}

const META: &str = "value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";

fn meta<'a>(object: &'a Map<String, Value>, field: &str) -> Result<&'a str, String> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!(
            "couldn't get version/kind; json parse error: {}",
            go_json::cannot_unmarshal(other, &format!("struct field .{field} of type string"))
        )),
    }
}

/// The fields of an object, read in Go's way: null is nothing, and unknown ones are not looked at.
struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// Go's name of the type, and of the way to it.
    of: &'a str,
    path: &'a str,
}

impl<'a> Fields<'a> {
    fn of(object: &'a Map<String, Value>, of: &'a str, path: &'a str) -> Self {
        Self { object, of, path }
    }

    fn wrong(&self, field: &str, value: &Value, wanted: &str) -> String {
        let target = format!(
            "struct field {}{}{field} of type {wanted}",
            self.of, self.path
        );
        go_json::cannot_unmarshal(value, &target)
    }

    fn text(&self, field: &str) -> Result<String, String> {
        match self.object.get(field) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(self.wrong(field, other, "string")),
        }
    }

    fn flag(&self, field: &str) -> Result<bool, String> {
        match self.object.get(field) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(field, other, "bool")),
        }
    }
}

/// All of v0 is about authenticated users, where it names none, and about all API groups.
fn v0(fields: &Fields<'_>) -> Result<Policy, String> {
    let mut policy = Policy {
        user: fields.text("user")?,
        group: fields.text("group")?,
        readonly: fields.flag("readonly")?,
        resource: fields.text("resource")?,
        namespace: fields.text("namespace")?,
        api_group: "*".to_owned(),
        ..Policy::default()
    };
    if policy.user.is_empty() && policy.group.is_empty() {
        ALL_AUTHENTICATED.clone_into(&mut policy.group);
    }
    let everything = policy.namespace.is_empty() && policy.resource.is_empty();
    for (text, all) in [
        (&mut policy.namespace, true),
        (&mut policy.resource, true),
        (&mut policy.non_resource_path, everything),
    ] {
        if text.is_empty() && all {
            "*".clone_into(text);
        }
    }
    Ok(of_authenticated(policy))
}

fn v1beta1(object: &Map<String, Value>) -> Result<Policy, String> {
    let nothing = Map::new();
    let spec = match object.get("spec") {
        None | Some(Value::Null) => &nothing,
        Some(Value::Object(spec)) => spec,
        Some(other) => {
            let fields = Fields::of(object, KIND, ".");
            return Err(fields.wrong("spec", other, "v1beta1.PolicySpec"));
        }
    };
    let fields = Fields::of(spec, "PolicySpec", ".spec.");
    Ok(of_authenticated(Policy {
        user: fields.text("user")?,
        group: fields.text("group")?,
        readonly: fields.flag("readonly")?,
        api_group: fields.text("apiGroup")?,
        resource: fields.text("resource")?,
        namespace: fields.text("namespace")?,
        non_resource_path: fields.text("nonResourcePath")?,
    }))
}

/// Everybody is everybody who is known.
fn of_authenticated(mut policy: Policy) -> Policy {
    if policy.user == "*" || policy.group == "*" {
        policy.user.clear();
        ALL_AUTHENTICATED.clone_into(&mut policy.group);
    }
    policy
}
