//! Objects of requests and answers as events show them: JSON, whatever the client speaks.
//! Upstream: encodeObject and copyWithoutManagedFields of apiserver/pkg/audit/request.go.

use api_types::codec::compact;
use api_types::kinds;

use crate::handlers::yaml;
use crate::negotiation::Encoding;

/// A whole body in the negotiated encoding as JSON. None where it cannot be read, which does not happen with our own.
pub(super) fn to_json(encoding: Encoding, body: &[u8]) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Json => Some(compact(body)),
        Encoding::Yaml => {
            let value = yaml::to_json(body).ok()?;
            Some(compact(&serde_json::to_vec(&value).ok()?))
        }
        Encoding::Protobuf => {
            let envelope = api_types::decode_envelope(body).ok()?;
            let kind = kinds::lookup_api_version(envelope.api_version, envelope.kind)?;
            let header = api_types::codec::Header {
                api_version: envelope.api_version,
                kind: envelope.kind,
            };
            let mut out = Vec::with_capacity(envelope.raw.len() * 2);
            api_types::transcode_protobuf_to_json(
                kind.schema,
                envelope.raw,
                Some(header),
                &mut out,
            )
            .ok()?;
            Some(out)
        }
    }
}

/// What was sent as JSON or YAML. None for what is neither: upstream loses the whole event then.
pub(super) fn sent(text: &[u8], is_yaml: bool) -> Option<Vec<u8>> {
    if serde_json::from_slice::<&serde_json::value::RawValue>(text).is_ok() {
        return Some(compact(text));
    }
    if !is_yaml {
        return None;
    }
    to_json(Encoding::Yaml, text)
}

/// Drops `managedFields` of an object, of the items of a list and of the objects in a table's rows. The text is compact JSON.
pub(super) fn without_managed_fields(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let mut scanner = Scanner {
        json,
        at: 0,
        copied: 0,
        out: &mut out,
    };
    scanner.object(&mut |scanner, key| match key {
        b"metadata" => scanner.metadata(),
        b"items" => scanner.array(&mut |scanner| scanner.holder()),
        b"rows" => scanner.array(&mut |scanner| {
            scanner.object(&mut |scanner, key| {
                if key == b"object" {
                    scanner.holder();
                } else {
                    scanner.skip();
                }
            });
        }),
        _ => scanner.skip(),
    });
    let rest = json.get(scanner.copied..).unwrap_or_default();
    scanner.out.extend_from_slice(rest);
    out
}

/// Walks through JSON that is known to be valid and compact, and copies what is kept.
struct Scanner<'a> {
    json: &'a [u8],
    at: usize,
    /// Up to here all is in `out` or dropped.
    copied: usize,
    out: &'a mut Vec<u8>,
}

type OnMember<'f, 'a> = &'f mut dyn FnMut(&mut Scanner<'a>, &[u8]);

impl<'a> Scanner<'a> {
    fn peek(&self) -> u8 {
        self.json.get(self.at).copied().unwrap_or(b'}')
    }

    /// An object; `on` must go past each value.
    fn object(&mut self, on: OnMember<'_, 'a>) {
        if self.peek() != b'{' {
            return self.skip();
        }
        self.at += 1;
        while self.at < self.json.len() && self.peek() != b'}' {
            let start = self.at;
            self.string();
            // Without its quotes.
            let key = self.json.get(start + 1..self.at - 1).unwrap_or_default();
            // The colon.
            self.at += 1;
            on(self, key);
            if self.peek() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    fn array(&mut self, on: &mut dyn FnMut(&mut Scanner<'a>)) {
        if self.peek() != b'[' {
            return self.skip();
        }
        self.at += 1;
        while self.at < self.json.len() && self.peek() != b']' {
            on(self);
            if self.peek() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    /// An object with metadata.
    fn holder(&mut self) {
        self.object(&mut |scanner, key| {
            if key == b"metadata" {
                scanner.metadata();
            } else {
                scanner.skip();
            }
        });
    }

    fn metadata(&mut self) {
        self.object(&mut |scanner, key| {
            // The quotes and the colon come before.
            let start = scanner.at.saturating_sub(key.len() + 3);
            scanner.skip();
            if key == b"managedFields" {
                scanner.drop_since(start);
            }
        });
    }

    /// Leaves out what is between `start` and here, with one comma.
    fn drop_since(&mut self, start: usize) {
        let kept = self.json.get(self.copied..start).unwrap_or_default();
        self.out.extend_from_slice(kept);
        self.copied = self.at;
        if self.peek() == b',' {
            self.copied += 1;
        } else if self.out.last() == Some(&b',') {
            self.out.pop();
        }
    }

    /// Goes past a value.
    fn skip(&mut self) {
        let mut depth = 0usize;
        while let Some(byte) = self.json.get(self.at) {
            match byte {
                b'"' => self.string(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    if depth == 0 {
                        return;
                    }
                    depth -= 1;
                    self.at += 1;
                }
                b',' if depth == 0 => return,
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Goes past a string.
    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.json.get(self.at) {
            self.at += 1;
            match byte {
                b'"' => return,
                b'\\' => self.at += 1,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, want: &str) {
        let kept = String::from_utf8(without_managed_fields(json.as_bytes())).unwrap();
        assert_eq!(kept, want);
    }

    #[test]
    fn managed_fields_are_dropped_where_they_are_metadata() {
        check(
            r#"{"kind":"A","metadata":{"name":"a","managedFields":[{"x":"]}\""}]},"data":{"managedFields":"1"}}"#,
            r#"{"kind":"A","metadata":{"name":"a"},"data":{"managedFields":"1"}}"#,
        );
        check(
            r#"{"metadata":{"managedFields":[],"name":"a"}}"#,
            r#"{"metadata":{"name":"a"}}"#,
        );
        check(
            r#"{"metadata":{"managedFields":null}}"#,
            r#"{"metadata":{}}"#,
        );
        check(
            r#"{"items":[{"metadata":{"a":1,"managedFields":[1],"z":2}},{"metadata":{}},1],"metadata":{}}"#,
            r#"{"items":[{"metadata":{"a":1,"z":2}},{"metadata":{}},1],"metadata":{}}"#,
        );
        check(
            r#"{"rows":[{"cells":["a",1],"object":{"metadata":{"managedFields":[]}}},{"cells":[],"object":null}]}"#,
            r#"{"rows":[{"cells":["a",1],"object":{"metadata":{}}},{"cells":[],"object":null}]}"#,
        );
        check(r#"{"items":null}"#, r#"{"items":null}"#);
        check("[1]", "[1]");
    }

    #[test]
    fn any_text_is_survived() {
        let text = br#"{"metadata":{"managedFields":[{"a":"b"}],"x":"y\\"},"items":[{"metadata":{"managedFields":1}}]}"#;
        for end in 0..text.len() {
            without_managed_fields(&text[..end]);
        }
    }

    #[test]
    fn sent_text_is_json_or_yaml() {
        assert_eq!(sent(b"[ 1 ]", false).unwrap(), b"[1]");
        assert_eq!(sent(b"a: b", true).unwrap(), br#"{"a":"b"}"#);
        assert_eq!(sent(b"a: b", false), None);
        assert_eq!(sent(b"{", false), None);
    }
}
