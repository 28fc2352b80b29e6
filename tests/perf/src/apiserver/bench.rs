//! What all workloads share: whom they load the server as, and measuring.

use std::time::{Duration, Instant};

use client::Client;
use client::config::ClientConfig;
use memchr::memmem;

use super::Options;
use super::caller::Caller;
use crate::Result;
use crate::connection::{Answer, Call};
use crate::meter::{Meter, Subjects};
use crate::record::{Outcome, Record, Recorder};

pub(super) struct Bench<'a> {
    pub(super) options: &'a Options,
    /// The kubeconfig's user, who is cluster admin.
    pub(super) config: ClientConfig,
    /// The same user, for what is not measured.
    pub(super) client: Client,
    /// The same user, for what is.
    pub(super) admin: Caller,
    pub(super) subjects: Subjects,
    pub(super) recorder: Recorder,
    /// How many pods there are: fewer than asked for if creating them took too long.
    pub(super) pods: usize,
}

impl Bench<'_> {
    /// Sends one request of the admin's; the number chooses the connection.
    pub(super) async fn send(&self, number: usize, call: Call) -> Result<Answer> {
        self.admin.send(number, call).await
    }

    /// Sends `count` requests of the admin's with up to `in_flight` under way, until time is up.
    pub(super) async fn load(
        &self,
        count: usize,
        in_flight: usize,
        call: impl Fn(usize) -> Call,
    ) -> Outcome {
        let deadline = self.deadline();
        self.admin.load(count, in_flight, deadline, call).await
    }

    /// When a workload that begins now has to end.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.options.limit)
    }

    pub(super) fn meter(&self) -> Result<Meter> {
        Meter::start(&self.subjects)
    }

    /// Ends the measurement and writes its record.
    pub(super) fn record(
        &mut self,
        workload: &str,
        unit: &str,
        outcome: Outcome,
        meter: Meter,
    ) -> Result<()> {
        let usage = meter.stop()?;
        let record = Record::of_outcome(workload, unit, outcome, usage.wall).with_usage(&usage);
        self.recorder.write(record)
    }

    pub(super) fn write(&mut self, records: Vec<Record>) -> Result<()> {
        records
            .into_iter()
            .try_for_each(|record| self.recorder.write(record))
    }
}

/// A string of an object's metadata, from the first bytes of its JSON. `None` if it is empty or not there.
pub(super) fn text_field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    // Items of a list have metadata of their own.
    let end = memmem::find(head, br#""items":"#).unwrap_or(head.len());
    let mark = format!("\"{name}\":\"");
    let begin = memmem::find(&head[..end], mark.as_bytes())? + mark.len();
    let length = memchr::memchr(b'"', &head[begin..])?;
    let text = std::str::from_utf8(&head[begin..begin + length]).ok()?;
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, expected: Option<&str>) {
        assert_eq!(text_field(head.as_bytes(), "continue"), expected, "{head}");
    }

    #[test]
    fn text_fields() {
        check(
            r#"{"metadata":{"resourceVersion":"5","continue":"abc_-","x":1},"items":["#,
            Some("abc_-"),
        );
        check(r#"{"metadata":{"continue":""},"items":["#, None);
        check(r#"{"metadata":{},"items":[{"continue":"x"}]"#, None);
        check(r#"{"metadata":{"continue":"cut"#, None);
    }
}
