//! Time as the controllers see it: the system's, or one that a test sets. Upstream: k8s.io/utils/clock.

use std::sync::Arc;

use api_types::Time;
use jiff::Timestamp;
use parking_lot::Mutex;

/// A source of the current time. Cheap to clone; clones of a fixed clock share their time.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    fixed: Option<Arc<Mutex<Timestamp>>>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands still at `now` until [`Clock::set`] moves it.
    pub fn fixed(now: Timestamp) -> Self {
        Self {
            fixed: Some(Arc::new(Mutex::new(now))),
        }
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        match &self.fixed {
            Some(time) => *time.lock(),
            None => Timestamp::now(),
        }
    }

    /// The current time as the API writes it.
    pub fn now_time(&self) -> Time {
        Time::from_timestamp(self.now())
    }

    /// Moves a fixed clock; the system's clock does not move.
    pub fn set(&self, now: Timestamp) {
        if let Some(time) = &self.fixed {
            *time.lock() = now;
        }
    }
}
