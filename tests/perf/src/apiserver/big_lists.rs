//! big-lists: lists of a collection whose objects are big, several at once, and how much memory they take.
//!
//! What the server holds for the collection is there before; what it takes for answers is `rss_peak_kib` less `rss_before_kib`. The
//! objects are removed one by one: a deletion of the collection would be answered with all of it.

use std::time::Duration;

use http::Method;

use super::bench::Bench;
use super::caller::Caller;
use super::objects::filled_config_map;
use super::watch::collection;
use crate::Result;
use crate::connection::{Call, JSON, PROTOBUF};
use crate::record::{Outcome, Record};

/// Time for the server to give back what creating the objects took, before memory is looked at.
const SETTLE: Duration = Duration::from_secs(15);
/// Creations under way: each has its body in several places at once.
const IN_FLIGHT: usize = 8;

pub(super) async fn measure(bench: &mut Bench<'_>) -> Result<()> {
    let objects = bench.options.objects;
    let size = bench.options.object_kib;
    let created = bench
        .load(objects, IN_FLIGHT, |number| {
            let body = filled_config_map(&name(number), size, number);
            Call::with_body(Method::POST, collection(), JSON, body)
        })
        .await;
    let listed = if created.errors == 0 && created.latencies.len() == objects {
        list(bench, objects).await
    } else {
        Err(format!(
            "{} of {objects} objects were created: {}",
            created.latencies.len(),
            created.first_error
        )
        .into())
    };
    let removed = bench
        .load(created.latencies.len(), IN_FLIGHT, |number| {
            Call::with_body(
                Method::DELETE,
                format!("{}/{}", collection(), name(number)),
                JSON,
                "",
            )
        })
        .await;
    if removed.errors > 0 {
        eprintln!(
            "big-lists: {} objects stay: {}",
            removed.errors, removed.first_error
        );
    }
    listed
}

async fn list(bench: &mut Bench<'_>, objects: usize) -> Result<()> {
    let lists = bench.options.lists;
    // Each as from a client of its own.
    let caller = Caller::connect(&bench.config, lists).await?;
    tokio::time::sleep(SETTLE).await;
    for (workload, media_type) in [("big-lists-json", JSON), ("big-lists-protobuf", PROTOBUF)] {
        let meter = bench.meter()?;
        let deadline = bench.deadline();
        let outcome = caller
            .load(lists, lists, deadline, |_| {
                Call::get(collection()).accept(media_type)
            })
            .await;
        let usage = meter.stop()?;
        let grown = usage.resident_peak.saturating_sub(usage.resident_before) / 1024;
        let outcome = Outcome {
            note: format!(
                "{objects} objects of {} KiB, {lists} lists at once; resident memory grew by {grown} MiB",
                bench.options.object_kib
            ),
            ..outcome
        };
        bench.write(vec![
            Record::of_outcome(workload, "list", outcome, usage.wall).with_usage(&usage),
        ])?;
    }
    Ok(())
}

fn name(number: usize) -> String {
    format!("big-{number:05}")
}
