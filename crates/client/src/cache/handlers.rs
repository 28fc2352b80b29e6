//! Handlers and how events reach them: one unbounded queue and one task per handler. Upstream: `processorListener`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::object::{AnyObject, Cacheable, typed};

/// Gets the news of an informer. Called by one task at a time, in order; must not block it for long: put a key into a queue.
pub trait EventHandler<T>: Send + Sync + 'static {
    /// The object is new to the cache. `initial`: it was there when the handler was added, or came with the first list.
    fn on_add(&self, object: &Arc<T>, initial: bool) {
        let _ = (object, initial);
    }
    /// The object changed, or (same version twice) it is a resync.
    fn on_update(&self, old: &Arc<T>, new: &Arc<T>) {
        let _ = (old, new);
    }
    /// The object is gone.
    fn on_delete(&self, object: DeletedObject<T>) {
        let _ = object;
    }
}

/// An object that is gone.
#[derive(Debug)]
pub struct DeletedObject<T> {
    /// Its last state; an earlier one if `final_state_unknown`.
    pub object: Arc<T>,
    /// The deletion itself was missed and found out by a relist: the object may have changed, even been replaced by another of
    /// the same name that is gone as well. Upstream: `DeletedFinalStateUnknown`.
    pub final_state_unknown: bool,
}

impl<T> Clone for DeletedObject<T> {
    fn clone(&self) -> Self {
        Self {
            object: self.object.clone(),
            final_state_unknown: self.final_state_unknown,
        }
    }
}

/// What a handler's task gets.
#[derive(Clone)]
pub(super) enum Notification {
    Add(AnyObject, bool),
    Update(AnyObject, AnyObject),
    Delete {
        object: AnyObject,
        final_state_unknown: bool,
    },
    /// Everything of the initial list has been handed over before this.
    Synced,
}

/// A handler without the type of its objects.
trait Deliver: Send + Sync {
    /// Calls the handler. `Synced` is no news to it.
    fn deliver(&self, notification: Notification);
}

struct Handler<T>(Arc<dyn EventHandler<T>>);

impl<T: Cacheable> Deliver for Handler<T> {
    fn deliver(&self, notification: Notification) {
        match notification {
            Notification::Add(object, initial) => self.0.on_add(&typed(object), initial),
            Notification::Update(old, new) => self.0.on_update(&typed(old), &typed(new)),
            Notification::Delete {
                object,
                final_state_unknown,
            } => self.0.on_delete(DeletedObject {
                object: typed(object),
                final_state_unknown,
            }),
            Notification::Synced => {}
        }
    }
}

/// Names an added handler.
#[derive(Clone)]
pub struct HandlerRegistration {
    pub(super) id: u64,
    synced: Arc<tokio::sync::watch::Sender<bool>>,
}

impl fmt::Debug for HandlerRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerRegistration")
            .field("id", &self.id)
            .field("synced", &self.has_synced())
            .finish()
    }
}

impl HandlerRegistration {
    /// Whether the handler has finished with everything of the initial list.
    pub fn has_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until it has. Waits for ever if the informer ends before.
    pub async fn synced(&self) {
        let mut receiver = self.synced.subscribe();
        // The sender is held by `self`, so this cannot fail.
        let _ = receiver.wait_for(|synced| *synced).await;
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// One handler with its queue.
pub(super) struct Listener {
    pub registration: HandlerRegistration,
    pub resync: Option<Duration>,
    pub next_resync: Option<Instant>,
    sender: mpsc::UnboundedSender<Notification>,
    /// Taken by the task when it starts.
    task: Option<ListenerTask>,
    removed: Arc<AtomicBool>,
}

struct ListenerTask {
    handler: Box<dyn Deliver>,
    receiver: mpsc::UnboundedReceiver<Notification>,
    synced: Arc<tokio::sync::watch::Sender<bool>>,
    removed: Arc<AtomicBool>,
}

impl Listener {
    pub(super) fn new<T: Cacheable>(handler: Arc<dyn EventHandler<T>>, resync: Duration) -> Self {
        Self::over(Box::new(Handler(handler)), resync)
    }

    fn over(handler: Box<dyn Deliver>, resync: Duration) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let synced = Arc::new(tokio::sync::watch::Sender::new(false));
        let removed = Arc::new(AtomicBool::new(false));
        let resync = (!resync.is_zero()).then_some(resync);
        Self {
            registration: HandlerRegistration {
                id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
                synced: synced.clone(),
            },
            resync,
            next_resync: None,
            sender,
            task: Some(ListenerTask {
                handler,
                receiver,
                synced,
                removed: removed.clone(),
            }),
            removed,
        }
    }

    /// Queues a notification. Never waits.
    pub(super) fn notify(&self, notification: Notification) {
        // A closed queue means that the handler was removed or the informer has ended.
        let _ = self.sender.send(notification);
    }

    /// Starts the task, once.
    pub(super) fn start(&mut self) {
        if let Some(task) = self.task.take() {
            tokio::spawn(task.run());
        }
        self.next_resync = self.resync.map(|period| Instant::now() + period);
    }

    /// What is still queued is not delivered.
    pub(super) fn remove(&self) {
        self.removed.store(true, Ordering::Release);
    }
}

impl ListenerTask {
    async fn run(mut self) {
        let mut since_yield = 0u32;
        while let Some(notification) = self.receiver.recv().await {
            if self.removed.load(Ordering::Acquire) {
                return;
            }
            match notification {
                Notification::Synced => {
                    self.synced.send_replace(true);
                }
                news => self.handler.deliver(news),
            }
            // A long queue must not keep a worker thread from other tasks.
            since_yield += 1;
            if since_yield == 256 {
                since_yield = 0;
                tokio::task::yield_now().await;
            }
        }
    }
}

/// The handlers of an informer. Locked while an event is put into their queues, so that all see the same order.
pub(super) struct Listeners {
    pub all: Vec<Listener>,
    /// The first list is in the store and in every queue.
    pub synced: bool,
    pub running: bool,
    pub stopped: bool,
}

impl Listeners {
    pub(super) fn new() -> Self {
        Self {
            all: Vec::new(),
            synced: false,
            running: false,
            stopped: false,
        }
    }

    pub(super) fn notify(&self, notification: &Notification) {
        for listener in &self.all {
            listener.notify(notification.clone());
        }
    }
}
