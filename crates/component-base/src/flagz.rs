//! `/flagz`: the flags in use. Upstream: k8s.io/apiserver/pkg/server/flagz (KEP-4828).

use crate::flags::Flags;
use crate::serving::{Request, Response};
use crate::statusz::{Format, negotiate, plain_text, structured};

/// The page of one daemon.
#[derive(Clone, Debug)]
pub struct Flagz {
    component: String,
    flags: Vec<(&'static str, String)>,
}

impl Flagz {
    /// `component` is the daemon's name.
    pub fn new(component: &str, flags: &Flags) -> Self {
        Self {
            component: component.to_owned(),
            flags: flags.all(),
        }
    }

    /// Answers `/flagz`: text, or JSON and YAML when the client asks for a version of the kind.
    pub fn handle(&self, request: &Request) -> Response {
        match negotiate(request, "Flagz") {
            Ok(Format::Text) => {
                let mut text = format!(
                    "\n{} flagz\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n",
                    self.component
                );
                for (name, value) in &self.flags {
                    text.push_str(&format!("{name}={value}\n"));
                }
                plain_text(text)
            }
            Ok(Format::Object { version, yaml }) => {
                let flags: serde_json::Map<String, serde_json::Value> = self
                    .flags
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
                    .collect();
                structured(
                    request,
                    "Flagz",
                    (version, yaml),
                    &self.component,
                    serde_json::json!({ "flags": flags }),
                )
            }
            Err(refused) => *refused,
        }
    }
}
