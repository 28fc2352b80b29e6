//! Keeps a ServiceAccount "default" in every active namespace. Upstream: pkg/controller/serviceaccount/serviceaccounts_controller.go.

use api_types::core::v1::{Namespace, ServiceAccount, namespace_phase};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::ObjectMeta;
use client::{Client, Lister, ObjectKey};

use super::pod_control::is_namespace_terminating;
use super::{BuildError, Controller, Next, SyncError};
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

/// The accounts every namespace has.
const ACCOUNTS: [&str; 1] = ["default"];

/// The serviceaccount-controller. Its keys are names of namespaces.
pub struct ServiceAccountController {
    client: Client,
    namespaces: Lister<Namespace>,
    accounts: Lister<ServiceAccount>,
}

impl Controller for ServiceAccountController {
    const NAME: &'static str = "serviceaccount-controller";
    const ALIASES: &'static [&'static str] = &["serviceaccount"];
    const SERVICE_ACCOUNT: &'static str = "service-account-controller";
    const QUEUE: &'static str = "serviceaccount";
    type Key = String;

    async fn build(setup: &Setup, queue: &Queue<String>) -> Result<Option<Self>, BuildError> {
        let accounts = setup.informer::<ServiceAccount>();
        let to = queue.clone();
        on_change(&accounts, move |change| {
            if let Change::Deleted(account) = change {
                to.add(account.metadata.namespace.clone());
            }
        });
        let namespaces = setup.informer::<Namespace>();
        let to = queue.clone();
        on_change(&namespaces, move |change| match change {
            Change::Added(namespace, _) | Change::Updated(_, namespace) => {
                to.add(namespace.metadata.name.clone())
            }
            Change::Deleted(_) => {}
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            namespaces: namespaces.lister(),
            accounts: accounts.lister(),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        1
    }

    async fn sync(&self, key: &String) -> Result<Next, SyncError> {
        let Some(namespace) = self.namespaces.get(&ObjectKey::cluster(key.as_str())) else {
            return Ok(Next::Done);
        };
        let mut errors = Vec::new();
        for account in missing(&namespace, &self.accounts) {
            match self.client.namespaced(key.as_str()).create(&account).await {
                Err(error) if !error.is_already_exists() && !is_namespace_terminating(&error) => {
                    errors.push(SyncError::from(error));
                }
                _ => {}
            }
        }
        SyncError::aggregate(errors)?;
        Ok(Next::Done)
    }
}

/// The accounts to make; none in a namespace that is not active.
fn missing(namespace: &Namespace, accounts: &Lister<ServiceAccount>) -> Vec<ServiceAccount> {
    if namespace.status.phase != namespace_phase::ACTIVE {
        return Vec::new();
    }
    let name = &namespace.metadata.name;
    ACCOUNTS
        .iter()
        .filter(|account| {
            accounts
                .get(&ObjectKey::new(name.as_str(), **account))
                .is_none()
        })
        .map(|account| ServiceAccount {
            metadata: ObjectMeta {
                name: (*account).to_owned(),
                namespace: name.clone(),
                ..Default::default()
            },
            ..Default::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(namespace: &str, name: &str) -> ServiceAccount {
        let mut account = ServiceAccount::default();
        account.metadata.namespace = namespace.into();
        account.metadata.name = name.into();
        account
    }

    #[track_caller]
    fn check(phase: &str, existing: Vec<ServiceAccount>, expected: &[&str]) {
        let mut namespace = Namespace::default();
        namespace.metadata.name = "ns".into();
        namespace.status.phase = phase.into();
        let made = missing(&namespace, &Lister::of(existing));
        let names: Vec<&str> = made
            .iter()
            .map(|account| account.metadata.name.as_str())
            .collect();
        assert_eq!(names, expected);
        assert!(
            made.iter()
                .all(|account| account.metadata.namespace == "ns")
        );
    }

    #[test]
    fn only_active_namespaces_get_what_they_lack() {
        check("Active", vec![], &["default"]);
        check(
            "Active",
            vec![account("ns", "other"), account("elsewhere", "default")],
            &["default"],
        );
        check("Active", vec![account("ns", "default")], &[]);
        check("Terminating", vec![], &[]);
        check("", vec![], &[]);
    }
}
