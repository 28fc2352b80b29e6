//! What requests cost. Upstream: util/flowcontrol/request, seat_seconds.go and width.go.

use std::fmt;
use std::time::Duration;

/// Work: seats times time, in units of 10 ns of one seat. Also readings of the progress meter R.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeatSeconds(pub(crate) i64);

/// Units in a seat-second.
const SCALE: f64 = 1e8;

impl SeatSeconds {
    pub(crate) const MAX: SeatSeconds = SeatSeconds(i64::MAX);
    pub(crate) const MIN: SeatSeconds = SeatSeconds(i64::MIN);

    /// The work of `seats` seats over `nanoseconds`, which may be negative.
    pub(crate) fn new(seats: f64, nanoseconds: i64) -> SeatSeconds {
        SeatSeconds((seats * nanoseconds as f64 / (1e9 / SCALE)).round() as i64)
    }

    pub(crate) fn seconds(self) -> f64 {
        self.0 as f64 / SCALE
    }

    /// How long this many seats are needed for the work.
    pub(crate) fn per_seat(self, seats: u32) -> Duration {
        let nanoseconds = self.0 as f64 / f64::from(seats) * (1e9 / SCALE);
        Duration::from_nanos(nanoseconds as u64)
    }
}

impl std::ops::Add for SeatSeconds {
    type Output = SeatSeconds;

    fn add(self, other: SeatSeconds) -> SeatSeconds {
        SeatSeconds(self.0.saturating_add(other.0))
    }
}

impl std::ops::Sub for SeatSeconds {
    type Output = SeatSeconds;

    fn sub(self, other: SeatSeconds) -> SeatSeconds {
        SeatSeconds(self.0.saturating_sub(other.0))
    }
}

impl std::ops::AddAssign for SeatSeconds {
    fn add_assign(&mut self, other: SeatSeconds) {
        *self = *self + other;
    }
}

impl std::ops::SubAssign for SeatSeconds {
    fn sub_assign(&mut self, other: SeatSeconds) {
        *self = *self - other;
    }
}

impl fmt::Display for SeatSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let scale = SCALE as u64;
        let units = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:08}ss", units / scale, units % scale)
    }
}

/// What a request is expected to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkEstimate {
    /// Seats while it is executed.
    pub(crate) initial_seats: u32,
    /// Seats afterwards, while watchers are told of the change.
    pub(crate) final_seats: u32,
    /// How long that takes. The client does not wait for it.
    pub(crate) additional_latency: Duration,
}

impl WorkEstimate {
    /// The least a request takes.
    pub(crate) const ONE: WorkEstimate = WorkEstimate::seats(1);

    /// Only seats while it is executed.
    pub(crate) const fn seats(seats: u32) -> WorkEstimate {
        WorkEstimate {
            initial_seats: seats,
            final_seats: 0,
            additional_latency: Duration::ZERO,
        }
    }

    /// The seats that are taken throughout.
    pub(crate) fn max_seats(&self) -> u32 {
        self.initial_seats.max(self.final_seats)
    }

    /// The work after the execution.
    pub(crate) fn final_work(&self) -> SeatSeconds {
        SeatSeconds::new(
            f64::from(self.final_seats),
            nanoseconds(self.additional_latency),
        )
    }
}

/// A duration as Go has it.
pub(crate) fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_shown_as_upstream_does() {
        assert_eq!(SeatSeconds(0).to_string(), "0.00000000ss");
        assert_eq!(
            SeatSeconds::new(2.0, 1_500_000_000).to_string(),
            "3.00000000ss"
        );
        assert_eq!(SeatSeconds::new(1.0, 30).to_string(), "0.00000003ss");
    }

    #[test]
    fn work_can_be_stretched() {
        let estimate = WorkEstimate {
            initial_seats: 1,
            final_seats: 30,
            additional_latency: Duration::from_millis(5),
        };
        assert_eq!(estimate.max_seats(), 30);
        assert_eq!(
            estimate.final_work().per_seat(10),
            Duration::from_millis(15)
        );
    }
}
