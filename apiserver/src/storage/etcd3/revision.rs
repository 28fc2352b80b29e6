//! The cluster's current revision, for consistent reads.
//!
//! A reader needs a revision read that *began* after it arrived. Readers that arrive while one is under way wait for
//! the next one together: any number of concurrent readers costs etcd two reads at a time.

use std::sync::Arc;

use etcd_client::GetOptions;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::storage::error::Error;
use crate::storage::etcd3::client::EtcdClient;

type Waiter = oneshot::Sender<Result<u64, Error>>;

pub(crate) struct RevisionReader {
    client: Arc<EtcdClient>,
    /// A key nobody writes: the answer is a header and nothing else.
    key: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiter>,
    running: bool,
}

impl RevisionReader {
    /// `prefix` ends in a slash.
    pub(crate) fn new(client: Arc<EtcdClient>, prefix: &str) -> Arc<Self> {
        Arc::new(Self {
            client,
            key: format!("{prefix}health"),
            state: Mutex::default(),
        })
    }

    /// A revision at least as new as everything acknowledged before the call.
    pub(crate) async fn current(self: &Arc<Self>) -> Result<u64, Error> {
        let (sender, receiver) = oneshot::channel();
        let start = {
            let mut state = self.state.lock();
            state.waiting.push(sender);
            !std::mem::replace(&mut state.running, true)
        };
        if start {
            // A task of its own: the reader that happens to be first may go away.
            tokio::spawn(Arc::clone(self).run());
        }
        receiver
            .await
            .unwrap_or_else(|_| Err(Error::internal("the revision read was given up")))
    }

    async fn run(self: Arc<Self>) {
        loop {
            let waiters = {
                let mut state = self.state.lock();
                if state.waiting.is_empty() {
                    state.running = false;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let outcome = self.read().await;
            for waiter in waiters {
                // A reader that has gone away needs no answer.
                let _ = waiter.send(outcome.clone());
            }
        }
    }

    async fn read(&self) -> Result<u64, Error> {
        let response = self
            .client
            .read(|endpoint| {
                let mut kv = endpoint.kv.clone();
                let key = self.key.as_str();
                async move {
                    kv.get(key, Some(GetOptions::new().with_keys_only().with_limit(1)))
                        .await
                }
            })
            .await
            .map_err(|error| error.into_read_error("read the current revision"))?;
        let revision = response.header().map_or(0, |header| header.revision());
        match u64::try_from(revision) {
            Ok(revision) if revision > 0 => Ok(revision),
            _ => Err(Error::internal(
                "the current resource version must be greater than 0",
            )),
        }
    }
}
