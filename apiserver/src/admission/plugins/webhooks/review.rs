//! AdmissionReviews: what webhooks are sent and what they may answer. Upstream: webhook/request and webhook/errors.

use std::collections::BTreeMap;

use api_types::RawExtension;
use api_types::admission::v1::{AdmissionResponse, AdmissionReview};
use api_types::codec::Header;
use api_types::meta::v1::Status;
use apimachinery::quote::quote;
use apimachinery::status::StatusError;
use bytes::Bytes;

use super::Versioned;
use crate::admission::matching::Matched;
use crate::admission::{Attributes, cel};
use crate::handlers::{body, yaml};

const KIND: &str = "AdmissionReview";
const V1: &str = "admission.k8s.io/v1";
const V1BETA1: &str = "admission.k8s.io/v1beta1";

/// A review that is to be sent.
pub(super) struct Review {
    uid: String,
    api_version: &'static str,
    pub(super) body: Bytes,
}

impl Review {
    pub(super) fn uid(&self) -> &str {
        &self.uid
    }
}

/// A review that came back: its apiVersion and kind as they were written, and the response.
pub(super) struct Reply {
    api_version: String,
    kind: String,
    response: Option<AdmissionResponse>,
}

/// What a webhook said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) patch: Vec<u8>,
    pub(super) patch_type: String,
    pub(super) result: Option<Status>,
    pub(super) warnings: Vec<String>,
}

impl Review {
    /// In the first version that both sides know.
    pub(super) fn new(
        versions: &[String],
        attributes: &Attributes,
        matched: &Matched,
        versioned: &Versioned,
    ) -> Result<Review, &'static str> {
        let api_version = versions
            .iter()
            .find_map(|version| match version.as_str() {
                "v1" => Some(V1),
                "v1beta1" => Some(V1BETA1),
                _ => None,
            })
            .ok_or("webhook does not accept known AdmissionReview versions (v1, v1beta1)")?;
        let uid = uuid::Uuid::new_v4().to_string();
        let mut request = cel::request(attributes, matched);
        request.uid.clone_from(&uid);
        request.object = RawExtension::new(versioned.json.as_slice());
        request.old_object = RawExtension::new(versioned.old_json.as_slice());
        // Both versions have the same fields.
        let review = AdmissionReview {
            request: Some(Box::new(request)),
            ..AdmissionReview::default()
        };
        let header = Header {
            api_version,
            kind: KIND,
        };
        Ok(Review {
            uid,
            api_version,
            body: api_types::encode_json_as(&review, header).into(),
        })
    }

    /// Reads what came back.
    pub(super) fn decode(&self, body: &[u8]) -> Result<Reply, String> {
        // What is no JSON may be YAML.
        let from_yaml: Vec<u8>;
        let body = if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
            body
        } else {
            let value = yaml::to_json(body).map_err(|error| error.to_string())?;
            from_yaml = value.to_string().into_bytes();
            &from_yaml
        };
        let (api_version, kind) = body::version_and_kind(body)?;
        let meant = |given: &str, default: &'static str| -> String {
            if given.is_empty() { default } else { given }.to_owned()
        };
        let (meant_version, meant_kind) =
            (meant(&api_version, self.api_version), meant(&kind, KIND));
        if meant_kind != KIND || !matches!(meant_version.as_str(), V1 | V1BETA1) {
            return Err(format!(
                "no kind {} is registered for version {} in scheme \"k8s.io/apiserver/pkg/util/webhook/client.go:71\"",
                quote(&meant_kind),
                quote(&meant_version)
            ));
        }
        if meant_version != self.api_version {
            let version = |api_version: &str| {
                api_version
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            };
            return Err(format!(
                "converting ({}.{KIND}) to ({}.{KIND}): unknown conversion",
                version(&meant_version),
                version(self.api_version)
            ));
        }
        let review: AdmissionReview =
            api_types::decode_json(body).map_err(|error| error.to_string())?;
        Ok(Reply {
            api_version,
            kind,
            response: review.response.map(|response| *response),
        })
    }

    /// Whether what came back makes sense.
    pub(super) fn verify(&self, reply: Reply, mutating: bool) -> Result<Answer, String> {
        let response = reply.response.ok_or("webhook response was absent")?;
        let mut patch = Vec::new();
        let mut patch_type = String::new();
        if self.api_version == V1 {
            if response.uid != self.uid {
                return Err(format!(
                    "expected response.uid={}, got {}",
                    quote(&self.uid),
                    quote(&response.uid)
                ));
            }
            if (&*reply.api_version, &*reply.kind) != (V1, KIND) {
                let given = match reply.api_version.as_str() {
                    "" => "/",
                    given => given,
                };
                return Err(format!(
                    "expected webhook response of {V1}, Kind={KIND}, got {given}, Kind={}",
                    reply.kind
                ));
            }
            let has_patch = !response.patch.is_empty();
            match (&response.patch_type, mutating) {
                (None, true) if has_patch => {
                    return Err(
                        "webhook returned response.patch but not response.patchType".to_owned()
                    );
                }
                (Some(_), true) if !has_patch => {
                    return Err(
                        "webhook returned response.patchType but not response.patch".to_owned()
                    );
                }
                (Some(of), true) if of.is_empty() => {
                    return Err("webhook returned invalid response.patchType of \"\"".to_owned());
                }
                (_, false) if has_patch => {
                    return Err("validating webhook may not return response.patch".to_owned());
                }
                (Some(_), false) => {
                    return Err("validating webhook may not return response.patchType".to_owned());
                }
                _ => {}
            }
            patch_type = response.patch_type.unwrap_or_default();
            patch = response.patch.0;
        } else if mutating {
            // Patches of this version are always JSON patches.
            patch = response.patch.0;
            if !patch.is_empty() {
                "JSONPatch".clone_into(&mut patch_type);
            }
        }
        Ok(Answer {
            allowed: response.allowed,
            annotations: response.audit_annotations,
            patch,
            patch_type,
            result: response.status.map(|status| *status),
            warnings: response.warnings,
        })
    }
}

