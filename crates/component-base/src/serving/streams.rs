//! The streams of an HTTP/2 connection belong to the task of the connection.
//!
//! The HTTP implementation wants a task for each stream, which sends the answer's body. Among the tasks of a runtime each piece of a
//! body would go from one task to the other and, as often as not, from one processor to the other; fifty watches of a connection that
//! see the same event would be fifty tasks. Here [`Streams`] takes them, and [`Driver::poll`] polls the connection and those of its
//! streams that were woken by turns, until none has anything to do. Requests are not answered here: handlers are tasks of
//! their own, so those of one connection have all processors.
//!
//! Which streams were woken is a set of bits that they share: what a stream has of its own is in no processor's cache when an event
//! comes. Finding it touches nothing of that, and waking it no more than the waker.
//!
//! Invariants: a wake while the connection is polled costs no turn of the runtime; one that comes at any other time is never lost; a
//! connection that always has something to do lets others run after some rounds, or when its budget is spent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use slab::Slab;
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
    running: Slab<Running>,
    wakes: Arc<Wakes>,
    waker: Waker,
    /// Empty between two passes; it keeps its memory.
    turn: Bits,
}

struct Running {
    stream: Stream,
    waker: Waker,
}

/// What wakes the connection or a stream of it.
#[derive(Default)]
struct Wakes {
    woken: AtomicBool,
    /// The driver will look at `woken` before it waits.
    polling: AtomicBool,
    task: AtomicWaker,
    /// The streams that were woken.
    streams: Mutex<Bits>,
}

/// A set of small numbers.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn insert(&mut self, number: usize) {
        let word = number / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    /// Takes the least number from the word on that is given, and leaves there the word it was in.
    fn take(&mut self, word: &mut usize) -> Option<usize> {
        loop {
            let bits = self.0.get_mut(*word)?;
            if *bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                *bits &= *bits - 1;
                return Some(*word * 64 + bit);
            }
            *word += 1;
        }
    }
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

/// Wakes one stream, or the one that has its number after it, which does no harm.
struct StreamWake {
    wakes: Arc<Wakes>,
    number: usize,
}

impl Wake for StreamWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wakes.streams.lock().insert(self.number);
        self.wakes.wake_by_ref();
    }
}

impl Driver {
    pub(super) fn new(begun: Streams) -> Self {
        let wakes = Arc::<Wakes>::default();
        Self {
            begun,
            running: Slab::new(),
            waker: Waker::from(wakes.clone()),
            wakes,
            turn: Bits::default(),
        }
    }

    pub(super) fn poll<C: Future>(
        &mut self,
        mut connection: Pin<&mut C>,
        task: &mut Context<'_>,
    ) -> Poll<C::Output> {
        self.wakes.task.register(task.waker());
        self.wakes.polling.store(true, Ordering::SeqCst);
        for _ in 0..ROUNDS {
            self.wakes.woken.store(false, Ordering::SeqCst);
            let mut cx = Context::from_waker(&self.waker);
            if let Poll::Ready(ended) = connection.as_mut().poll(&mut cx) {
                return Poll::Ready(ended);
            }
            std::mem::swap(&mut *self.wakes.streams.lock(), &mut self.turn);
            self.begin();
            self.poll_woken();
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

    /// Takes the connection's new streams.
    fn begin(&mut self) {
        for stream in self.begun.0.lock().drain(..) {
            let entry = self.running.vacant_entry();
            let number = entry.key();
            let wakes = self.wakes.clone();
            let waker = Waker::from(Arc::new(StreamWake { wakes, number }));
            entry.insert(Running { stream, waker });
            self.turn.insert(number);
        }
    }

    fn poll_woken(&mut self) {
        let mut word = 0;
        while let Some(number) = self.turn.take(&mut word) {
            let Some(Running { stream, waker }) = self.running.get_mut(number) else {
                continue;
            };
            let polled = stream.as_mut().poll(&mut Context::from_waker(waker));
            if polled.is_ready() {
                self.running.remove(number);
            }
        }
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

    #[test]
    fn bits_are_taken_in_order() {
        let mut bits = Bits::default();
        let numbers = [0, 1, 63, 64, 129, 1000];
        for number in numbers.iter().rev() {
            bits.insert(*number);
            bits.insert(*number);
        }
        let mut word = 0;
        let taken: Vec<_> = std::iter::from_fn(|| bits.take(&mut word)).collect();
        assert_eq!(taken, numbers);
        assert!(bits.0.iter().all(|bits| *bits == 0));
    }

    /// The waker of one that has ended wakes the next one with its number.
    #[tokio::test]
    async fn streams_come_and_go() {
        let streams = Streams::default();
        let begun = streams.clone();
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let old = Arc::new(Mutex::new(Vec::<Waker>::new()));
        let connection = async move {
            for round in 0..10 {
                for stream in 0..100 {
                    let (sender, old) = (sender.clone(), old.clone());
                    begun.execute(async move {
                        for waker in old.lock().iter() {
                            waker.wake_by_ref();
                        }
                        std::future::poll_fn(|cx| {
                            old.lock().push(cx.waker().clone());
                            Poll::Ready(())
                        })
                        .await;
                        tokio::task::yield_now().await;
                        sender.send((round, stream)).unwrap();
                    });
                }
                let mut ended: Vec<_> = Vec::new();
                while ended.len() < 100 {
                    ended.push(receiver.recv().await.unwrap());
                }
                ended.sort_unstable();
                assert!(ended.into_iter().eq((0..100).map(|stream| (round, stream))));
                old.lock().truncate(100);
            }
        };
        drive(connection, streams).await;
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
