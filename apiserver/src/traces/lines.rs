//! What the log says of slow requests: a line for the request, and one for each step and part that took its share.
//! Upstream: k8s.io/utils/trace.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::trace::{Fields, Item, Kind, Span, Value};

/// What takes longer is logged.
pub(super) const SLOW: Duration = Duration::from_millis(500);

/// The items right below a span that the log tells of.
fn below(items: &[Item], of: usize) -> impl Iterator<Item = (usize, &Item)> {
    items
        .iter()
        .enumerate()
        .skip(of + 1)
        .filter(move |(_, item)| {
            let told = |span: &Span| span.kind == Kind::Work;
            item.parent == Some(of) && item.span.as_ref().is_none_or(told)
        })
}

fn duration(item: &Item) -> Option<Duration> {
    let end = item.span.as_ref()?.end?;
    Some(end.saturating_duration_since(item.at))
}

fn is_slow(item: &Item) -> bool {
    duration(item).is_some_and(|took| took >= SLOW)
}

/// Logs a span that took long, or those below it that did.
pub(super) fn log_slow(items: &[Item], at: usize, all: bool, log: &mut dyn FnMut(&str)) {
    let Some(item) = items.get(at) else { return };
    let Some(took) = duration(item).filter(|took| *took >= SLOW) else {
        for (nested, _) in below(items, at).filter(|(_, item)| item.span.is_some()) {
            log_slow(items, nested, all, log);
        }
        return;
    };
    let number = rand::random::<u32>() >> 1;
    let total = go_duration(took);
    let mut line = format!("Trace[{number}]: \"{}\" ", item.name);
    write_fields(&item.fields, &mut line);
    let started = wall_clock(item.at).strftime("%d-%b-%Y %H:%M:%S%.3f");
    let _ = write!(line, "({started}) (total time: {}ms):", took.as_millis());
    let start = format!("\nTrace[{number}]: ");
    write_items(&mut line, items, at, all, &start);
    let _ = write!(line, "{start}[{total}] [{total}] END");
    log(&line);
}

/// The items below a span, each with what has passed since the one before.
fn write_items(line: &mut String, items: &[Item], of: usize, all: bool, start: &str) {
    let share = share_of_a_step(items, of);
    let mut last = items.get(of).map(|item| item.at);
    for (at, item) in below(items, of) {
        match &item.span {
            None => {
                let took = last.map_or(Duration::ZERO, |last| {
                    item.at.saturating_duration_since(last)
                });
                if took >= share || all {
                    let _ = write!(line, "{start}---");
                    write_summary(line, item, took, item.at);
                }
                last = Some(item.at);
            }
            Some(span) => {
                write_span(line, items, at, all, start);
                last = Some(span.end.unwrap_or(item.at));
            }
        }
    }
}

fn write_span(line: &mut String, items: &[Item], at: usize, all: bool, start: &str) {
    let Some(item) = items.get(at) else { return };
    if !is_slow(item) && !all {
        for (nested, _) in below(items, at).filter(|(_, item)| item.span.is_some()) {
            write_span(line, items, nested, all, start);
        }
        return;
    }
    let _ = write!(line, "{start}[");
    // As upstream, until now.
    write_summary(line, item, item.at.elapsed(), item.at);
    write_items(line, items, at, all, &format!("{start} "));
    line.push(']');
}

fn write_summary(line: &mut String, item: &Item, took: Duration, at: Instant) {
    let _ = write!(line, "\"{}\" ", item.name);
    write_fields(&item.fields, line);
    let at = wall_clock(at).strftime("%H:%M:%S%.3f");
    let _ = write!(line, "{}ms ({at})", took.as_millis());
}

/// Steps that took less than their share of what is slow are left out. Upstream: calculateStepThreshold.
fn share_of_a_step(items: &[Item], of: usize) -> Duration {
    let (mut left, mut steps) = (SLOW, 1_u32);
    let mut all = 1_u32;
    for (_, item) in below(items, of) {
        all += 1;
        match item.span.as_ref().and_then(|span| span.end) {
            Some(_) => left = left.saturating_sub(SLOW),
            None => steps += 1,
        }
    }
    if left < SLOW / 4 {
        (left, steps) = (SLOW / 4, all);
    }
    left / steps
}

