//! Token bucket shared by the request throttle and the workqueues' overall limiter.
//! Upstream: `client-go/util/flowcontrol`, `golang.org/x/time/rate`.
//!
//! Invariant: a reservation is final. Whoever reserves must wait for the returned time, also when it gives up in between;
//! this is what keeps the long-run rate at `qps` with any number of callers.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A bucket of `burst` tokens that refills with `qps` tokens per second. Starts full.
#[derive(Debug)]
pub struct TokenBucket {
    qps: f64,
    burst: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: f64,
    last: Option<Instant>,
}

impl TokenBucket {
    /// A full bucket. `qps` in tokens per second; `burst` is the number of tokens it can hold (at least one).
    pub fn new(qps: f64, burst: u32) -> Self {
        let burst = f64::from(burst.max(1));
        Self {
            qps,
            burst,
            state: Mutex::new(State {
                tokens: burst,
                last: None,
            }),
        }
    }

    /// Takes one token, now or in the future, and returns how long the caller has to wait for it.
    pub fn reserve(&self) -> Duration {
        self.reserve_at(Instant::now())
    }

    /// Takes one token if there is one now.
    pub fn try_take(&self) -> bool {
        let mut state = self.state.lock();
        self.refill(&mut state, Instant::now());
        if state.tokens >= 1.0 {
            state.tokens -= 1.0;
            true
        } else {
            false
        }
    }

    fn reserve_at(&self, now: Instant) -> Duration {
        let mut state = self.state.lock();
        self.refill(&mut state, now);
        state.tokens -= 1.0;
        if state.tokens >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-state.tokens / self.qps)
        }
    }

    fn refill(&self, state: &mut State, now: Instant) {
        if let Some(last) = state.last {
            let gained = now.saturating_duration_since(last).as_secs_f64() * self.qps;
            state.tokens = (state.tokens + gained).min(self.burst);
        }
        state.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn burst_is_free_and_the_rest_is_spaced() {
        let bucket = TokenBucket::new(10.0, 3);
        let waits: Vec<u128> = (0..6).map(|_| bucket.reserve().as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300]);
        tokio::time::advance(Duration::from_millis(300)).await;
        assert_eq!(bucket.reserve().as_millis(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_bucket_never_holds_more_than_its_burst() {
        let bucket = TokenBucket::new(100.0, 2);
        assert!(bucket.try_take() && bucket.try_take() && !bucket.try_take());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(bucket.try_take() && bucket.try_take() && !bucket.try_take());
    }
}
