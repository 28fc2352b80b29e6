//! silent-watcher: what watchers that never read cost the others.
//!
//! Watches of one small ConfigMap get its events, and before each of them a big ConfigMap is written. The same again beside watches
//! of all ConfigMaps whose sockets are not read once they are open. Before anything is measured, big events fill all that lies between:
//! from then on the server has someone to whom it can deliver nothing.

use http::Method;
use hyper::body::Incoming;

use super::bench::Bench;
use super::objects::filled_config_map;
use super::watch::{self, Stamped};
use crate::Result;
use crate::connection::{Call, Connection, JSON};
use crate::meter::Usage;
use crate::record::{Outcome, Record};

/// Size of what the silent ones are sent with each event.
const BIG_KIB: usize = 256;
const BIG: &str = "silent-big";
/// Big events before those that are measured: more than sockets and the windows of HTTP/2 hold.
const FILLING: usize = 60;
const SMALL: &str = "silent-small";

pub(super) async fn measure(bench: &mut Bench<'_>) -> Result<()> {
    let big = Call::with_body(
        Method::POST,
        watch::collection(),
        JSON,
        filled_config_map(BIG, BIG_KIB, 0),
    );
    bench.send(0, big).await?;
    let (object, _) = Stamped::create(bench, SMALL).await?;
    // Whoever is first pays for what is made once: both come after a round that does not count.
    run(bench, &object, 0).await?;
    let mut records = Vec::new();
    for (workload, silent) in [
        ("silent-none", 0),
        ("silent-watchers", bench.options.silent),
    ] {
        let (outcome, usage) = run(bench, &object, silent).await?;
        let record = Record::of_outcome(workload, "delivery", outcome, usage.wall);
        records.push(record.with_usage(&usage));
    }
    bench.write(records)
}

/// All events to all watches, beside so many silent ones.
async fn run(bench: &Bench<'_>, object: &Stamped, silent: usize) -> Result<(Outcome, Usage)> {
    let version = object.write(bench).await?;
    let path = watch::watch_path(&format!("&fieldSelector=metadata.name%3D{SMALL}"), &version);
    let watches = bench.options.watchers;
    let connections = watch::connect(bench, watches).await?;
    let (opened, bodies) = watch::open(bench, &connections, &path, watches).await;
    if opened.errors > 0 {
        return Err(format!("watches cannot be opened: {}", opened.first_error).into());
    }
    let silent = fall_silent(bench, &version, silent).await?;
    for number in 0..FILLING {
        write_big(bench, number).await?;
    }
    let meter = bench.meter()?;
    let mut outcome = watch::fan_out(bench, object, bodies, async |number| {
        write_big(bench, FILLING + number).await
    })
    .await?;
    let usage = meter.stop()?;
    outcome.note = format!("{}; {} silent watches", outcome.note, silent.len());
    // They are silent to the end, and then gone.
    silent.iter().for_each(|(connection, _)| connection.cut());
    Ok((outcome, usage))
}

async fn write_big(bench: &Bench<'_>, number: usize) -> Result<()> {
    let path = format!("{}/{BIG}", watch::collection());
    let body = filled_config_map(BIG, BIG_KIB, number + 1);
    let call = Call::with_body(Method::PUT, path, JSON, body);
    bench.send(0, call).await.map(drop)
}

/// Watches of everything, each on a connection of its own that is read no more.
async fn fall_silent(
    bench: &Bench<'_>,
    version: &str,
    count: usize,
) -> Result<Vec<(Connection, Incoming)>> {
    let mut silent = Vec::with_capacity(count);
    for connection in bench.admin.server.connect_many(count).await? {
        let call = Call::get(watch::watch_path("", version));
        let body = connection.open(bench.admin.server.request(call)?).await?;
        connection.fall_silent();
        silent.push((connection, body));
    }
    Ok(silent)
}
