//! Default roles and bindings are created, and kept complete. Upstream: pkg/registry/rbac/rest, and
//! component-helpers/auth/rbac/reconciliation.

use api_types::meta::v1::{DeleteOptions, Preconditions};
use apimachinery::status::{self, StatusError};

use crate::apis::gates;
use crate::authz::rbac::bootstrap::{self, Change, Reconciled};
use crate::loopback::Loopback;

/// How often one object that others change meanwhile is looked at again.
const ATTEMPTS: usize = 4;

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
