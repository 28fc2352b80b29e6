//! Images: pulled when a container needs them, removed when the disk fills.
//!
//! Upstream: `pkg/kubelet/images`. Reasons and texts appear in waiting states and events.

pub mod gc;
mod keyring;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use api_types::core::v1::{Pod, Secret};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::backoff::Backoff;
use crate::container::{ContainerKind, StartError};
use crate::cri::{Cri, CriError, v1};
use crate::events::{Kind, Recorder};
use crate::metrics::Metrics;

pub use apimachinery::image_reference::{Reference, parse, with_default_tag};
pub use keyring::{Credential, Keyring};

/// An image some container needs.
pub struct PullRequest<'a> {
    /// Whose.
    pub pod: &'a Pod,
    /// Container the events are about; the pod itself without one.
    pub field: Option<(&'a str, ContainerKind)>,
    /// Name in the spec.
    pub image: &'a str,
    /// `Always`, `IfNotPresent` or `Never`.
    pub policy: &'a str,
    /// Pull secrets of the pod.
    pub secrets: &'a [Secret],
    /// Sandbox the image is for.
    pub sandbox_config: &'a v1::PodSandboxConfig,
}

/// Pulls images, one at a time or several.
pub struct ImageManager {
    cri: Cri,
    recorder: Arc<Recorder>,
    metrics: Arc<Metrics>,
    node_keyring: Keyring,
    backoff: Backoff,
    previous_errors: Mutex<HashMap<String, String>>,
    pulls: Option<Semaphore>,
}

impl ImageManager {
    /// `serialize` pulls one at a time; otherwise `max_parallel` bounds them, if set.
    #[must_use]
    pub fn new(
        cri: Cri,
        recorder: Arc<Recorder>,
        metrics: Arc<Metrics>,
        node_keyring: Keyring,
        serialize: bool,
        max_parallel: Option<i32>,
    ) -> Self {
        let permits = if serialize {
            Some(1)
        } else {
            max_parallel.and_then(|max| usize::try_from(max).ok())
        };
        ImageManager {
            cri,
            recorder,
            metrics,
            node_keyring,
            backoff: Backoff::new(
                SignedDuration::from_secs(10),
                SignedDuration::from_secs(300),
            ),
            previous_errors: Mutex::default(),
            pulls: permits.map(Semaphore::new),
        }
    }

    fn event(&self, request: &PullRequest<'_>, kind: Kind, reason: &str, message: &str) {
        match request.field {
            Some(field) => self
                .recorder
                .container(request.pod, field, "", kind, reason, message),
            None => self.recorder.pod(request.pod, kind, reason, message),
        }
    }

    /// Makes sure the image is there, pulling it if the policy says so. Answers the runtime's reference for it.
    ///
    /// # Errors
    /// With the reason and text of the waiting state.
    pub async fn ensure_image(&self, request: &PullRequest<'_>) -> Result<String, StartError> {
        let image = with_default_tag(request.image).map_err(|error| {
            let text = format!(
                "Failed to apply default image tag {:?}: {error}",
                request.image
            );
            self.event(request, Kind::Warning, "InspectFailed", &text);
            StartError::new("InvalidImageName", text)
        })?;
        let spec = v1::ImageSpec {
            image: image.clone(),
            annotations: request
                .pod
                .metadata
                .annotations
                .clone()
                .into_iter()
                .collect(),
            ..Default::default()
        };
        if request.policy != "Always" {
            match self.cri.image_status(spec.clone()).await {
                Ok(Some(found)) => {
                    let text = format!(
                        "Container image {:?} already present on machine and can be accessed by the pod",
                        request.image
                    );
                    self.event(request, Kind::Normal, "Pulled", &text);
                    return Ok(found.id);
                }
                Ok(None) if request.policy == "Never" => {
                    let text = format!(
                        "Container image {:?} is not present with pull policy of Never",
                        request.image
                    );
                    self.event(request, Kind::Warning, "ErrImageNeverPull", &text);
                    return Err(StartError::new("ErrImageNeverPull", text));
                }
                Ok(None) => {}
                Err(error) => {
                    // Upstream names the (empty) reference here, not the image.
                    let text = format!("Failed to inspect image \"\": {error}");
                    self.event(request, Kind::Warning, "InspectFailed", &text);
                    return Err(StartError::new("ImageInspectError", text));
                }
            }
        }
        self.pull(request, &image, spec).await
    }

