//! Puts whole documents together, one path and one definition at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api_types::resources::ResourceInfo;
use aws_lc_rs::digest;
use serde_json::{Value, json};

use super::aggregated::BuiltIn;
use super::gnostic;
use super::paths::{self, Builder, Paths, SECURITY};
use super::pieces::{Piece, Stored};
use super::schemas::{self, Form, Scope, Targets};

const TITLE: &str = "Kubernetes";
/// Major and minor version, as upstream's documents have it.
const VERSION: &str = "1.36";

/// Upper-case hexadecimal SHA-512.
pub fn sha512_hex(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA512, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}

/// Every group version of the rows, in order.
pub(super) fn group_versions(rows: &[&'static ResourceInfo]) -> Vec<(&'static str, &'static str)> {
    let mut out: Vec<(&str, &str)> = rows.iter().map(|row| (row.group, row.version)).collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// The names of the documents of the third form, sorted: `api/v1`, `apis/apps`, `version` and so on.
pub(super) fn names(rows: &[&'static ResourceInfo]) -> Vec<String> {
    let mut out: Vec<String> = [
        ".well-known/openid-configuration",
        "api",
        "apis",
        "openid/v1/jwks",
        "version",
    ]
    .map(str::to_owned)
    .to_vec();
    for (group, version) in group_versions(rows) {
        out.push(paths::base_path(group, version)[1..].to_owned());
        if !group.is_empty() {
            out.push(format!("apis/{group}"));
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

fn group_version_paths(
    form: Form,
    rows: &[&'static ResourceInfo],
    group: &str,
    version: &str,
    targets: &mut Targets,
) -> Paths {
    let mut paths = Paths::new();
    let mut builder = Builder::new(form, group, version, targets, &mut paths);
    builder.discovery();
    for row in rows
        .iter()
        .filter(|row| row.group == group && row.version == version)
    {
        builder.resource(row);
    }
    paths
}

/// Writes members of a JSON object.
struct Members<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Members<'a> {
    fn open(out: &'a mut Vec<u8>) -> Members<'a> {
        out.push(b'{');
        Members { out, first: true }
    }

    fn member(&mut self, key: &str, value: &Value) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out
            .extend_from_slice(Value::from(key).to_string().as_bytes());
        self.out.push(b':');
        self.out.extend_from_slice(value.to_string().as_bytes());
    }

    fn close(self) {
        self.out.push(b'}');
    }
}

/// A document of the third form, or `None` where there is no such document.
pub(super) fn v3(rows: &[&'static ResourceInfo], name: &str) -> Option<Vec<u8>> {
    let mut targets = Targets::default();
    let scope = group_versions(rows)
        .into_iter()
        .find(|(group, version)| &paths::base_path(group, version)[1..] == name);
    let paths = match scope {
        Some((group, version)) => group_version_paths(Form::V3, rows, group, version, &mut targets),
        None => {
            if !names(rows).iter().any(|known| known == name) {
                return None;
            }
            let mut paths = Paths::new();
            paths::fixed(Form::V3, name, &mut targets, &mut paths);
            paths
        }
    };
    let mut out = format!(
        r#"{{"openapi":"3.0.0","info":{{"title":"{TITLE}","version":"{VERSION}"}},"paths":"#
    )
    .into_bytes();
    let mut members = Members::open(&mut out);
    for (path, item) in &paths {
        members.member(path, item);
    }
    members.close();
    drop(paths);
    out.extend_from_slice(br#","components":{"#);
    let own = scope.map_or(Scope::GroupVersion("", "v1"), |(group, version)| {
        Scope::GroupVersion(group, version)
    });
    let definitions = targets.close();
    if !definitions.is_empty() {
        out.extend_from_slice(br#""schemas":"#);
        let mut members = Members::open(&mut out);
        for (name, target) in definitions {
            members.member(&name, &schemas::definition(Form::V3, target, own));
        }
        members.close();
        out.push(b',');
    }
    out.extend_from_slice(br#""securitySchemes":"#);
    out.extend_from_slice(SECURITY.as_bytes());
    out.extend_from_slice(b"}}");
    Some(out)
}

/// What takes the parts of the second form.
trait Sink {
    fn path(&mut self, path: &str, item: &Value);
    fn definition(&mut self, name: &str, value: &Value);
    fn parameter(&mut self, name: &str, value: &Value);
}

impl Sink for gnostic::Document {
    fn path(&mut self, path: &str, item: &Value) {
        gnostic::Document::path(self, path, item);
    }
    fn definition(&mut self, name: &str, value: &Value) {
        gnostic::Document::definition(self, name, value);
    }
    fn parameter(&mut self, name: &str, value: &Value) {
        gnostic::Document::parameter(self, name, value);
    }
}

/// Takes the definitions of some names, and the parameters.
struct Wanted<'a> {
    names: &'a BTreeSet<String>,
    found: BuiltIn,
}

impl Sink for Wanted<'_> {
    fn path(&mut self, _: &str, _: &Value) {}
    fn definition(&mut self, name: &str, value: &Value) {
        if self.names.contains(name) {
            self.found
                .definitions
                .insert(name.to_owned(), value.clone());
        }
    }
    fn parameter(&mut self, name: &str, value: &Value) {
        self.found.parameters.insert(name.to_owned(), value.clone());
    }
}

/// The built-in definitions of these names in the second form, and all its parameters.
pub(super) fn v2_built_in(rows: &[&'static ResourceInfo], names: &BTreeSet<String>) -> BuiltIn {
    let mut wanted = Wanted {
        names,
        found: BuiltIn::default(),
    };
    v2(rows, &mut wanted);
    wanted.found
}

/// The paths of a built-in group version in the second form.
pub(super) fn v2_paths(
    rows: &[&'static ResourceInfo],
    group: &str,
    version: &str,
) -> impl Iterator<Item = String> + use<> {
    let is_served = rows
        .iter()
        .any(|row| row.group == group && row.version == version);
    let paths = is_served.then(|| {
        group_version_paths(Form::V2, rows, group, version, &mut Targets::default()).into_keys()
    });
    paths.into_iter().flatten()
}

/// Members of the JSON document's three tables, each already separated by commas.
#[derive(Default)]
struct Json {
    paths: Vec<u8>,
    definitions: Vec<u8>,
    parameters: Vec<u8>,
}

impl Json {
    fn add(out: &mut Vec<u8>, key: &str, value: &Value) {
        let mut members = Members {
            first: out.is_empty(),
            out,
        };
        members.member(key, value);
    }
}

impl Sink for Json {
    fn path(&mut self, path: &str, item: &Value) {
        Json::add(&mut self.paths, path, item);
    }
    fn definition(&mut self, name: &str, value: &Value) {
        Json::add(&mut self.definitions, name, value);
    }
    fn parameter(&mut self, name: &str, value: &Value) {
        Json::add(&mut self.parameters, name, value);
    }
}

/// The document of the second form as JSON. Its pieces end where the paths, the definitions and the parameters end, and
/// with the document.
pub(super) fn v2_json(rows: &[&'static ResourceInfo]) -> Stored {
    let mut parts = Json::default();
    v2(rows, &mut parts);
    let mut paths = format!(
        r#"{{"swagger":"2.0","info":{{"title":"{TITLE}","version":"{VERSION}"}},"paths":{{"#
    )
    .into_bytes();
    paths.append(&mut parts.paths);
    let mut definitions = br#"},"definitions":{"#.to_vec();
    definitions.append(&mut parts.definitions);
    let mut parameters = br#"},"parameters":{"#.to_vec();
    parameters.append(&mut parts.parameters);
    let end = format!(r#"}},"securityDefinitions":{SECURITY},"security":[{{"BearerToken":[]}}]}}"#);
    Stored::hashed(
        [&paths[..], &definitions, &parameters, end.as_bytes()]
            .map(|text| Arc::new(Piece::new(text)))
            .into(),
    )
}

/// The document of the second form as protobuf.
pub(super) fn v2_protobuf(rows: &[&'static ResourceInfo]) -> Vec<u8> {
    let mut out = gnostic::Document::default();
    v2(rows, &mut out);
    out.finish(TITLE, VERSION)
}

fn v2(rows: &[&'static ResourceInfo], sink: &mut dyn Sink) {
    let mut targets = Targets::default();
    let mut shared = BTreeMap::new();
    let versions = group_versions(rows);
    for name in names(rows) {
        let scope = versions
            .iter()
            .find(|(group, version)| paths::base_path(group, version)[1..] == name);
        let mut paths = match scope {
            Some((group, version)) => {
                group_version_paths(Form::V2, rows, group, version, &mut targets)
            }
            None => {
                let mut paths = Paths::new();
                paths::fixed(Form::V2, &name, &mut targets, &mut paths);
                paths
            }
        };
        for (path, item) in &mut paths {
            share_parameters(item, &mut shared);
            sink.path(path, item);
        }
    }
    for (name, target) in targets.close() {
        sink.definition(
            &name,
            &schemas::definition(Form::V2, target, Scope::Everything),
        );
    }
    for (name, parameter) in shared {
        sink.parameter(&name, &parameter);
    }
}

/// Moves the parameters that are not particular to an endpoint into the document's table. Upstream:
/// kube-openapi/pkg/builder/parameters.go.
pub(super) fn share_parameters(item: &mut Value, shared: &mut BTreeMap<String, Value>) {
    let Some(members) = item.as_object_mut() else {
        return;
    };
    for (key, member) in members {
        let list = match key.as_str() {
            "parameters" => Some(member),
            _ => member.get_mut("parameters"),
        };
        for parameter in list.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(name) = shared_name(parameter) {
                let reference = json!({"$ref": format!("#/parameters/{name}")});
                shared.insert(name, std::mem::replace(parameter, reference));
            }
        }
    }
}

/// The name of a shared parameter: its own and a hash of its JSON form. Older clients look for `fieldValidation` and
/// `dryRun` at the operation, so these stay there.
fn shared_name(parameter: &Value) -> Option<String> {
    let text = |key: &str| parameter.get(key).and_then(Value::as_str);
    let (name, location) = (text("name")?, text("in")?);
    match (location, name) {
        (_, "name") | ("query", "fieldValidation" | "dryRun") => return None,
        ("body", _)
            if !parameter["schema"]["$ref"]
                .as_str()?
                .starts_with("#/definitions/io.k8s.apimachinery") =>
        {
            return None;
        }
        _ => {}
    }
    // The order of members is that of upstream's encoder, which the hash is made of.
    let mut form = String::from("{");
    for key in [
        "uniqueItems",
        "type",
        "description",
        "name",
        "in",
        "required",
        "schema",
    ] {
        if let Some(value) = parameter.get(key) {
            if form.len() > 1 {
                form.push(',');
            }
            form.push_str(&format!("\"{key}\":{}", go_json(value)));
        }
    }
    form.push('}');
    // FNV-1, 64 bits.
    let hash = form.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        hash.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(byte)
    });
    Some(format!("{name}-{}", base64_48(hash >> 16)))
}

/// JSON with the characters escaped that Go escapes for HTML.
fn go_json(value: &Value) -> String {
    value
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

/// The URL-safe base64 form of 48 bits.
fn base64_48(bits: u64) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..8)
        .map(|index| char::from(ALPHABET[(bits >> (42 - 6 * index)) as usize & 63]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_parameters_have_upstreams_names() {
        let parameter = json!({
            "in": "path", "name": "namespace", "required": true, "type": "string", "uniqueItems": true,
            "description": "object name and auth scope, such as for teams and projects",
        });
        assert_eq!(
            shared_name(&parameter).as_deref(),
            Some("namespace-vgWSWtn3")
        );
        let body = json!({
            "in": "body", "name": "body",
            "schema": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"},
        });
        assert_eq!(shared_name(&body).as_deref(), Some("body-2Y1dVQaQ"));
        let own = json!({"in": "body", "name": "body", "schema": {"$ref": "#/definitions/io.k8s.api.core.v1.Pod"}});
        assert_eq!(shared_name(&own), None);
    }
}
