//! Waiting for something far off in a place that is polled often. A timer or a token that is asked at each poll would cost each
//! its lock and its list of waiters; once it is known who is woken, a look at the clock or a flag is enough.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A future that is polled when it may be ready, and when somebody else is to be woken than before.
pub(crate) struct Alarm {
    future: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    /// Whom it wakes.
    wakes: Option<Waker>,
}

impl Alarm {
    pub(crate) fn new(future: impl Future<Output = ()> + Send + Sync + 'static) -> Self {
        Self {
            // Pending means that it wakes, and not that a budget is spent.
            future: Box::pin(tokio::task::unconstrained(future)),
            wakes: None,
        }
    }

    /// Whether the future is ready. It is asked only if it `may_be`, or if `cx` is not the one that it wakes already.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, may_be: bool) -> Poll<()> {
        let wakes = self.wakes.as_ref();
        if !may_be && wakes.is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        self.wakes = Some(cx.waker().clone());
        self.future.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use tokio_util::sync::CancellationToken;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_asked_last_is_woken_and_the_future_is_asked_when_it_may_be_ready() {
        let token = CancellationToken::new();
        let mut alarm = Alarm::new(token.clone().cancelled_owned());
        let (first, second) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let (one, two) = (Waker::from(first.clone()), Waker::from(second.clone()));
        assert!(
            alarm
                .poll(&mut Context::from_waker(&one), false)
                .is_pending()
        );
        for _ in 0..3 {
            assert!(
                alarm
                    .poll(&mut Context::from_waker(&two), false)
                    .is_pending()
            );
        }
        token.cancel();
        let woken = |by: &Woken| by.0.load(Ordering::Relaxed);
        assert_eq!((woken(&first), woken(&second)), (0, 1));
        assert!(
            alarm
                .poll(&mut Context::from_waker(&two), false)
                .is_pending()
        );
        assert!(alarm.poll(&mut Context::from_waker(&two), true).is_ready());
    }
}
