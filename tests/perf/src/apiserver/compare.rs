//! What something costs: the same request with and without it, in turn.
//!
//! A difference of two costs is smaller than what a server's cost drifts by while caches fill and garbage is collected. So the variants
//! take turns in several rounds, every other round in the opposite order, and their costs are summed before they are compared.

use super::bench::Bench;
use super::caller::Caller;
use crate::Result;
use crate::connection::Call;
use crate::meter::Usage;
use crate::record::{Outcome, Record};

const ROUNDS: usize = 4;
/// Requests of each variant that are not measured: what is compiled or looked up once is there after them.
const WARM_UP: usize = 500;

/// One way to make the request.
pub(super) struct Variant<'a> {
    pub(super) workload: &'static str,
    pub(super) caller: &'a Caller,
    pub(super) call: Box<dyn Fn(usize) -> Call + 'a>,
}

/// A record per variant; what the first does not have and the others do is their added cost.
pub(super) async fn compare(bench: &Bench<'_>, variants: &[Variant<'_>]) -> Result<Vec<Record>> {
    let deadline = bench.deadline();
    let in_flight = bench.options.in_flight;
    let count = bench.options.requests.div_ceil(ROUNDS);
    for Variant { caller, call, .. } in variants {
        let outcome = caller.load(WARM_UP, in_flight, deadline, call).await;
        if outcome.errors > 0 {
            return Err(outcome.first_error.into());
        }
    }
    let mut sums: Vec<Option<(Outcome, Usage)>> = variants.iter().map(|_| None).collect();
    for round in 0..ROUNDS {
        let mut order: Vec<usize> = (0..variants.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let Variant { caller, call, .. } = &variants[index];
            let meter = bench.meter()?;
            let outcome = caller.load(count, in_flight, deadline, call).await;
            let usage = meter.stop()?;
            sums[index] = Some(match sums[index].take() {
                None => (outcome, usage),
                Some((outcomes, usages)) => (outcomes.and(outcome), usages.and(usage)),
            });
        }
    }
    let records = variants
        .iter()
        .zip(sums)
        .filter_map(|(variant, sum)| sum.map(|sum| record(variant.workload, sum)))
        .collect();
    Ok(with_added(records))
}

fn record(workload: &str, (mut outcome, usage): (Outcome, Usage)) -> Record {
    outcome.note = format!("in {ROUNDS} rounds");
    Record::of_outcome(workload, "request", outcome, usage.wall).with_usage(&usage)
}

/// Each record's cost over that of the first.
fn with_added(mut records: Vec<Record>) -> Vec<Record> {
    let first = records
        .first()
        .and_then(|record| record.cpu_ms_per_operation);
    for record in records.iter_mut().skip(1) {
        record.added_cpu_ms_per_operation = record
            .cpu_ms_per_operation
            .zip(first)
            .map(|(this, first)| this - first);
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_over_the_first() {
        let record = |cpu| Record {
            cpu_ms_per_operation: Some(cpu),
            ..Record::default()
        };
        let added: Vec<_> = with_added(vec![record(0.5), record(0.75), record(0.25)])
            .into_iter()
            .map(|record| record.added_cpu_ms_per_operation)
            .collect();
        assert_eq!(added, [None, Some(0.25), Some(-0.25)]);
        assert!(with_added(Vec::new()).is_empty());
    }
}
