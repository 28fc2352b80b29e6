//! What differs between kinds when they are written. Upstream: registry/rest and the strategy.go of each kind.
//!
//! The generic store fixes the order (defaults, prepare, validate, warn, canonicalize, store); a strategy says what
//! happens at each step. A kind without a row of its own gets what `Plain` does.

use api_types::meta::v1::DeleteOptions;
use apimachinery::field::ErrorList;
use component_base::auth::UserInfo;

use super::object::Object;
use crate::apis::validation::dra::AdminAccess;
use crate::request::context::Warnings;

/// What a strategy may know of the request.
#[derive(Clone, Debug, Default)]
pub struct Context {
    pub user: UserInfo,
    pub namespace: String,
    /// Group and version the client used.
    pub api_version: String,
    /// Empty for the resource itself.
    pub subresource: String,
    pub dry_run: bool,
    /// For claims of devices: what their namespace may have.
    pub admin_access: AdminAccess,
    /// The response's warnings, for those that belong to a step other than warning.
    pub warnings: Warnings,
}

/// What happens to dependents when a delete request does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GarbageCollection {
    /// The collector deletes dependents.
    DeleteDependents,
    /// Dependents stay.
    OrphanDependents,
    /// The kind never gets the collector's finalizers.
    Unsupported,
}

/// How a kind is written.
pub trait Strategy: Send + Sync {
    /// Fills in defaults after decoding, for every write and for stored objects that older servers wrote.
    fn default(&self, object: &mut Object) {
        let _ = object;
    }

    /// Clears what clients may not set and sets what the server owns.
    fn prepare_for_create(&self, context: &Context, object: &mut Object) {
        let _ = (context, object);
    }

    /// Problems with a new object.
    fn validate(&self, context: &Context, object: &Object) -> ErrorList {
        let _ = (context, object);
        ErrorList::default()
    }

    fn warnings_on_create(&self, context: &Context, object: &Object) -> Vec<String> {
        let _ = (context, object);
        Vec::new()
    }

    /// Keeps what the request may not change; sets the generation.
    fn prepare_for_update(&self, context: &Context, object: &mut Object, old: &Object) {
        let _ = (context, object, old);
    }

    fn validate_update(&self, context: &Context, object: &Object, old: &Object) -> ErrorList {
        let _ = (context, object, old);
        ErrorList::default()
    }

    fn warnings_on_update(&self, context: &Context, object: &Object, old: &Object) -> Vec<String> {
        let _ = (context, object, old);
        Vec::new()
    }

    /// Brings a valid object into its canonical form.
    fn canonicalize(&self, object: &mut Object) {
        let _ = object;
    }

    /// Whether PUT of a name that does not exist creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether an update without resourceVersion overwrites whatever is there.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    fn garbage_collection(&self, context: &Context) -> GarbageCollection {
        let _ = context;
        GarbageCollection::DeleteDependents
    }

    /// Whether deletion leaves the object until a grace period is over. Sets `options.grace_period_seconds` when true.
    fn check_graceful_delete(&self, object: &Object, options: &mut DeleteOptions) -> bool {
        let _ = (object, options);
        false
    }

    /// Whether graceful deletion exists at all for the kind.
    fn supports_graceful_delete(&self) -> bool {
        false
    }

    /// A name for an object that only brings the beginning of one.
    fn generate_name(&self, base: &str) -> String {
        apimachinery::rand_suffix::generate_name(base)
    }

    /// Go names of the fields an apply request cannot own through this endpoint, such as "Status".
    fn reset_fields(&self) -> &'static [&'static str] {
        &[]
    }
}
