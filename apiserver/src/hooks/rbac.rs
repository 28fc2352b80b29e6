//! Default roles and bindings are created, and kept complete. Upstream: pkg/registry/rbac/rest, and
//! component-helpers/auth/rbac/reconciliation.

use std::time::Duration;

use api_types::meta::v1::{DeleteOptions, Preconditions};
use apimachinery::status::{self, StatusError};
use tokio::time::{Instant, sleep, timeout};

use crate::apis::gates;
use crate::authz::rbac::bootstrap::{self, Change, Reconciled};
use crate::loopback::Loopback;

/// How often one object that others change meanwhile is looked at again.
const ATTEMPTS: usize = 4;

/// For so long one attempt goes on, and all of them.
const ATTEMPT: Duration = Duration::from_secs(5);
const ALL_ATTEMPTS: Duration = Duration::from_secs(30);
/// The wait between attempts. Early ones are made sooner: most wait for storage for a moment.
const FIRST_RETRY: Duration = Duration::from_millis(10);
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// Makes attempts until one succeeds. Without its roles a server is of no use: it is an error when none does.
pub(super) async fn initialize<F>(attempt: impl Fn() -> F) -> Result<(), String>
where
    F: Future<Output = Result<(), StatusError>>,
{
    let deadline = Instant::now() + ALL_ATTEMPTS;
    let mut retry = FIRST_RETRY;
    while Instant::now() < deadline {
        match timeout(ATTEMPT, attempt()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => tracing::debug!(v = 2, %error, "Roles are not complete"),
            Err(_) => tracing::warn!(
                "RBAC bootstrap attempt timed out waiting for etcd readiness, retrying"
            ),
        }
        sleep(retry).await;
        retry = (retry * 2).min(LONGEST_RETRY);
    }
    Err("unable to initialize roles: timed out waiting for the condition".to_owned())
}

/// One that cannot be written does not keep back the others. Fails with the first of those.
pub(super) async fn run(client: &Loopback) -> Result<(), StatusError> {
    let outcomes = [
        all(client, bootstrap::cluster_roles(gates::enabled)).await,
        all(client, bootstrap::cluster_role_bindings(gates::enabled)).await,
        all(client, bootstrap::roles()).await,
        all(client, bootstrap::role_bindings()).await,
    ];
    outcomes.into_iter().collect()
}

async fn all<T: Reconciled>(client: &Loopback, wanted: Vec<T>) -> Result<(), StatusError> {
    let mut outcome = Ok(());
    for wanted in wanted {
        let Err(error) = one(client, &wanted).await else {
            continue;
        };
        let metadata = wanted.metadata();
        tracing::error!(kind = T::KIND, namespace = %metadata.namespace, name = %metadata.name, %error,
            "a default role or binding cannot be reconciled");
        if outcome.is_ok() {
            outcome = Err(error);
        }
    }
    outcome
}

async fn one<T: Reconciled>(client: &Loopback, wanted: &T) -> Result<(), StatusError> {
    let mut outcome = Ok(());
    for _ in 0..ATTEMPTS {
        outcome = attempt(client, wanted).await;
        match &outcome {
            Err(error)
                if status::is_conflict(error)
                    || status::is_not_found(error)
                    || status::is_already_exists(error) => {}
            _ => return outcome,
        }
    }
    outcome
}

async fn attempt<T: Reconciled>(client: &Loopback, wanted: &T) -> Result<(), StatusError> {
    let metadata = wanted.metadata();
    let (namespace, name) = (metadata.namespace.as_str(), metadata.name.as_str());
    let Some(existing) = client.get::<T>(namespace, name).await? else {
        return client.create(wanted.clone()).await.map(drop);
    };
    match existing.reconcile(wanted) {
        None => Ok(()),
        Some(Change::Update(changed)) => client.update(changed).await.map(drop),
        Some(Change::Recreate(fresh)) => {
            let options = DeleteOptions {
                preconditions: Some(Box::new(Preconditions {
                    uid: Some(existing.metadata().uid.clone()),
                    ..Preconditions::default()
                })),
                ..DeleteOptions::default()
            };
            client.delete_with::<T>(namespace, name, options).await?;
            client.create(fresh).await.map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const FAILED: &str = "unable to initialize roles: timed out waiting for the condition";

    #[tokio::test(start_paused = true)]
    async fn attempts_are_made_for_thirty_seconds() {
        let started = Instant::now();
        let made = Cell::new(0);
        let failing = initialize(async || {
            made.set(made.get() + 1);
            Err(status::internal("no"))
        });
        assert_eq!(failing.await, Err(FAILED.to_owned()));
        let took = started.elapsed();
        assert!((30..32).contains(&took.as_secs()), "{took:?}");
        assert!(made.get() > 25, "{}", made.get());
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_is_made_again() {
        let made = Cell::new(0);
        let late = initialize(async || {
            made.set(made.get() + 1);
            if made.get() < 3 {
                std::future::pending::<()>().await;
            }
            Ok(())
        });
        assert_eq!(late.await, Ok(()));
        assert_eq!(made.get(), 3);
        let never = initialize(async || std::future::pending().await);
        assert_eq!(never.await, Err(FAILED.to_owned()));
    }
}
