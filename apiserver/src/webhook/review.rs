//! Webhooks that a kubeconfig names and that answer reviews: about tokens, what users may do, images. Upstream: GenericWebhook of
//! apiserver/pkg/util/webhook.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use api_types::Described;
use api_types::codec::Header;
use api_types::meta::v1::Status;
use apimachinery::duration;
use client::{Client, ClientConfig};
use rand::Rng as _;
use serde::Deserialize;

use crate::egress::Dialer;

/// How long a call may take, unless a configuration says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// How long the first wait between attempts is, unless a configuration says otherwise.
pub const FIRST_WAIT: Duration = Duration::from_millis(500);
/// How waits grow, and by how much of them at most chance makes them longer.
const GROWTH: f64 = 1.5;
const JITTER: f64 = 0.2;
const ATTEMPTS: u32 = 5;
/// Upstream's client has no name of its own here.
const USER_AGENT: &str = "Go-http-client/1.1";

/// Posts reviews to the very address that the kubeconfig has.
pub struct ReviewWebhook {
    client: Client,
    query: String,
}

/// Why there is no answer. The text is what upstream's clients show.
#[derive(Debug)]
pub enum Failure {
    /// The webhook was not reached, was too slow, or answered with a failure.
    Call(client::Error),
    /// The answer is not the review that was asked for.
    Answer(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::Answer(text) => f.write_str(text),
        }
    }
}

impl Failure {
    /// What the webhook answered, when it answered with a failure.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Call(error) => error.status(),
            Self::Answer(_) => None,
        }
    }

    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_timeout())
    }

    /// Whether another attempt may go better. Upstream: DefaultShouldRetry.
    fn may_pass(&self) -> bool {
        let Self::Call(error) = self else {
            return false;
        };
        let reset = matches!(error, client::Error::Transport { source, .. } if source.is_reset());
        reset
            || error.is_internal_error()
            // Answered with it, not waited for it.
            || (error.status().is_some() && error.is_timeout())
            || error.is_too_many_requests()
            || error.retry_after().is_some()
    }
}

/// What kind of object an answer is.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    api_version: String,
    kind: String,
}

impl ReviewWebhook {
    /// The kubeconfig says where the webhook is. Nothing is asked yet.
    pub fn from_kubeconfig(
        kubeconfig: &Path,
        timeout: Duration,
        via: &Dialer,
    ) -> Result<Self, component_base::Error> {
        let config = ClientConfig::from_kubeconfig(kubeconfig)?
            .with_user_agent(USER_AGENT)
            .with_timeout(timeout)
            .with_dial(via.of_client())
            .with_qps(-1.0);
        let nanoseconds = i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX);
        Ok(Self {
            client: Client::new(config)?,
            query: format!("timeout={}", duration::format(nanoseconds)),
        })
    }

    /// Posts a review as a kind, and reads the answer, which must be of that kind. One attempt.
    pub async fn post<T: Described + Sync>(
        &self,
        review: &T,
        header: Header<'static>,
    ) -> Result<T, Failure> {
        let body = api_types::encode_json_as(review, header);
        let answer = self.client.post_to_server(&self.query, body).await;
        read(answer.map_err(Failure::Call)?.body(), header).map_err(Failure::Answer)
    }
}

/// Attempts until one works, or fails for a reason that will not pass soon.
pub async fn retried<T, F>(
    first_wait: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut wait = first_wait;
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(failure) if failure.may_pass() => {
                let longer = rand::rng().random_range(0.0..JITTER);
                tokio::time::sleep(wait.mul_f64(1.0 + longer)).await;
                wait = wait.mul_f64(GROWTH);
            }
            done => return done,
        }
    }
    attempt().await
}

fn read<T: Described>(body: &[u8], asked: Header<'static>) -> Result<T, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        format!(
            "couldn't get version/kind; json parse error: {}",
            crate::go_json::syntax_error(body, &error)
        )
    })?;
    // What an answer does not say of itself, it is taken to be.
    let same = |said: &str, asked: &str| said.is_empty() || said == asked;
    if same(&answer.kind, asked.kind) && same(&answer.api_version, asked.api_version) {
        return api_types::decode_json(body).map_err(|error| error.to_string());
    }
    let short = |version: &str| version.rsplit('/').next().unwrap_or_default().to_owned();
    Err(format!(
        "converting ({}.{}) to ({}.{}): unknown conversion",
        short(&answer.api_version),
        answer.kind,
        short(asked.api_version),
        asked.kind
    ))
}
