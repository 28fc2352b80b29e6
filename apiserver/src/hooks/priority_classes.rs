//! The two priority classes of system pods. Upstream: pkg/registry/scheduling/rest.

use std::time::Duration;

use api_types::scheduling::v1::PriorityClass;
use apimachinery::status::StatusError;

use tokio::time::{Instant, sleep};

use crate::loopback::Loopback;

/// For so long it is tried.
const ALL_ATTEMPTS: Duration = Duration::from_secs(30);
/// The wait between attempts. Early ones are made sooner: most wait for storage for a moment.
const FIRST_RETRY: Duration = Duration::from_millis(10);
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// Name, value, description.
const CLASSES: [(&str, i32, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// Whether a class is one of the system's.
pub(crate) fn is_system(class: &str) -> bool {
    CLASSES.iter().any(|(name, ..)| *name == class)
}

/// How an attempt ends that is not the last.
enum NotYet {
    /// Another may succeed.
    Again,
    Never(StatusError),
}

/// Makes attempts until one succeeds. Without its classes a cluster's most important pods cannot be made: it is an error when
/// none does, and at once where another would not help.
pub(super) async fn initialize(client: &Loopback) -> Result<(), String> {
    keep_trying(|| run(client)).await
}

async fn keep_trying<F>(attempt: impl Fn() -> F) -> Result<(), String>
where
    F: Future<Output = Result<(), NotYet>>,
{
    let failed = |why: &dyn std::fmt::Display| {
        Err(format!(
            "unable to add default system priority classes: {why}"
        ))
    };
    let start = Instant::now();
    let mut retry = FIRST_RETRY;
    while start.elapsed() < ALL_ATTEMPTS {
        match attempt().await {
            Ok(()) => return Ok(()),
            // Upstream's first attempt comes when this is over.
            Err(NotYet::Never(error)) if start.elapsed() >= LONGEST_RETRY => {
                return failed(&error);
            }
            Err(_) => {}
        }
        sleep(retry).await;
        retry = (retry * 2).min(LONGEST_RETRY);
    }
    failed(&"timed out waiting for the condition")
}

async fn run(client: &Loopback) -> Result<(), NotYet> {
    for (name, value, description) in CLASSES {
        match client.get::<PriorityClass>("", name).await {
            Ok(Some(_)) => continue,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!("unable to get PriorityClass {name}: {error}. Retrying...");
                return Err(NotYet::Again);
            }
        }
        let mut class = PriorityClass {
            value,
            description: description.to_owned(),
            ..PriorityClass::default()
        };
        name.clone_into(&mut class.metadata.name);
        match client.ensure(class).await {
            Ok(()) => tracing::info!("created PriorityClass {name} with value {value}"),
            Err(error) if error.reason == "ServiceUnavailable" => {
                tracing::info!("going to retry, unable to create PriorityClass {name}: {error}");
                return Err(NotYet::Again);
            }
            Err(error) => return Err(NotYet::Never(error)),
        }
    }
    tracing::info!("all system priority classes are created successfully or already exist.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How it ends, and after how many seconds, when attempts fail that long.
    async fn outcome(for_seconds: u64, failure: fn() -> NotYet) -> (Result<(), String>, u64) {
        let start = Instant::now();
        let attempts = Cell::new(0);
        let ended = keep_trying(|| {
            attempts.set(attempts.get() + 1);
            let works = start.elapsed().as_secs() >= for_seconds;
            async move { works.then_some(()).ok_or_else(failure) }
        });
        let ended = ended.await;
        assert!(attempts.get() > 1);
        (ended, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_tried_for_half_a_minute() {
        let prefix = "unable to add default system priority classes: ";
        let again = || NotYet::Again;
        let never = || NotYet::Never(apimachinery::status::bad_request("no"));
        assert_eq!(outcome(25, again).await.0, Ok(()));
        let (ended, after) = outcome(60, again).await;
        let late = format!("{prefix}timed out waiting for the condition");
        assert_eq!((ended, after), (Err(late), 30));
        let (ended, after) = outcome(60, never).await;
        assert_eq!((ended, after), (Err(format!("{prefix}no")), 1));
    }
}
