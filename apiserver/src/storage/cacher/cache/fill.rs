//! The initial list of a resource. Pages have as many objects as upstream's, but no more bytes than a limit: of large objects, ten thousand
//! are the whole collection, and a page is in memory twice while it is taken apart, besides the next one, which is under way meanwhile.
//! Smaller pages would cost more than they save: etcd counts what is left for each.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join;
use tokio::task::spawn_blocking;
use tracing::error;

use super::Cache;
use super::state::Phase;
use crate::storage::entry::Entry;
use crate::storage::error::Error;
use crate::storage::etcd3::store::{Page, RawKeyValue};
use crate::storage::key::{Key, prefix_end};

/// Objects of the first page: it is not known yet how large they are.
const FIRST_PAGE: usize = 100;
/// How many times as many the next has at most, since the next objects may be larger.
const GROWTH: usize = 10;
/// What a page has at most, about.
const PAGE_BYTES: usize = 64 << 20;
/// Objects of a page at most, as upstream's.
const MAX_PAGE: usize = 10_000;

/// What has been listed.
#[derive(Default)]
struct Listed {
    entries: Vec<Arc<Entry>>,
    corrupt: BTreeMap<Key, Error>,
}

impl Cache {
    /// Lists everything and goes on with the events that came meanwhile.
    pub(super) async fn fill(self: &Arc<Self>, epoch: u64) -> Result<(), Error> {
        if let Phase::Pending {
            backlog, overflown, ..
        } = &mut self.state.write().phase
        {
            backlog.clear();
            *overflown = false;
        }
        let mut listed = Listed::default();
        let mut page = self.page(self.store.keys.root(), FIRST_PAGE, 0).await?;
        let revision = page.revision;
        while let Some(last) = page.items.last()
            && i64::try_from(page.items.len()).is_ok_and(|items| items < page.count)
        {
            let (start, limit) = (format!("{}\0", last.key), next_limit(&page.items));
            // etcd works on the next one, and it is received, while this one is taken apart.
            let this = Arc::clone(self);
            let taken = spawn_blocking(move || {
                this.take(page.items, &mut listed)?;
                Ok::<_, Error>(listed)
            });
            let (next, taken) = join(self.page(&start, limit, revision), taken).await;
            listed = taken.map_err(|error| Error::internal(error.to_string()))??;
            page = next?;
        }
        self.take(page.items, &mut listed)?;
        self.install(epoch, revision, listed.entries, listed.corrupt)
    }

    async fn page(&self, start: &str, limit: usize, revision: u64) -> Result<Page, Error> {
        let root = self.store.keys.root();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.store
            .range(start, &prefix_end(root.as_bytes()), limit, revision, false)
            .await
            .map_err(|error| error.into_read_error(&format!("list {root}")))
    }

    fn take(&self, items: Vec<RawKeyValue>, listed: &mut Listed) -> Result<(), Error> {
        for raw in items {
            let key = raw.key.clone();
            match self.store.entry(raw) {
                Ok(mut entry) => {
                    self.interner.lock().compact(&mut entry.header, None);
                    entry.value.divide(&mut self.blocks.lock());
                    listed.entries.push(Arc::new(entry));
                }
                Err(problem @ Error::Corrupt { .. }) => {
                    error!(%key, error = %problem, "watch cache: stored value cannot be read");
                    listed.corrupt.insert(Key(key.into()), problem);
                }
                // A key service does not answer, say.
                Err(problem) => return Err(problem),
            }
        }
        Ok(())
    }
}

/// How many objects to ask for after these, of which there are some.
fn next_limit(items: &[RawKeyValue]) -> usize {
    let bytes: usize = items.iter().map(|item| item.value.len()).sum();
    let average = (bytes / items.len().max(1)).max(1);
    (PAGE_BYTES / average)
        .min(items.len().saturating_mul(GROWTH))
        .clamp(1, MAX_PAGE)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn pages_grow_to_their_size_in_bytes() {
        let page = |count: usize, bytes: usize| -> Vec<RawKeyValue> {
            let value = Bytes::from(vec![0; bytes]);
            let item = |_| RawKeyValue {
                key: String::new(),
                value: value.clone(),
                revision: 1,
            };
            (0..count).map(item).collect()
        };
        // Small objects: more each time, but never too many.
        assert_eq!(next_limit(&page(100, 10)), 1_000);
        assert_eq!(next_limit(&page(6_400, 10)), MAX_PAGE);
        assert_eq!(next_limit(&page(400, 0)), 4_000);
        // Large ones, and those as large as etcd takes.
        assert_eq!(next_limit(&page(1_000, 256 << 10)), 256);
        assert_eq!(next_limit(&page(100, 3 << 19)), 42);
        // One of a kind.
        assert_eq!(next_limit(&page(1, 80 << 20)), 1);
    }
}
