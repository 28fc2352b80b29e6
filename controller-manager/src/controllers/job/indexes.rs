//! Sets of completion indexes as intervals, in the text form of `status.completedIndexes`. Pure. Upstream: indexed_job_utils.go.

use std::fmt;

/// Ordered intervals that do not touch, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Intervals(Vec<(i32, i32)>);

impl Intervals {
    /// Reads `1,3-5,7`. Indexes from `completions` on are left out, pieces that are no intervals are ignored.
    pub(super) fn parse(text: &str, completions: i32) -> Self {
        let mut intervals: Vec<(i32, i32)> = Vec::new();
        for piece in text.split(',').filter(|_| !text.is_empty()) {
            let mut ends = piece.split('-').map(str::parse::<i32>);
            let Some(Ok(first)) = ends.next() else {
                continue;
            };
            if first >= completions {
                break;
            }
            let last = match ends.next() {
                None => first,
                Some(Ok(last)) => last.min(completions - 1),
                Some(Err(_)) => continue,
            };
            match intervals.last_mut() {
                Some(before) if before.1 == first - 1 => before.1 = last,
                _ => intervals.push((first, last)),
            }
        }
        Self(intervals)
    }

    /// With further indexes, in any order.
    pub(super) fn with(&self, indexes: impl IntoIterator<Item = i32>) -> Self {
        self.merge(&Self(
            indexes.into_iter().map(|index| (index, index)).collect(),
        ))
    }

    pub(super) fn merge(&self, other: &Self) -> Self {
        let mut all: Vec<_> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        let mut merged: Vec<(i32, i32)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last)
                }
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    pub(super) fn total(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// The first `count` indexes below `completions` that are not in the set.
    pub(super) fn missing(&self, count: usize, completions: i32) -> Vec<i32> {
        let (mut result, mut candidate) = (Vec::with_capacity(count), 0);
        for &(first, last) in self.0.iter().chain(&[(completions, completions)]) {
            while candidate < first.min(completions) && result.len() < count {
                result.push(candidate);
                candidate += 1;
            }
            candidate = candidate.max(last.saturating_add(1));
        }
        result
    }

    /// How many indexes both sets have.
    pub(super) fn common(&self, other: &Self) -> i32 {
        let (mut a, mut b, mut common) = (self.0.iter().peekable(), other.0.iter().peekable(), 0);
        while let (Some(&&(first_a, last_a)), Some(&&(first_b, last_b))) = (a.peek(), b.peek()) {
            common += (last_a.min(last_b) - first_a.max(first_b) + 1).max(0);
            if last_a <= last_b {
                a.next();
            }
            if last_b <= last_a {
                b.next();
            }
        }
        common
    }
}

impl fmt::Display for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                // Two neighbours are written one by one.
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_parse(text: &str, completions: i32, expected: &str, total: i32) {
        let parsed = Intervals::parse(text, completions);
        assert_eq!(
            (parsed.to_string().as_str(), parsed.total()),
            (expected, total)
        );
    }

    #[test]
    fn texts_are_read() {
        check_parse("", 10, "", 0);
        check_parse("1", 10, "1", 1);
        check_parse("0,1", 10, "0,1", 2);
        check_parse("0-3,5", 10, "0-3,5", 5);
        check_parse("0,1,2", 10, "0-2", 3);
        check_parse("1-8,10", 5, "1-4", 4);
        check_parse("8,9", 5, "", 0);
        check_parse("x,2,3-y,5", 10, "2,5", 2);
        check_parse("-1", 10, "", 0);
    }

    #[test]
    fn indexes_join_neighbours() {
        let base = Intervals::parse("1-3,6", 20);
        assert_eq!(base.with([4, 5]).to_string(), "1-6");
        assert_eq!(base.with([8, 0]).to_string(), "0-3,6,8");
        assert_eq!(base.with([2]).to_string(), "1-3,6");
        assert_eq!(Intervals::default().with([3, 1]).to_string(), "1,3");
        assert_eq!(
            base.merge(&Intervals::parse("0,3-7,9", 20)).to_string(),
            "0-7,9"
        );
    }

    #[test]
    fn membership() {
        let set = Intervals::parse("1-3,6,8-9", 20);
        let members: Vec<_> = (0..12).filter(|index| set.has(*index)).collect();
        assert_eq!(members, [1, 2, 3, 6, 8, 9]);
    }

    #[test]
    fn missing_indexes_come_in_order() {
        let set = Intervals::parse("1-3,6", 20);
        assert_eq!(set.missing(4, 8), [0, 4, 5, 7]);
        assert_eq!(set.missing(2, 8), [0, 4]);
        assert_eq!(set.missing(9, 3), [0]);
        assert_eq!(Intervals::default().missing(2, 5), [0, 1]);
        assert_eq!(Intervals::parse("0-4", 5).missing(2, 5), [] as [i32; 0]);
    }

    #[test]
    fn common_indexes_are_counted() {
        let check = |a: &str, b: &str, expected| {
            assert_eq!(
                Intervals::parse(a, 50).common(&Intervals::parse(b, 50)),
                expected,
                "{a} {b}"
            )
        };
        check("0-5", "3-8", 3);
        check("0-2,4-6", "2-4", 2);
        check("1,3,5", "0,2,4", 0);
        check("", "1", 0);
        check("0-9", "0-9", 10);
    }
}
