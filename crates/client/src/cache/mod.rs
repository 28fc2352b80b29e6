//! Local copies of what the server has, and news about changes. Upstream: `client-go/tools/cache`, `client-go/informers`.
//!
//! From the wire to a controller: a [`ListWatch`] reads one collection; the reflector keeps asking it and writes the [`store`];
//! the [`SharedInformer`] around both tells handlers; a [`Lister`] reads the store; the [`InformerFactory`] sees to it that two
//! users of the same collection share one informer. What all this promises is written above [`SharedInformer`].

mod consistency;
mod factory;
mod handlers;
mod list_watch;
mod reflector;
mod shared_informer;
mod store;
pub mod transforms;

use api_types::Object;
use api_types::meta::v1::{ObjectMeta, PartialObjectMetadata};

pub use consistency::{ConsistencyGuard, StaleCache};
pub use factory::InformerFactory;
pub use handlers::{DeletedObject, EventHandler, HandlerRegistration};
pub use list_watch::{
    DynamicListWatch, ListScope, ListWatch, Listed, MetadataListWatch, TypedListWatch,
};
pub use shared_informer::SharedInformer;
pub use store::Lister;
pub use transforms::Transform;

/// An informer over any resource that keeps metadata only.
pub type MetadataInformer = SharedInformer<PartialObjectMetadata>;

/// What a cache can hold: anything with object metadata.
pub trait Cacheable: Send + Sync + 'static {
    /// The object's metadata.
    fn object_meta(&self) -> &ObjectMeta;
    /// Frees the memory of `managedFields`, which nobody reads from a cache.
    fn drop_managed_fields(&mut self);
}

impl<T: Object> Cacheable for T {
    fn object_meta(&self) -> &ObjectMeta {
        self.metadata()
    }

    fn drop_managed_fields(&mut self) {
        self.metadata_mut().managed_fields = Vec::new();
    }
}
