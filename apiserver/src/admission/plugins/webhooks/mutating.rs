//! MutatingAdmissionWebhook. Upstream: webhook/mutating.

use std::collections::BTreeMap;
use std::time::Instant;

use api_types::admissionregistration::v1::MutatingWebhookConfiguration;
use api_types::codec::compact;
use api_types::value::structs_equal;
use apimachinery::patch::json::Patch;
use apimachinery::quote::quote;
use apimachinery::status;
use component_base::auth::BoxFuture;
use serde::Serialize;
use serde_json::value::RawValue;

use super::review::{Answer, denied};
use super::{Dispatcher, Failure, Hook, Versioned, Versions, check_time};
use crate::admission::matching::Matched;
use crate::admission::plugins::{ConfigurationError, Settings};
use crate::admission::{Attributes, Cluster, Operation, Plugin, Steps, Verdict};
use crate::go_json;

const NAME: &str = "MutatingAdmissionWebhook";

/// Asks webhooks one after the other; each sees what those before it have made of the object.
pub(crate) struct MutatingAdmissionWebhook(Dispatcher);

impl MutatingAdmissionWebhook {
    pub(crate) fn new(
        settings: &Settings,
        text: Option<&[u8]>,
    ) -> Result<Self, ConfigurationError> {
        let dispatcher =
            Dispatcher::new::<MutatingWebhookConfiguration>(NAME, settings, text, "admit");
        dispatcher.map(Self)
    }

    async fn dispatch(&self, attributes: &mut Attributes, cluster: &dyn Cluster) -> Verdict {
        let Some((hooks, caller)) = self.0.hooks(attributes).await? else {
            return Ok(());
        };
        let second = attributes.reinvocation.second;
        let round = u8::from(second);
        let rounds = attributes.reinvocation.of(NAME);
        if second && rounds.changed_meanwhile(attributes.object.as_ref()) {
            rounds.changed();
        }
        let mut versions = Versions::default();
        for (index, hook) in hooks.iter().enumerate() {
            let matched = caller
                .matches(hook, attributes, cluster, &mut versions)
                .await?;
            let Some(matched) = matched else { continue };
            // No webhook is asked for the first time in the second round.
            if second && !attributes.reinvocation.of(NAME).runs_again(&hook.id) {
                continue;
            }
            let versioned = versions.get(attributes, &matched, cluster).await?;
            let note = Note {
                hook,
                place: format!("round_{round}_index_{index}"),
            };
            let start = Instant::now();
            let outcome = match caller.ask(hook, attributes, &matched, &versioned).await {
                Ok(answer) => {
                    apply(&answer, &note, attributes, &matched, &versioned, cluster).await
                }
                Err(failure) => Err(failure),
            };
            caller.observe(hook, attributes, start, &outcome);
            let changed = matches!(outcome, Ok(Effect { changed: true, .. }));
            note.mutated(attributes, changed);
            if matches!(outcome, Ok(Effect { patched: true, .. })) {
                versions = Versions::default();
            }
            let rounds = attributes.reinvocation.of(NAME);
            if changed {
                rounds.changed();
                attributes.reinvocation.wanted = true;
            }
            if hook.may_run_again {
                attributes.reinvocation.of(NAME).may_run_again(&hook.id);
            }
            if let Err(failure) = outcome {
                let ignored = matches!(failure, Failure::Calling { .. }) && hook.fails_open;
                if let Some(refusal) = caller.verdict(hook, failure) {
                    return Err(refusal);
                }
                if ignored {
                    note.failed_open(attributes);
                }
                check_time(attributes)?;
            }
        }
        let rounds = attributes.reinvocation.of(NAME);
        rounds.leave(attributes.object.as_ref());
        Ok(())
    }
}

impl Plugin for MutatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        NAME
    }

    fn steps(&self) -> Steps {
        Steps::Admit
    }

    fn handles(&self, _: Operation) -> bool {
        true
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(self.dispatch(attributes, cluster))
    }
}

/// What a webhook's patch did.
#[derive(Clone, Copy, Default)]
struct Effect {
    /// There was one.
    patched: bool,
    /// And the object differs.
    changed: bool,
}

