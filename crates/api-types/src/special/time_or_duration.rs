//! `TimeOrMetaDuration` of the logging configuration: nanoseconds as a number, or a duration as text.

use super::Duration;

/// A duration that remembers in which form it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeOrMetaDuration {
    /// The duration.
    pub duration: Duration,
    /// Written as text (`5s`) and not as a number of nanoseconds.
    pub serialize_as_string: bool,
}
