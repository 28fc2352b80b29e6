//! Compaction of etcd's history, shared by all apiservers of a cluster. Upstream: etcd3/compact.go.
//!
//! `compact_rev_key` is the clock: its version counts compactions and its value is the last compacted revision. Every
//! interval each apiserver tries to move the version on from the one it saw last; the one that succeeds compacts to the
//! revision it noted an interval before. So history is kept for one interval, or two after a fail-over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::storage::error::Error;
use crate::storage::etcd3::client::EtcdClient;

/// No prefix: all users of the etcd cluster share it.
pub(crate) const COMPACT_REV_KEY: &str = "compact_rev_key";

/// The newest revision known to be compacted, by anybody.
#[derive(Default)]
pub(crate) struct CompactRevision(AtomicU64);

impl CompactRevision {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn observe(&self, revision: u64) {
        self.0.fetch_max(revision, Ordering::Relaxed);
    }

    /// From the value of [`COMPACT_REV_KEY`].
    pub(crate) fn observe_value(&self, value: &[u8]) {
        if let Some(revision) = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok())
        {
            self.observe(revision);
        }
    }
}

/// What a compactor remembers between rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// Version of the key when last seen.
    pub(crate) version: i64,
    /// The cluster's revision then: what the next round compacts to.
    pub(crate) revision: i64,
}

pub(crate) async fn run(
    client: Arc<EtcdClient>,
    interval: Duration,
    compacted: Arc<CompactRevision>,
    token: CancellationToken,
) {
    let mut round = Round::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = token.cancelled() => return,
        }
        match compact(&client, round).await {
            Ok((next, revision)) => {
                round = next;
                if revision > 0 {
                    compacted.observe(revision.unsigned_abs());
                }
            }
            Err(problem) => error!(error = %problem, "etcd: compact failed"),
        }
    }
}

/// One round. Gives back what to remember and the revision compacted by this or another process, 0 when not known.
pub(crate) async fn compact(client: &EtcdClient, round: Round) -> Result<(Round, i64), Error> {
    let txn = Txn::new()
        .when([Compare::version(
            COMPACT_REV_KEY,
            CompareOp::Equal,
            round.version,
        )])
        .and_then([TxnOp::put(
            COMPACT_REV_KEY,
            round.revision.to_string(),
            None,
        )])
        .or_else([TxnOp::get(COMPACT_REV_KEY, None)]);
    let response = client
        .write(|endpoint| {
            let mut kv = endpoint.kv.clone();
            let txn = txn.clone();
            async move { kv.txn(txn).await }
        })
        .await
        .map_err(|error| error.into_write_error("compaction txn"))?;
    let revision = response.header().map_or(0, |header| header.revision());
    if !response.succeeded() {
        let seen = response
            .op_responses()
            .into_iter()
            .find_map(|response| match response {
                etcd_client::TxnOpResponse::Get(get) => get.kvs().first().cloned(),
                _ => None,
            });
        let Some(seen) = seen else {
            return Err(Error::internal(
                "etcd: compaction txn: no key in the answer",
            ));
        };
        let compacted = seen
            .value_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        return Ok((
            Round {
                version: seen.version(),
                revision,
            },
            compacted,
        ));
    }
    let next = Round {
        version: round.version + 1,
        revision,
    };
    if round.revision == 0 {
        // No interval has passed yet.
        return Ok((next, 0));
    }
    client
        .write(|endpoint| {
            let mut kv = endpoint.kv.clone();
            async move { kv.compact(round.revision, None).await }
        })
        .await
        .map_err(|error| error.into_write_error("compact"))?;
    debug!(revision = round.revision, "etcd: compacted");
    Ok((next, round.revision))
}
