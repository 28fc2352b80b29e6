//! One user of the server: connections that prove who it is, and requests over them with several under way.

use std::future::ready;
use std::time::{Duration, Instant};

use client::config::ClientConfig;
use futures::{StreamExt as _, stream};

use crate::Result;
use crate::connection::{Answer, Call, Connection, Server};
use crate::record::Outcome;

pub(super) struct Caller {
    pub(super) server: Server,
    connections: Vec<Connection>,
}

impl Caller {
    /// Opens the connections. They live as long as the runtime this is called in.
    pub(super) async fn connect(config: &ClientConfig, connections: usize) -> Result<Self> {
        let server = Server::new(config)?;
        let connections = server.connect_many(connections).await?;
        Ok(Self {
            server,
            connections,
        })
    }

    /// Sends one request; the number chooses the connection.
    pub(super) async fn send(&self, number: usize, call: Call) -> Result<Answer> {
        let connection = &self.connections[number % self.connections.len()];
        connection.send(self.server.request(call)?).await
    }

    /// Sends one request and reads its whole answer as text.
    pub(super) async fn text(&self, call: Call) -> Result<String> {
        self.connections[0].text(self.server.request(call)?).await
    }

    /// Sends `count` requests with up to `in_flight` under way, until time is up.
    pub(super) async fn load(
        &self,
        count: usize,
        in_flight: usize,
        deadline: Instant,
        call: impl Fn(usize) -> Call,
    ) -> Outcome {
        self.load_paced(count, in_flight, Duration::ZERO, deadline, call)
            .await
    }

    /// [`Self::load`] with at least `period` from one request to the next; what was held up is made up for.
    pub(super) async fn load_paced(
        &self,
        count: usize,
        in_flight: usize,
        period: Duration,
        deadline: Instant,
        call: impl Fn(usize) -> Call,
    ) -> Outcome {
        let call = &call;
        let start = Instant::now();
        stream::iter(0..count)
            .take_while(|_| ready(Instant::now() < deadline))
            .map(|number| async move {
                if !period.is_zero() {
                    let due = start + period.mul_f64(number as f64);
                    tokio::time::sleep_until(due.into()).await;
                }
                let call = call(number);
                let begun = Instant::now();
                let answer = self.send(number, call).await;
                (begun.elapsed(), answer)
            })
            .buffer_unordered(in_flight)
            .fold(Outcome::default(), |mut outcome, (latency, answer)| {
                outcome.took(latency, &answer);
                ready(outcome)
            })
            .await
    }
}

impl Outcome {
    /// Counts one request.
    pub(super) fn took(&mut self, latency: Duration, answer: &Result<Answer>) {
        match answer {
            Ok(answer) => {
                self.latencies.push(latency);
                self.bytes += answer.bytes as u64;
            }
            Err(error) => self.failed(error),
        }
    }
}
