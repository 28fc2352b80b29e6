//! Changes made to objects before they are cached. Upstream: `client-go/tools/cache.TransformFunc`.
//!
//! A transform runs once per received object, before the store and every handler see it. It must not depend on anything but the
//! object, and must not touch its name, namespace, uid or resource version.

use std::sync::Arc;

use super::Cacheable;

/// A change made to every object before it is cached.
pub type Transform<T> = Arc<dyn Fn(&mut T) + Send + Sync>;

/// Drops `metadata.managedFields`, often half of an object's size.
pub fn drop_managed_fields<T: Cacheable>() -> Transform<T> {
    Arc::new(|object: &mut T| object.drop_managed_fields())
}
