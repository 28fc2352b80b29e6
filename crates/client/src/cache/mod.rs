//! Local copies of what the server has, and news about changes. Upstream: `client-go/tools/cache`, `client-go/informers`.
//!
//! From the wire to a controller: a [`list_watch`] source reads one collection; the [`reflector`] keeps asking it and writes the
//! [`store`]; the [`SharedInformer`] around both tells handlers; a [`Lister`] reads the store; the [`InformerFactory`] sees to it
//! that two users of the same collection share one informer. What all this promises is written above [`SharedInformer`].
//!
//! The parameter of the public types is a face only: what is behind it works on objects of any kind, see [`object`].

mod consistency;
mod factory;
mod handlers;
mod list_watch;
mod object;
mod reflector;
mod shared_informer;
mod store;
pub mod transforms;

use api_types::meta::v1::PartialObjectMetadata;

pub use consistency::{ConsistencyGuard, StaleCache};
pub use factory::InformerFactory;
pub use handlers::{DeletedObject, EventHandler, HandlerRegistration};
pub use list_watch::ListScope;
pub use object::Cacheable;
pub use shared_informer::SharedInformer;
pub use store::Lister;
pub use transforms::Transform;

/// An informer over any resource that keeps metadata only.
pub type MetadataInformer = SharedInformer<PartialObjectMetadata>;