fn go_duration(took: Duration) -> String {
    apimachinery::duration::format(i64::try_from(took.as_nanos()).unwrap_or(i64::MAX))
}

fn wall_clock(at: Instant) -> jiff::Zoned {
    let ago = jiff::SignedDuration::try_from(at.elapsed()).unwrap_or_default();
    let now = jiff::Zoned::now();
    now.checked_sub(ago).unwrap_or(now)
}

/// As klog has them.
fn write_fields(fields: &Fields, out: &mut String) {
    for (at, (key, value)) in fields.0.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let _ = match value {
            Value::Text(text) => write!(out, "{comma}{key}:{text}"),
            Value::Number(number) => write!(out, "{comma}{key}:{number}"),
        };
    }
    if !fields.0.is_empty() {
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items whose times are milliseconds.
    struct Recorded(Instant, Vec<Item>);

    impl Recorded {
        fn new() -> Recorded {
            let long_ago = Instant::now().checked_sub(Duration::from_secs(60));
            Recorded(long_ago.unwrap(), Vec::new())
        }

        fn at(&self, ms: u64) -> Instant {
            self.0 + Duration::from_millis(ms)
        }

        fn add(&mut self, name: &'static str, parent: Option<usize>, from: u64, to: Option<u64>) {
            let mut fields = Fields::default();
            fields.number("len", self.1.len()).text("name", name);
            let end = to.map(|to| Some(self.at(to)));
            let (kind, id) = (Kind::Work, [0; 8]);
            self.1.push(Item {
                name,
                at: self.at(from),
                parent,
                fields,
                span: end.map(|end| Span { kind, end, id }),
            });
        }

        /// What is logged of the first span, without times of day and numbers of traces.
        fn lines(&self, all: bool) -> Vec<String> {
            let mut text = String::new();
            log_slow(&self.1, 0, all, &mut |line| {
                text = format!("{text}{line}\n")
            });
            let without_times = |line: &str| {
                let mut parts = line.split('(');
                let mut out = parts.next().unwrap_or_default().to_owned();
                for part in parts {
                    let (_, after) = part.split_once(')').expect("a pair");
                    out.push_str(after);
                }
                out
            };
            text.lines().map(without_times).collect()
        }
    }

    #[test]
    fn slow_requests_are_told_with_their_slow_steps() {
        let mut recorded = Recorded::new();
        recorded.add("Create", None, 0, Some(700));
        recorded.add("limitedReadBody succeeded", Some(0), 2, None);
        recorded.add("Create etcd3", Some(0), 10, Some(600));
        recorded.add("Txn call succeeded", Some(2), 590, None);
        recorded.add("Write to database call succeeded", Some(0), 600, None);
        recorded.add("Writing http response done", Some(0), 690, None);
        let lines = recorded.lines(false);
        assert_eq!(lines.len(), 5, "{lines:#?}");
        assert!(
            lines[0].ends_with("\"Create\" len:0,name:Create  :"),
            "{}",
            lines[0]
        );
        assert!(
            lines[1].contains(": [\"Create etcd3\" len:2,name:Create etcd3 "),
            "{}",
            lines[1]
        );
        assert!(
            lines[2]
                .ends_with(":  ---\"Txn call succeeded\" len:3,name:Txn call succeeded 580ms ]"),
            "{}",
            lines[2]
        );
        assert!(
            lines[3].contains(": ---\"Writing http response done\" "),
            "{}",
            lines[3]
        );
        assert!(lines[4].ends_with(": [700ms] [700ms] END"), "{}", lines[4]);
        let all = recorded.lines(true);
        assert_eq!(all.len(), 7, "{all:#?}");
    }

    #[test]
    fn of_quick_requests_only_slow_parts_are_told() {
        let mut recorded = Recorded::new();
        recorded.add("Get", None, 0, Some(499));
        assert!(recorded.lines(true).is_empty());
        // A part that has outlived its request.
        recorded.add("cacher.Get", Some(0), 0, Some(500));
        let lines = recorded.lines(false);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("\"cacher.Get\" "), "{}", lines[0]);
    }
}
