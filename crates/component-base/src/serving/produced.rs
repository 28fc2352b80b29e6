//! Bodies that take long to make, piece by piece. One alone is made as its connection takes it. When there are several, threads of
//! their own make them, of lower priority than those that answer requests: a server that sends fifty long lists answers a small
//! request nearly as soon as ever. The threads cost a switch from one to the other per piece, which one alone need not pay.
//!
//! With threads a body is one piece ahead of its connection; a peer that does not read holds one piece.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::server::text_of_panic;
use crate::Error;

/// How much less the threads count than others where there are not enough processors for all: `nice` of setpriority(2).
const NICENESS: i32 = 10;
/// Most threads.
const THREADS: usize = 8;

/// Makes a body piece by piece.
pub trait Producer: Send + 'static {
    /// The next piece, which is not empty; None at the end.
    fn next(&mut self) -> Result<Option<Bytes>, Error>;
}

type Step<P> = (P, Result<Option<Bytes>, Error>);

/// Bodies that are not at their end.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A body that is being made.
pub(super) struct Produced<P: Producer> {
    state: State<P>,
}

enum State<P> {
    /// Only for `Sync`: one reader, never contended.
    Idle(Mutex<P>),
    /// A thread makes the next piece.
    Made(oneshot::Receiver<Step<P>>),
    Ended,
}

impl<P: Producer> Produced<P> {
    pub(super) fn new(producer: P) -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        let mut body = Self {
            state: State::Ended,
        };
        body.go_on(producer);
        body
    }

    /// What there is to do until the next piece is asked for.
    fn go_on(&mut self, producer: P) {
        self.state = if OPEN.load(Ordering::Relaxed) > 1 {
            State::Made(Self::begin(producer))
        } else {
            State::Idle(Mutex::new(producer))
        };
    }

    fn begin(mut producer: P) -> oneshot::Receiver<Step<P>> {
        let (sender, made) = oneshot::channel();
        THREADPOOL.run(Box::new(move || {
            // Nobody wants it when the connection is gone.
            if sender.is_closed() {
                return;
            }
            let next = producer.next();
            let _ = sender.send((producer, next));
        }));
        made
    }
}

// A producer is moved to a thread and back.
impl<P: Producer> Unpin for Produced<P> {}

impl<P: Producer> Drop for Produced<P> {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<P: Producer> http_body::Body for Produced<P> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let step = match &mut self.state {
            State::Made(made) => std::task::ready!(Pin::new(made).poll(cx)),
            _ => match std::mem::replace(&mut self.state, State::Ended) {
                State::Idle(producer) => {
                    let mut producer = producer.into_inner();
                    let next = producer.next();
                    Ok((producer, next))
                }
                _ => return Poll::Ready(None),
            },
        };
        self.state = State::Ended;
        Poll::Ready(match step {
            Ok((producer, Ok(Some(piece)))) => {
                self.go_on(producer);
                Some(Ok(Frame::data(piece)))
            }
            Ok((_, Ok(None))) => None,
            Ok((_, Err(error))) => Some(Err(error)),
            Err(_) => Some(Err("making the body panicked".into())),
        })
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads that take jobs in turn.
struct Threadpool {
    jobs: Mutex<VecDeque<Job>>,
    wake: Condvar,
    /// Whether there are any. Without, jobs are done where they are given.
    works: bool,
}

static THREADPOOL: LazyLock<&'static Threadpool> = LazyLock::new(|| {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    Threadpool::start(threads.min(THREADS))
});

impl Threadpool {
    /// The threads live as long as the process.
    fn start(threads: usize) -> &'static Self {
        let (sender, receiver) = std::sync::mpsc::channel::<&'static Self>();
        let receiver = std::sync::Arc::new(Mutex::new(receiver));
        let started = (0..threads).filter(|_| {
            let receiver = receiver.clone();
            let thread = std::thread::Builder::new().name("producer".to_owned());
            thread
                .spawn(move || {
                    let pool = receiver.lock().recv();
                    if let Ok(pool) = pool {
                        pool.work();
                    }
                })
                .is_ok()
        });
        let started = started.count();
        let pool = Box::leak(Box::new(Self {
            jobs: Mutex::default(),
            wake: Condvar::new(),
            works: started > 0,
        }));
        for _ in 0..started {
            let _ = sender.send(pool);
        }
        pool
    }

    fn run(&self, job: Job) {
        if !self.works {
            return job();
        }
        self.jobs.lock().push_back(job);
        self.wake.notify_one();
    }

    fn work(&self) {
        // It works without: then the threads count as much as others.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        loop {
            let mut jobs = self.jobs.lock();
            let job = loop {
                match jobs.pop_front() {
                    Some(job) => break job,
                    None => self.wake.wait(&mut jobs),
                }
            };
            drop(jobs);
            if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(job)) {
                tracing::error!(panic = text_of_panic(&*panic), "Observed a panic");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Body, CollectError};
    use super::*;

    /// Counts up to its end, then ends, fails or panics.
    struct Counter {
        at: u8,
        end: u8,
        then: fn() -> Result<Option<Bytes>, Error>,
    }

    impl Producer for Counter {
        fn next(&mut self) -> Result<Option<Bytes>, Error> {
            if self.at == self.end {
                return (self.then)();
            }
            self.at += 1;
            Ok(Some(vec![self.at].into()))
        }
    }

    fn counted(end: u8, then: fn() -> Result<Option<Bytes>, Error>) -> Body {
        Body::produced(Counter { at: 0, end, then })
    }

    /// Another body is being made.
    fn another() -> Body {
        counted(u8::MAX, || Ok(None))
    }

    #[tokio::test]
    async fn pieces_come_in_order_and_end_as_the_producer_says() {
        let bodies = (0..100).map(|_| counted(50, || Ok(None)).collect(1000));
        for body in futures::future::join_all(bodies).await {
            assert_eq!(body.unwrap(), (1..=50).collect::<Vec<u8>>());
        }
        for others in [vec![], vec![another()]] {
            let failed = counted(3, || Err("broken".into())).collect(1000).await;
            assert!(
                matches!(failed, Err(CollectError::Read(error)) if error.to_string() == "broken")
            );
            let body = counted(200, || Ok(None)).collect(1000).await;
            assert_eq!(body.unwrap().len(), 200);
            drop(others);
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_body_and_of_no_other() {
        let _other = another();
        let failed = counted(3, || panic!("on purpose")).collect(1000).await;
        assert!(matches!(failed, Err(CollectError::Read(_))));
        let body = counted(200, || Ok(None)).collect(1000).await;
        assert_eq!(body.unwrap().len(), 200);
    }

    #[tokio::test]
    async fn a_body_is_one_piece_ahead_and_no_more() {
        struct Told(std::sync::mpsc::Sender<()>);
        impl Producer for Told {
            fn next(&mut self) -> Result<Option<Bytes>, Error> {
                self.0.send(())?;
                Ok(Some("x".into()))
            }
        }
        let _other = another();
        let (sender, made) = std::sync::mpsc::channel();
        let mut body = Body::produced(Told(sender));
        let limit = Duration::from_secs(20);
        made.recv_timeout(limit).expect("the first piece");
        body.next_chunk().await.unwrap().unwrap();
        made.recv_timeout(limit).expect("the second piece");
        assert!(made.try_recv().is_err(), "the third is not wanted yet");
        drop(body);
        // The producer goes with its body.
        assert!(made.recv_timeout(limit).is_err());
    }
}
