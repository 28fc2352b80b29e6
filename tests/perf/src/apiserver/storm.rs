//! A load beside the one that is measured: another client, on a thread of its own, with many requests under way until it is stopped.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::config::ClientConfig;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;

use super::caller::Caller;
use crate::Result;
use crate::connection::Call;
use crate::record::Outcome;

/// Half of what Go's server allows on a connection.
const REQUESTS_PER_CONNECTION: usize = 50;
/// As client-go does when it is told to come back later.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

pub(super) struct Storm {
    stop: watch::Sender<bool>,
    thread: JoinHandle<Result<Outcome>>,
}

impl Storm {
    /// GETs this path with so many requests under way at all times.
    pub(super) fn start(config: ClientConfig, path: String, in_flight: usize) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread =
            std::thread::spawn(move || runtime.block_on(rage(&config, &path, in_flight, stopped)));
        Ok(Self { stop, thread })
    }

    /// Ends it, and tells what it got. Requests under way are given up and not counted.
    pub(super) fn stop(self) -> Result<Outcome> {
        self.stop.send_replace(true);
        self.thread
            .join()
            .map_err(|_| "the thread of the other load panicked")?
    }
}

async fn rage(
    config: &ClientConfig,
    path: &str,
    in_flight: usize,
    stopped: watch::Receiver<bool>,
) -> Result<Outcome> {
    let connections = in_flight.div_ceil(REQUESTS_PER_CONNECTION);
    let caller = Caller::connect(config, connections).await?;
    let caller = &caller;
    let workers: FuturesUnordered<_> = (0..in_flight)
        .map(|number| {
            let mut stopped = stopped.clone();
            async move {
                let mut outcome = Outcome::default();
                tokio::select! {
                    // Stopped, or the one who could do that is gone.
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                    () = ask_again_and_again(caller, number, path, &mut outcome) => {}
                }
                outcome
            }
        })
        .collect();
    Ok(workers
        .fold(Outcome::default(), |all, one| {
            std::future::ready(all.and(one))
        })
        .await)
}

async fn ask_again_and_again(caller: &Caller, number: usize, path: &str, outcome: &mut Outcome) {
    loop {
        let begun = Instant::now();
        let answer = caller.send(number, Call::get(path)).await;
        outcome.took(begun.elapsed(), &answer);
        if answer.is_err() {
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
        }
    }
}