    async fn pull(
        &self,
        request: &PullRequest<'_>,
        image: &str,
        spec: v1::ImageSpec,
    ) -> Result<String, StartError> {
        // Messages name the image as the pod does, the runtime gets it with its tag.
        let name = request.image;
        let key = format!("{}_{name}", request.pod.metadata.uid);
        let now = Timestamp::now();
        if self.backoff.is_in_backoff_since_update(&key, now) {
            let mut text = format!("Back-off pulling image {name:?}");
            self.event(request, Kind::Normal, "BackOff", &text);
            if let Some(previous) = self.previous_errors.lock().get(&key) {
                text = format!("{text}: {previous}");
            }
            return Err(StartError::new("ImagePullBackOff", text));
        }
        self.previous_errors.lock().remove(&key);
        self.event(
            request,
            Kind::Normal,
            "Pulling",
            &format!("Pulling image {name:?}"),
        );
        let start = Instant::now();
        let (pulled, pull_time) = {
            let _turn = match &self.pulls {
                Some(pulls) => pulls.acquire().await.ok(),
                None => None,
            };
            let start = Instant::now();
            (
                self.pull_with_credentials(request, image, spec.clone())
                    .await,
                start.elapsed(),
            )
        };
        match pulled {
            Ok(reference) => {
                let size = self
                    .cri
                    .image_status(spec)
                    .await
                    .ok()
                    .flatten()
                    .map_or(0, |image| image.size);
                let shown = |time: std::time::Duration| {
                    apimachinery::duration::format(
                        i64::try_from(time.as_millis())
                            .unwrap_or(0)
                            .saturating_mul(1_000_000),
                    )
                };
                let text = format!(
                    "Successfully pulled image {name:?} in {} ({} including waiting). Image size: {size} bytes.",
                    shown(pull_time),
                    shown(start.elapsed())
                );
                self.event(request, Kind::Normal, "Pulled", &text);
                self.metrics
                    .image_pull_duration
                    .with_label_values(&[size_bucket(size)])
                    .observe(start.elapsed().as_secs_f64());
                self.backoff.gc(Timestamp::now());
                Ok(reference)
            }
            Err(error) => {
                self.event(
                    request,
                    Kind::Warning,
                    "Failed",
                    &format!("Failed to pull image {name:?}: {error}"),
                );
                let now = Timestamp::now();
                self.backoff.next(&key, now, now);
                let failure = pull_failure(name, &error);
                self.previous_errors
                    .lock()
                    .insert(key, format!("{}: {}", failure.reason, failure.message));
                Err(failure)
            }
        }
    }

    /// Tries the credentials that fit, one after the other; without any, anonymously.
    async fn pull_with_credentials(
        &self,
        request: &PullRequest<'_>,
        image: &str,
        spec: v1::ImageSpec,
    ) -> Result<String, CriError> {
        let repository = parse(image)
            .map(|reference| reference.repository)
            .unwrap_or_default();
        let credentials =
            Keyring::from_secrets(request.secrets, &self.node_keyring).lookup(&repository);
        let sandbox = Some(request.sandbox_config.clone());
        if credentials.is_empty() {
            return self.cri.pull_image(spec, None, sandbox).await;
        }
        let mut failures: Vec<CriError> = Vec::new();
        for credential in credentials {
            match self
                .cri
                .pull_image(spec.clone(), Some(credential.to_cri("")), sandbox.clone())
                .await
            {
                Ok(reference) => return Ok(reference),
                Err(error) => failures.push(error),
            }
        }
        Err(failures.swap_remove(0))
    }
}

/// The reason a pull failed for. Runtimes tell two of them by the first word of their text.
fn pull_failure(image: &str, error: &CriError) -> StartError {
    let text = error.to_string();
    for (word, reason, what) in [
        (
            "RegistryUnavailable",
            "RegistryUnavailable",
            "because the registry is unavailable",
        ),
        (
            "SignatureValidationFailed",
            "SignatureValidationFailed",
            "because the signature validation failed",
        ),
    ] {
        if let Some(rest) = text.strip_prefix(word) {
            return StartError::new(
                reason,
                format!("image pull failed for {image} {what}{rest}"),
            );
        }
    }
    StartError::new("ErrImagePull", text)
}

/// Value of the `image_size_in_bytes` metric label.
fn size_bucket(size: u64) -> &'static str {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    const BUCKETS: [(u64, &str); 11] = [
        (100 * GIB, "GT100GB"),
        (60 * GIB, "60GB-100GB"),
        (40 * GIB, "40GB-60GB"),
        (30 * GIB, "30GB-40GB"),
        (20 * GIB, "20GB-30GB"),
        (10 * GIB, "10GB-20GB"),
        (5 * GIB, "5GB-10GB"),
        (GIB, "1GB-5GB"),
        (500 * MIB, "500MB-1GB"),
        (100 * MIB, "100MB-500MB"),
        (10 * MIB, "10MB-100MB"),
    ];
    match size {
        0 => "N/A",
        _ => BUCKETS
            .iter()
            .find(|(from, _)| size > *from)
            .map_or("0-10MB", |(_, name)| name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_failures() {
        let error = |text: &str| CriError {
            operation: "pull_image",
            status: tonic::Status::unknown(text),
        };
        let plain = pull_failure("r/a", &error("not found"));
        assert_eq!(
            (plain.reason, plain.message.as_str()),
            ("ErrImagePull", "not found")
        );
        let unavailable = pull_failure("r/a", &error("RegistryUnavailable: no route"));
        assert_eq!(unavailable.reason, "RegistryUnavailable");
        assert_eq!(
            unavailable.message,
            "image pull failed for r/a because the registry is unavailable: no route"
        );
    }

    #[test]
    fn buckets() {
        for (size, want) in [
            (0, "N/A"),
            (1, "0-10MB"),
            (20 << 20, "10MB-100MB"),
            (2 << 30, "1GB-5GB"),
        ] {
            assert_eq!(size_bucket(size), want);
        }
    }
}
