//! reconnect: thousands of watches that lose their connections at the same moment, and come back all at once.
//!
//! All watch the same ConfigMaps and have seen the same last event. Their connections are cut, and while they are away some events
//! happen. Then each opens its watch again from the version it saw last, as a client of list and watch does, and is back when it has
//! got the last event it missed. A server that answers all of them from memory asks etcd for nothing.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use hyper::body::Incoming;

use super::bench::Bench;
use super::watch::{self, GRACE, Stamped, WATCHES_PER_CONNECTION};
use crate::connection::{Call, Connection};
use crate::counters::{self, EtcdReads};
use crate::record::Outcome;
use crate::{Error, Result};

/// Events while nobody is connected.
const MISSED: usize = 10;

pub(super) async fn measure(bench: &mut Bench<'_>) -> Result<()> {
    let watches = bench.options.reconnects;
    let (object, version) = Stamped::create(bench, "reconnect").await?;
    let connections = watch::connect(bench, watches).await?;
    let path = watch::watch_path("", &version);
    let (opened, mut bodies) = watch::open(bench, &connections, &path, watches).await;
    if opened.errors > 0 {
        return Err(format!("watches cannot be opened: {}", opened.first_error).into());
    }
    let last = object.write(bench).await?;
    see_one(&mut bodies, &object).await?;

    let before = etcd_reads(bench).await?;
    connections.iter().for_each(Connection::cut);
    drop(bodies);
    for _ in 0..MISSED {
        object.write(bench).await?;
    }
    let meter = bench.meter()?;
    let mut outcome = come_back(bench, watches, &last, &object).await;
    let note = etcd_reads(bench).await?.since(before);
    outcome.note = format!(
        "{watches} watches on {} connections, {MISSED} events missed; {note}",
        connections.len()
    );
    bench.record("reconnect", "watch", outcome, meter)
}

/// Waits until each watch has seen an event.
async fn see_one(bodies: &mut [Incoming], object: &Stamped) -> Result<()> {
    let deadline = tokio::time::Instant::now() + GRACE;
    let seen = bodies
        .iter_mut()
        .map(|body| watch::receive(body, 1, object.clock, deadline));
    let missing = join_all(seen)
        .await
        .iter()
        .filter(|(latencies, _)| latencies.is_empty())
        .count();
    if missing > 0 {
        return Err(format!("{missing} watches did not see an event in {GRACE:?}").into());
    }
    Ok(())
}

/// Opens all connections and watches at once; how long it took each until it had what it missed.
async fn come_back(bench: &Bench<'_>, watches: usize, last: &str, object: &Stamped) -> Outcome {
    let begun = Instant::now();
    let path = &*watch::watch_path("", last);
    let mut all: FuturesUnordered<_> = (0..watches)
        .step_by(WATCHES_PER_CONNECTION)
        .map(|first| {
            let count = WATCHES_PER_CONNECTION.min(watches - first);
            async move {
                match bench.admin.server.connect().await {
                    Ok(connection) => {
                        let one = || resume(bench, &connection, path, object, begun);
                        join_all((0..count).map(|_| one())).await
                    }
                    Err(error) => vec![Err(error)],
                }
            }
        })
        .collect();
    let mut outcome = Outcome::default();
    while let Some(resumed) = all.next().await {
        for resumed in resumed {
            match resumed {
                Ok((latency, bytes)) => {
                    outcome.latencies.push(latency);
                    outcome.bytes += bytes;
                }
                Err(error) => outcome.failed(error),
            }
        }
    }
    outcome
}

async fn resume(
    bench: &Bench<'_>,
    connection: &Connection,
    path: &str,
    object: &Stamped,
    begun: Instant,
) -> Result<(Duration, u64), Error> {
    let deadline = tokio::time::Instant::now() + GRACE;
    let request = bench.admin.server.request(Call::get(path))?;
    let mut body = connection.open(request).await?;
    let (seen, bytes) = watch::receive(&mut body, MISSED, object.clock, deadline).await;
    if seen.len() < MISSED {
        return Err(format!("{} of {MISSED} missed events came", seen.len()).into());
    }
    Ok((begun.elapsed(), bytes))
}

async fn etcd_reads(bench: &Bench<'_>) -> Result<EtcdReads> {
    let server = bench.admin.text(Call::get("/metrics")).await?;
    let etcd = match &bench.options.etcd_metrics {
        Some(url) => Some(counters::text(url).await?),
        None => None,
    };
    Ok(EtcdReads::of(&server, etcd.as_deref()))
}
