//! The bytes of events. Upstream: pkg/apis/audit/v1 and the JSON serializer.
//!
//! Events are written by hand, straight into their line: at level Metadata they are what audit costs.

use api_types::Described;
use api_types::codec::{write_json_field, write_json_string};
use api_types::meta::v1::Status;
use bytes::Bytes;
use component_base::auth::UserInfo;

/// What a line begins with.
const HEAD: &[u8] = br#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","#;

/// One event as a line of JSON.
#[derive(Clone, Debug)]
pub struct Line(Bytes);

impl Line {
    /// With its newline.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The event without a newline.
    pub fn json(&self) -> &[u8] {
        self.0.strip_suffix(b"\n").unwrap_or(&self.0)
    }

    /// Appends the event as an item of a list, where it does not say what it is.
    pub fn write_item(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        out.extend_from_slice(self.json().strip_prefix(HEAD).unwrap_or_default());
    }
}

/// Appends the members of an event.
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn new(capacity: usize) -> Writer {
        let mut out = Vec::with_capacity(capacity);
        out.extend_from_slice(HEAD);
        Writer(out)
    }

    /// `"name":"text",`
    pub fn text(&mut self, name: &str, text: &str) {
        self.key(name);
        write_json_string(text, &mut self.0);
        self.0.push(b',');
    }

    /// `"name":json,`
    pub fn json(&mut self, name: &str, json: &[u8]) {
        self.key(name);
        self.0.extend_from_slice(json);
        self.0.push(b',');
    }

    /// Members that were written before, with their commas.
    pub fn members(&mut self, members: &[u8]) {
        self.0.extend_from_slice(members);
    }

    /// `"annotations":{...},`, in the order given.
    pub fn annotations<'a>(&mut self, annotations: impl Iterator<Item = (&'a str, &'a str)>) {
        self.key("annotations");
        self.0.push(b'{');
        for (key, value) in annotations {
            write_json_string(key, &mut self.0);
            self.0.push(b':');
            write_json_string(value, &mut self.0);
            self.0.push(b',');
        }
        close(&mut self.0);
        self.0.push(b',');
    }

    fn key(&mut self, name: &str) {
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    pub fn finish(mut self) -> Line {
        close(&mut self.0);
        self.0.push(b'\n');
        Line(self.0.into())
    }
}

/// Ends an object whose last member has a comma.
fn close(out: &mut Vec<u8>) {
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(b'}');
}

/// Appends `"name":"text",` where there is a text.
pub fn member(name: &str, text: &str, out: &mut Vec<u8>) {
    if text.is_empty() {
        return;
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    write_json_string(text, out);
    out.push(b',');
}

/// Appends a list of texts.
pub fn texts<'a>(texts: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, text) in texts.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_json_string(text, out);
    }
    out.push(b']');
}

/// Appends a user.
pub fn user(user: &UserInfo, out: &mut Vec<u8>) {
    out.push(b'{');
    member("username", &user.name, out);
    member("uid", &user.uid, out);
    if !user.groups.is_empty() {
        out.extend_from_slice(b"\"groups\":");
        texts(user.groups.iter().map(String::as_str), out);
        out.push(b',');
    }
    if !user.extra.is_empty() {
        out.extend_from_slice(b"\"extra\":{");
        for (key, values) in &user.extra {
            write_json_string(key, out);
            out.push(b':');
            texts(values.iter().map(String::as_str), out);
            out.push(b',');
        }
        close(out);
        out.push(b',');
    }
    close(out);
}

/// What a request is about.
#[derive(Clone, Debug, Default)]
pub struct ObjectReference {
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub api_group: String,
    pub api_version: String,
    pub resource_version: String,
    pub subresource: String,
}

impl ObjectReference {
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        member("resource", &self.resource, out);
        member("namespace", &self.namespace, out);
        member("name", &self.name, out);
        member("uid", &self.uid, out);
        member("apiGroup", &self.api_group, out);
        member("apiVersion", &self.api_version, out);
        member("resourceVersion", &self.resource_version, out);
        member("subresource", &self.subresource, out);
        close(out);
    }
}

/// Appends the status of an answer, which does not say that it is one.
pub fn status(status: &Status, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"metadata\":{},");
    member("status", &status.status, out);
    member("message", &status.message, out);
    member("reason", &status.reason, out);
    if status.details.is_some() {
        let details = Status::SCHEMA
            .fields
            .iter()
            .position(|field| field.json == "details");
        if let Some(at) = details {
            // A comma is set where something comes before.
            out.pop();
            write_json_field(status, at, out);
            out.push(b',');
        }
    }
    if status.code != 0 {
        out.extend_from_slice(b"\"code\":");
        out.extend_from_slice(status.code.to_string().as_bytes());
        out.push(b',');
    }
    close(out);
}

#[cfg(test)]
mod tests {
    use api_types::meta::v1::StatusDetails;

    use super::*;

    #[test]
    fn lines_and_items() {
        let mut writer = Writer::new(0);
        writer.text("level", "Metadata");
        writer.annotations([("a/b", "<1>"), ("c/d", "")].into_iter());
        let line = writer.finish();
        assert_eq!(
            line.bytes(),
            "{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"Metadata\",\"annotations\":{\"a/b\":\"\\u003c1\\u003e\",\"c/d\":\"\"}}\n"
        );
        let mut item = Vec::new();
        line.write_item(&mut item);
        assert_eq!(
            String::from_utf8(item).unwrap(),
            "{\"level\":\"Metadata\",\"annotations\":{\"a/b\":\"\\u003c1\\u003e\",\"c/d\":\"\"}}"
        );
    }

    #[test]
    fn users_and_statuses() {
        let mut out = Vec::new();
        user(&UserInfo::default(), &mut out);
        let jane = UserInfo {
            name: "jane".to_owned(),
            uid: "1".to_owned(),
            groups: vec!["a".to_owned(), "b".to_owned()],
            extra: [("scopes".to_owned(), vec!["view".to_owned()])].into(),
        };
        user(&jane, &mut out);
        status(&Status::default(), &mut out);
        let failure = Status {
            status: "Failure".to_owned(),
            message: "m".to_owned(),
            reason: "NotFound".to_owned(),
            details: Some(Box::new(StatusDetails {
                name: "n".to_owned(),
                ..StatusDetails::default()
            })),
            code: 404,
            ..Status::default()
        };
        status(&failure, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                "{}",
                r#"{"username":"jane","uid":"1","groups":["a","b"],"extra":{"scopes":["view"]}}"#,
                r#"{"metadata":{}}"#,
                r#"{"metadata":{},"status":"Failure","message":"m","reason":"NotFound","details":{"name":"n"},"code":404}"#,
            )
        );
    }
}
