//! Admission: plugins that may change or refuse a write before it is validated and stored.
//! Upstream: apiserver/pkg/admission.
//!
//! All mutating steps run first, in the chain's order, then all validating steps in the same order. The old object is
//! a snapshot taken before any mutation.

use std::sync::Arc;

use api_types::meta::v1::{CreateOptions, DeleteOptions, UpdateOptions};
use apimachinery::gvk::{GroupVersionKind, GroupVersionResource};
use apimachinery::status::StatusError;
use component_base::auth::{BoxFuture, UserInfo};

use crate::registry::object::Object;
use crate::request::context::Warnings;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// As AdmissionReviews spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// The options of the request.
#[derive(Clone, Debug)]
pub enum Options {
    Create(Box<CreateOptions>),
    Update(Box<UpdateOptions>),
    Delete(Box<DeleteOptions>),
    /// Connect requests have none.
    None,
}

/// What is about to happen. Upstream: admission.Attributes.
#[derive(Clone, Debug)]
pub struct Attributes {
    pub operation: Operation,
    /// Kind of the request's endpoint (Scale for a scale subresource).
    pub kind: GroupVersionKind,
    pub resource: GroupVersionResource,
    pub subresource: String,
    pub namespace: String,
    /// Empty on create until the object has a name.
    pub name: String,
    /// The new object, in the hub version; connect requests have their options here.
    pub object: Option<Object>,
    /// The object before the request: updates and deletions.
    pub old_object: Option<Arc<Object>>,
    pub options: Options,
    pub dry_run: bool,
    pub user: UserInfo,
    pub warnings: Warnings,
}

/// One admission plugin.
pub trait Plugin: Send + Sync {
    /// Upstream's plugin name.
    fn name(&self) -> &'static str;

    fn handles(&self, operation: Operation) -> bool;

    /// May change `attributes.object`.
    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
    ) -> BoxFuture<'a, Result<(), StatusError>> {
        let _ = attributes;
        Box::pin(std::future::ready(Ok(())))
    }

    /// May only refuse.
    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<(), StatusError>> {
        let _ = attributes;
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The plugins of a server, in execution order.
#[derive(Clone, Default)]
pub struct Chain {
    plugins: Arc<[Arc<dyn Plugin>]>,
}

impl Chain {
    pub fn new(plugins: Vec<Arc<dyn Plugin>>) -> Chain {
        Chain {
            plugins: plugins.into(),
        }
    }

    pub fn handles(&self, operation: Operation) -> bool {
        self.plugins.iter().any(|plugin| plugin.handles(operation))
    }

    pub async fn admit(&self, attributes: &mut Attributes) -> Result<(), StatusError> {
        for plugin in self
            .plugins
            .iter()
            .filter(|plugin| plugin.handles(attributes.operation))
            .cloned()
            .collect::<Vec<_>>()
        {
            plugin.admit(attributes).await?;
        }
        Ok(())
    }

    pub async fn validate(&self, attributes: &Attributes) -> Result<(), StatusError> {
        for plugin in self
            .plugins
            .iter()
            .filter(|plugin| plugin.handles(attributes.operation))
        {
            plugin.validate(attributes).await?;
        }
        Ok(())
    }
}
