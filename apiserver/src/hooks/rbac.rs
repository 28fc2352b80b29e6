//! Default roles and bindings are created, and kept complete. Upstream: pkg/registry/rbac/rest.

use api_types::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use apimachinery::status::StatusError;

use crate::authz::rbac::bootstrap::{self, BindingChange};
use crate::loopback::Loopback;

pub(super) async fn run(client: &Loopback) -> Result<(), StatusError> {
    for wanted in bootstrap::cluster_roles() {
        match client.get::<ClusterRole>("", &wanted.metadata.name).await? {
            None => client.ensure(wanted).await?,
            Some(existing) => {
                if let Some(changed) = bootstrap::reconcile_cluster_role(&existing, &wanted) {
                    client.update(changed).await?;
                }
            }
        }
    }
    for wanted in bootstrap::cluster_role_bindings() {
        match client
            .get::<ClusterRoleBinding>("", &wanted.metadata.name)
            .await?
        {
            None => client.ensure(wanted).await?,
            Some(existing) => match bootstrap::reconcile_cluster_role_binding(&existing, &wanted) {
                None => {}
                Some(BindingChange::Update(changed)) => {
                    client.update(changed).await?;
                }
                Some(BindingChange::Recreate(changed)) => {
                    client
                        .delete::<ClusterRoleBinding>("", &changed.metadata.name)
                        .await?;
                    client.ensure(changed).await?;
                }
            },
        }
    }
    for wanted in bootstrap::roles() {
        match client
            .get::<Role>(&wanted.metadata.namespace, &wanted.metadata.name)
            .await?
        {
            None => client.ensure(wanted).await?,
            Some(existing) => {
                if let Some(changed) = bootstrap::reconcile_role(&existing, &wanted) {
                    client.update(changed).await?;
                }
            }
        }
    }
    for wanted in bootstrap::role_bindings() {
        match client
            .get::<RoleBinding>(&wanted.metadata.namespace, &wanted.metadata.name)
            .await?
        {
            None => client.ensure(wanted).await?,
            Some(existing) => match bootstrap::reconcile_role_binding(&existing, &wanted) {
                None => {}
                Some(BindingChange::Update(changed)) => {
                    client.update(changed).await?;
                }
                Some(BindingChange::Recreate(changed)) => {
                    client
                        .delete::<RoleBinding>(&changed.metadata.namespace, &changed.metadata.name)
                        .await?;
                    client.ensure(changed).await?;
                }
            },
        }
    }
    Ok(())
}