/// Changes the request's object as a webhook wants it.
async fn apply(
    answer: &Answer,
    note: &Note<'_>,
    attributes: &mut Attributes,
    matched: &Matched,
    versioned: &Versioned,
    cluster: &dyn Cluster,
) -> Result<Effect, Failure> {
    if answer.patch.is_empty() {
        return Ok(Effect::default());
    }
    let patch = parse(&answer.patch).map_err(|error| Failure::Calling {
        reason: format!("received undecodable patch in webhook response: {error}"),
        code: 503,
        answered: true,
    })?;
    if patch.is_empty() {
        return Ok(Effect::default());
    }
    let Some(object) = &versioned.object else {
        return Err(Failure::Other(status::internal(format!(
            "admission webhook {} attempted to modify the object, which is not supported for this operation",
            quote(&note.hook.name)
        ))));
    };
    if answer.patch_type != "JSONPatch" {
        return Err(Failure::Calling {
            reason: format!("unsupported patch type {}", quote(&answer.patch_type)),
            code: denied(&note.hook.name, answer.result.clone()).code,
            answered: true,
        });
    }
    let patched = patch
        .apply(&versioned.json)
        .map_err(|error| Failure::Other(status::internal(error)))?;
    let patched = cluster
        .decode(&patched, matched, false)
        .map_err(Failure::Other)?;
    let changed = !structs_equal(object.value(), patched.value());
    note.patched(attributes, &answer.patch);
    let patched = cluster
        .from_version(patched, matched, &attributes.resource)
        .await
        .map_err(Failure::Other)?;
    attributes.object = Some(patched);
    Ok(Effect {
        patched: true,
        changed,
    })
}

/// Reads a patch; what is wrong with one is said in the words of Go's decoder.
fn parse(text: &[u8]) -> Result<Patch, String> {
    match go_json::parse(text)? {
        serde_json::Value::Array(_) | serde_json::Value::Null => {}
        other => {
            return Err(go_json::cannot_unmarshal(
                &other,
                "value of type jsonpatch.Patch",
            ));
        }
    }
    Patch::parse(text).map_err(|error| error.to_string())
}

/// What the audit log is told of a webhook's turn.
struct Note<'a> {
    hook: &'a Hook,
    place: String,
}

impl Note<'_> {
    fn failed_open(&self, attributes: &Attributes) {
        attributes.annotations.add(
            format!(
                "failed-open.mutation.webhook.admission.k8s.io/{}",
                self.place
            ),
            self.hook.name.as_str(),
        );
    }

    fn mutated(&self, attributes: &Attributes, mutated: bool) {
        attributes.annotations.add(
            format!("mutation.webhook.admission.k8s.io/{}", self.place),
            go_text(&Mutation {
                configuration: &self.hook.configuration,
                webhook: &self.hook.name,
                mutated,
            }),
        );
    }

    fn patched(&self, attributes: &Attributes, patch: &[u8]) {
        attributes.annotations.add_of_request(
            format!("patch.webhook.admission.k8s.io/{}", self.place),
            go_text(&Patched {
                configuration: &self.hook.configuration,
                webhook: &self.hook.name,
                patch: serde_json::from_slice(patch).unwrap_or_default(),
                patch_type: "JSONPatch",
            }),
        );
    }
}

/// The order of the fields is upstream's.
#[derive(Serialize)]
struct Mutation<'a> {
    configuration: &'a str,
    webhook: &'a str,
    mutated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Patched<'a> {
    configuration: &'a str,
    webhook: &'a str,
    /// Operations with their fields in order, and values as the webhook wrote them.
    patch: Vec<BTreeMap<String, Box<RawValue>>>,
    patch_type: &'static str,
}

/// JSON as Go writes it.
fn go_text(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).unwrap_or_default();
    String::from_utf8(compact(&json)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_written_as_upstream_writes_them() {
        let mutation = Mutation {
            configuration: "c",
            webhook: "w",
            mutated: true,
        };
        assert_eq!(
            go_text(&mutation),
            r#"{"configuration":"c","webhook":"w","mutated":true}"#
        );
        let patch = r#"[{"path": "/a", "op": "add", "value": {"z": "<", "a": 1}}]"#;
        let patched = Patched {
            configuration: "c",
            webhook: "w",
            patch: serde_json::from_str(patch).unwrap(),
            patch_type: "JSONPatch",
        };
        assert_eq!(
            go_text(&patched),
            r#"{"configuration":"c","webhook":"w","patch":[{"op":"add","path":"/a","value":{"z":"\u003c","a":1}}],"patchType":"JSONPatch"}"#
        );
    }
}
