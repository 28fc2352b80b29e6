//! What is made of all objects of a resource and used by every request: compiled webhooks and policies. It is made again only when
//! an object changed, and then only of that object. A write of this process is in force for every request that comes after it.

use std::sync::Arc;

use apimachinery::status::{self, StatusError};
use arc_swap::ArcSwapOption;

use super::object::Object;
use super::resource::Resource;
use crate::storage::Stamp;

/// Values made of the objects of a resource, in the order of their names.
pub struct Derived<T> {
    resource: Arc<Resource>,
    make: Box<dyn Fn(Object) -> T + Send + Sync>,
    current: ArcSwapOption<Made<T>>,
}

struct Made<T> {
    stamp: Stamp,
    /// Key, revision and place in `values` of each object.
    keys: Vec<(String, u64)>,
    values: Arc<[Arc<T>]>,
}

impl<T: Send + Sync> Derived<T> {
    /// `make` gets objects of the version that is served.
    pub fn new(
        resource: Arc<Resource>,
        make: impl Fn(Object) -> T + Send + Sync + 'static,
    ) -> Derived<T> {
        Derived {
            resource,
            make: Box::new(make),
            current: ArcSwapOption::empty(),
        }
    }

    /// The values as of now. Fails while the watch cache is not filled.
    pub async fn get(&self) -> Result<Arc<[Arc<T>]>, StatusError> {
        let storage = self.resource.storage()?;
        let stamp = storage.stamp().await.map_err(status::internal)?;
        let known = self.current.load_full();
        if let Some(known) = known.as_deref().filter(|known| known.stamp == stamp) {
            return Ok(known.values.clone());
        }
        let (stamp, entries) = storage.entries().map_err(status::internal)?;
        let mut keys = Vec::with_capacity(entries.len());
        let mut values = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = format!("{}/{}", entry.namespace(), entry.name());
            let revision = entry.resource_version();
            let unchanged = known.as_deref().and_then(|known| {
                let at = known
                    .keys
                    .iter()
                    .position(|(name, at)| *name == key && *at == revision)?;
                known.values.get(at).cloned()
            });
            let value = match unchanged {
                Some(value) => value,
                None => {
                    let object = self.resource.decode_stored(&entry.value(), revision)?;
                    Arc::new((self.make)(self.resource.to_served(object)?))
                }
            };
            keys.push((key, revision));
            values.push(value);
        }
        let values: Arc<[Arc<T>]> = values.into();
        self.current.store(Some(Arc::new(Made {
            stamp,
            keys,
            values: values.clone(),
        })));
        Ok(values)
    }
}
