//! What is about to happen, as plugins see it. Upstream: admission.Attributes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use api_types::meta::v1::{CreateOptions, DeleteOptions, UpdateOptions};
use api_types::value::{Described, structs_equal};
use apimachinery::gvk::{GroupResource, GroupVersionKind, GroupVersionResource};
use apimachinery::status::{self, StatusError};
use component_base::auth::UserInfo;

use crate::registry::object::Object;
use crate::request::context::{AuditAnnotations, Warnings};
use tokio::time::Instant;

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
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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

/// The second round of plugins that change objects: all run again, once, when one that comes from outside (webhooks, policies) changed
/// the object, and of those from outside the ones that asked for it. Upstream: admission/reinvocation.go and the reinvocation contexts.
#[derive(Clone, Debug, Default)]
pub struct Reinvocation {
    /// This is the second round.
    pub second: bool,
    /// There is to be a second round.
    pub wanted: bool,
    rounds: BTreeMap<&'static str, Rounds>,
}

/// What a plugin with parts from outside remembers between the rounds.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    /// Parts that ran and may be asked again.
    ran: BTreeSet<String>,
    /// Parts that are to run in the second round.
    again: BTreeSet<String>,
    /// The object as the plugin left it.
    output: Option<Object>,
}

impl Reinvocation {
    /// What a plugin remembers.
    pub fn of(&mut self, plugin: &'static str) -> &mut Rounds {
        self.rounds.entry(plugin).or_default()
    }
}

impl Rounds {
    /// Whether a part runs in the second round.
    pub fn runs_again(&self, part: &str) -> bool {
        self.again.contains(part)
    }

    /// A part ran that may be asked again.
    pub fn may_run_again(&mut self, part: &str) {
        self.ran.insert(part.to_owned());
    }

    /// The object changed: all parts that ran and may be asked again are asked again.
    pub fn changed(&mut self) {
        self.again.append(&mut self.ran);
    }

    /// Whether other plugins changed the object since this one saw it.
    pub fn changed_meanwhile(&self, object: Option<&Object>) -> bool {
        match (&self.output, object) {
            (Some(a), Some(b)) => !structs_equal(a.value(), b.value()),
            (a, b) => a.is_some() != b.is_some(),
        }
    }

    /// The plugin is done for this round.
    pub fn leave(&mut self, object: Option<&Object>) {
        self.output = object.cloned();
    }
}

/// A write on its way to storage.
#[derive(Clone, Debug)]
pub struct Attributes {
    pub operation: Operation,
    /// Kind of the request's endpoint (Scale for a scale subresource).
    pub kind: GroupVersionKind,
    pub resource: GroupVersionResource,
    /// Empty for the resource itself.
    pub subresource: String,
    /// Empty for cluster-scoped resources.
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
    /// Notes for the audit log.
    pub annotations: AuditAnnotations,
    /// When the client gets its answer at the latest.
    pub deadline: Option<Instant>,
    pub reinvocation: Reinvocation,
}

impl Attributes {
    /// Whether the request is for a resource of a group, whatever the subresource.
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.resource.group == group && self.resource.resource == resource
    }

    /// As [`Self::is`], for the resource itself only.
    pub fn is_main(&self, group: &str, resource: &str) -> bool {
        self.is(group, resource) && self.subresource.is_empty()
    }

    /// Group, resource and subresource, to be matched together.
    pub fn endpoint(&self) -> (&str, &str, &str) {
        (
            &self.resource.group,
            &self.resource.resource,
            &self.subresource,
        )
    }

    pub fn object<T: Described>(&self) -> Option<&T> {
        self.object.as_ref().and_then(Object::get)
    }

    pub fn object_mut<T: Described>(&mut self) -> Option<&mut T> {
        self.object.as_mut().and_then(Object::get_mut)
    }

    pub fn old<T: Described>(&self) -> Option<&T> {
        self.old_object.as_deref().and_then(Object::get)
    }

    pub fn group_resource(&self) -> GroupResource {
        GroupResource {
            group: self.resource.group.clone(),
            resource: self.resource.resource.clone(),
        }
    }

    /// 403 for this request. Without a name it names what the name is to be generated from, or `Unknown`.
    pub fn forbidden(&self, reason: impl fmt::Display) -> StatusError {
        let mut name = self.name.clone();
        if let Some(metadata) = self
            .object
            .as_ref()
            .filter(|object| object.has_metadata())
            .map(Object::metadata)
        {
            if name.is_empty() {
                name.clone_from(&metadata.name);
            }
            if name.is_empty() {
                name.clone_from(&metadata.generate_name);
            }
        }
        if name.is_empty() {
            "Unknown".clone_into(&mut name);
        }
        status::forbidden(&self.group_resource(), &name, reason)
    }
}