/// What the client of a denied request is told.
pub(super) fn denied(webhook: &str, result: Option<Status>) -> StatusError {
    let mut status = result.unwrap_or_default();
    status.code = if status.code < 400 { 400 } else { status.code };
    if matches!(status.status.as_str(), "" | "Success") {
        "Failure".clone_into(&mut status.status);
    }
    let denied = format!("admission webhook {} denied the request", quote(webhook));
    status.message = match (&*status.message, &*status.reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    StatusError::from(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(api_version: &'static str) -> Review {
        Review {
            uid: "u".to_owned(),
            api_version,
            body: Bytes::new(),
        }
    }

    fn check(version: &'static str, mutating: bool, reply: &str, want: Result<bool, &str>) {
        let review = review(version);
        let found = review
            .decode(reply.as_bytes())
            .and_then(|reply| review.verify(reply, mutating))
            .map(|answer| answer.allowed);
        assert_eq!(found, want.map_err(str::to_owned), "{reply}");
    }

    #[test]
    fn answers_are_checked() {
        let v1 = |response: &str| {
            format!(r#"{{"apiVersion":"{V1}","kind":"AdmissionReview","response":{response}}}"#)
        };
        check(V1, true, &v1(r#"{"uid":"u","allowed":true}"#), Ok(true));
        check(
            V1,
            false,
            &v1(r#"{"uid":"x","allowed":true}"#),
            Err("expected response.uid=\"u\", got \"x\""),
        );
        check(V1, false, &v1("null"), Err("webhook response was absent"));
        check(
            V1,
            true,
            &v1(r#"{"uid":"u","allowed":true,"patch":"W10="}"#),
            Err("webhook returned response.patch but not response.patchType"),
        );
        check(
            V1,
            true,
            &v1(r#"{"uid":"u","allowed":true,"patchType":"JSONPatch"}"#),
            Err("webhook returned response.patchType but not response.patch"),
        );
        check(
            V1,
            false,
            &v1(r#"{"uid":"u","allowed":true,"patchType":"JSONPatch"}"#),
            Err("validating webhook may not return response.patchType"),
        );
        check(
            V1,
            true,
            r#"{"response":{"uid":"u"}}"#,
            Err(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=",
            ),
        );
        // The older version checks neither.
        check(
            V1BETA1,
            true,
            r#"{"response":{"allowed":true,"patch":"W10="}}"#,
            Ok(true),
        );
        check(
            V1BETA1,
            true,
            &v1(r#"{"uid":"u","allowed":true}"#),
            Err("converting (v1.AdmissionReview) to (v1beta1.AdmissionReview): unknown conversion"),
        );
    }

    #[test]
    fn refusals_say_who_and_why() {
        let check = |status: Status, want: (&str, i32)| {
            let found = denied("a.b", Some(status));
            assert_eq!((found.message.as_str(), found.code), want);
        };
        check(
            Status {
                message: "no".to_owned(),
                code: 403,
                ..Status::default()
            },
            ("admission webhook \"a.b\" denied the request: no", 403),
        );
        check(
            Status {
                reason: "Forbidden".to_owned(),
                code: 200,
                ..Status::default()
            },
            (
                "admission webhook \"a.b\" denied the request: Forbidden",
                400,
            ),
        );
        check(
            Status::default(),
            (
                "admission webhook \"a.b\" denied the request without explanation",
                400,
            ),
        );
    }
}
