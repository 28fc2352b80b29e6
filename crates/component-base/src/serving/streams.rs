//! The streams of an HTTP/2 connection belong to the task of the connection.
//!
//! The HTTP implementation wants a task for each stream, which sends the answer's body. Among the tasks of a runtime each piece of a
//! body would go from one task to the other and, as often as not, from one processor to the other; fifty watches of a connection that
//! see the same event would be fifty tasks. Here [`Streams`] takes them, and [`Driver::poll`] polls the connection and those of its
//! streams that were woken by turns, until none has anything to do. Requests are not answered here: handlers are tasks of
//! their own, so those of one connection have all processors.
//!
//! Invariants: a wake while the connection is polled costs no turn of the runtime; one that comes at any other time is never lost; a
//! connection that always has something to do lets others run after some rounds, or when its budget is spent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::task::coop::has_budget_remaining;

/// How often the connection and its streams are polled in one turn: a long list is two megabytes further then, some milliseconds of work.
const ROUNDS: usize = 8;

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where a connection puts its new streams.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<Vec<Stream>>>);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.lock().push(Box::pin(stream));
    }
}

/// Polls a connection together with its streams.
pub(super) struct Driver {
    begun: Streams,
    running: FuturesUnordered<Stream>,
    wakes: Arc<Wakes>,
    waker: Waker,
}

/// What wakes the connection or a stream of it.
#[derive(Default)]
struct Wakes {
    woken: AtomicBool,
    /// The driver will look at `woken` before it waits.
    polling: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // One of the two sees what the other has written: this one that the driver waits, or the driver that it is woken.
        if !self.woken.swap(true, Ordering::SeqCst) && !self.polling.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl Driver {
    pub(super) fn new(begun: Streams) -> Self {
        let wakes = Arc::<Wakes>::default();
        Self {
            begun,
            running: FuturesUnordered::new(),
            waker: Waker::from(wakes.clone()),
            wakes,
        }
    }

    pub(super) fn poll<C: Future>(
        &mut self,
        mut connection: Pin<&mut C>,
        task: &mut Context<'_>,
    ) -> Poll<C::Output> {
        self.wakes.task.register(task.waker());
        self.wakes.polling.store(true, Ordering::SeqCst);
        let mut cx = Context::from_waker(&self.waker);
        for _ in 0..ROUNDS {
            self.wakes.woken.store(false, Ordering::SeqCst);
            if let Poll::Ready(ended) = connection.as_mut().poll(&mut cx) {
                return Poll::Ready(ended);
            }
            self.running.extend(self.begun.0.lock().drain(..));
            while let Poll::Ready(Some(())) = self.running.poll_next_unpin(&mut cx) {}
            if !self.wakes.woken.load(Ordering::SeqCst) || !has_budget_remaining() {
                break;
            }
        }
        self.wakes.polling.store(false, Ordering::SeqCst);
        if self.wakes.woken.load(Ordering::SeqCst) {
            task.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use hyper::rt::Executor as _;
    use tokio::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// Drives a connection to its end.
    async fn drive<C: Future>(connection: C, streams: Streams) -> C::Output {
        let mut driver = Driver::new(streams);
        let mut connection = pin!(connection);
        let driven = std::future::poll_fn(|cx| driver.poll(connection.as_mut(), cx));
        tokio::time::timeout(LIMIT, driven).await.expect("it ends")
    }

    #[tokio::test]
    async fn what_streams_send_reaches_the_connection_in_the_same_turn() {
        let streams = Streams::default();
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let begun = streams.clone();
        let mut driver = Driver::new(streams);
        let mut connection = pin!(async move {
            for stream in 0..50 {
                let sender = sender.clone();
                begun.execute(async move {
                    for piece in 0..4 {
                        sender.send((stream, piece)).unwrap();
                        tokio::task::consume_budget().await;
                    }
                });
            }
            drop(sender);
            let mut received = Vec::new();
            while let Some(piece) = receiver.recv().await {
                received.push(piece);
            }
            received
        });
        let mut polls = 0;
        let received = std::future::poll_fn(|cx| {
            polls += 1;
            driver.poll(connection.as_mut(), cx)
        });
        let received = received.await;
        assert_eq!(received.len(), 200);
        for stream in 0..50 {
            let pieces = received.iter().filter(|piece| piece.0 == stream);
            assert!(pieces.map(|piece| piece.1).eq(0..4));
        }
        // As often as its rounds or its budget are spent, and not for every piece.
        assert!(polls < 10, "{polls}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_from_elsewhere_is_lost() {
        let streams = Streams::default();
        let rounds = 20_000;
        let (sender, mut receiver) = mpsc::channel(1);
        let (back, mut answers) = mpsc::channel(1);
        streams.execute(async move {
            while let Some(number) = receiver.recv().await {
                back.send(number).await.unwrap();
            }
        });
        let other = tokio::spawn(async move {
            for number in 0..rounds {
                sender.send(number).await.unwrap();
            }
        });
        let connection = async move {
            let mut expected = 0;
            while let Some(number) = answers.recv().await {
                assert_eq!(number, expected);
                expected += 1;
            }
            expected
        };
        assert_eq!(drive(connection, streams).await, rounds);
        other.await.unwrap();
    }

    #[tokio::test]
    async fn a_stream_that_is_always_busy_lets_others_run() {
        let streams = Streams::default();
        streams.execute(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        let begun = streams.clone();
        let connection = async move {
            let turn = tokio::spawn(async {});
            // Also what is put off is polled.
            begun.execute(async {
                loop {
                    tokio::task::consume_budget().await;
                }
            });
            turn.await.unwrap();
        };
        drive(connection, streams).await;
    }

    /// Nothing in it asks for a budget.
    #[tokio::test]
    async fn a_busy_connection_has_so_many_rounds_in_a_turn() {
        let mut driver = Driver::new(Streams::default());
        let mut rounds = 0;
        let mut connection = pin!(std::future::poll_fn(|cx| {
            rounds += 1;
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        let woken = Arc::<Wakes>::default();
        let waker = Waker::from(woken.clone());
        let polled = driver.poll(connection.as_mut(), &mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        assert!(woken.woken.load(Ordering::SeqCst), "it has another turn");
        assert_eq!(rounds, ROUNDS);
    }

    #[tokio::test]
    async fn streams_end_with_their_connection() {
        struct Counted(Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let ended = Arc::new(AtomicUsize::new(0));
        let streams = Streams::default();
        let begun = streams.clone();
        let counter = ended.clone();
        let connection = async move {
            for _ in 0..3 {
                let counted = Counted(counter.clone());
                begun.execute(async move {
                    let _counted = counted;
                    std::future::pending().await
                });
            }
            tokio::task::yield_now().await;
        };
        drive(connection, streams).await;
        assert_eq!(ended.load(Ordering::SeqCst), 3);
    }
}
