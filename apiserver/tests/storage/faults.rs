//! Reads and watches while the way to etcd fails again and again: what was acknowledged is always read, and watchers that
//! come back see everything once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use etcd_client::{EventType, WatchOptions as EtcdWatchOptions};

use super::etcd::Proxy;
use super::*;
use crate::under_test::{Error, Update, UpdateOptions};

/// Reads that were answered, each of which is judged.
const READS: usize = 100_000;
/// Many, since most reads wait for a fault to pass.
const READERS: usize = 1000;
/// Every so many reads one of everything.
const LIST_EVERY: usize = 50;
/// Keys that are written past the faults.
const DIRECT: usize = 24;
/// Keys that are written through them: some writes have an outcome nobody knows.
const TROUBLED: usize = 8;
/// Every so many operations on a key of the first kind it is deleted.
const DELETE_EVERY: u64 = 5;
/// As long as nothing goes wrong, and after something went wrong for a client.
const CALM: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(5);
/// Between writes: reads are what this is about.
const REST: Duration = Duration::from_millis(1);
/// The write after all others.
const LAST: &str = "last";

/// One key, written by one client, one operation after the other. The value holds the operation's number.
#[derive(Default)]
struct Register {
    begun: AtomicU64,
    acknowledged: AtomicU64,
}

impl Register {
    fn is_deletion(number: u64) -> bool {
        number.is_multiple_of(DELETE_EVERY)
    }

    /// Fails unless a read shows an operation that was acknowledged last when it began, or one begun before it ended.
    fn judge(&self, key: usize, seen: Option<u64>, acknowledged: u64) {
        let begun = self.begun.load(Ordering::SeqCst);
        let possible = acknowledged..=begun;
        let right = match seen {
            Some(number) => possible.contains(&number),
            None => key < DIRECT && possible.clone().any(Self::is_deletion),
        };
        assert!(right, "{key}: {seen:?} is read, not one of {possible:?}");
    }
}

struct World {
    registers: Vec<Register>,
    reads: AtomicUsize,
    failures: AtomicUsize,
    unknown: AtomicUsize,
    /// No reads any more, no writes, no faults.
    over: AtomicBool,
}

impl World {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

fn name(key: usize) -> String {
    format!("pod{key:02}")
}

fn value(number: u64) -> String {
    format!("u l n {number}")
}

fn number(value: &[u8]) -> u64 {
    let text = std::str::from_utf8(value).unwrap();
    text.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Writes keys that nothing goes wrong with.
async fn write_direct(world: &World, storage: &Storage) {
    while !world.is_over() {
        for (key, register) in world.registers[..DIRECT].iter().enumerate() {
            let number = register.begun.fetch_add(1, Ordering::SeqCst) + 1;
            if Register::is_deletion(number) {
                delete(storage, "default", &name(key)).await;
            } else {
                set(storage, "default", &name(key), &value(number)).await;
            }
            register.acknowledged.store(number, Ordering::SeqCst);
            tokio::time::sleep(REST).await;
        }
    }
}

/// Writes keys through the faults. They are never deleted: a write that comes late then meets another version.
async fn write_troubled(world: &World, storage: &Storage) {
    while !world.is_over() {
        for (key, register) in world.registers.iter().enumerate().skip(DIRECT) {
            let number = register.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let key = storage.key("default", &name(key)).unwrap();
            let update = |_| async {
                Ok::<_, ()>(Update::Write {
                    value: value(number).into(),
                    ttl: None,
                })
            };
            let options = UpdateOptions::default();
            if storage
                .guaranteed_update(&key, options, update)
                .await
                .is_ok()
            {
                register.acknowledged.store(number, Ordering::SeqCst);
            } else {
                world.unknown.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn read(world: &World, storage: &Storage, reader: usize) {
    for turn in reader.. {
        if world.is_over() {
            return;
        }
        let answered = if turn % LIST_EVERY == 0 {
            read_all(world, storage).await
        } else {
            read_one(world, storage, turn % world.registers.len()).await
        };
        match answered {
            Ok(()) => _ = world.reads.fetch_add(1, Ordering::Relaxed),
            Err(_) => {
                world.failures.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn read_one(world: &World, storage: &Storage, key: usize) -> Result<(), Error> {
    let register = &world.registers[key];
    let acknowledged = register.acknowledged.load(Ordering::SeqCst);
    let seen = match storage
        .get(&storage.key("default", &name(key)).unwrap(), "")
        .await
    {
        Ok(object) => Some(number(&object.value)),
        Err(Error::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    register.judge(key, seen, acknowledged);
    Ok(())
}

async fn read_all(world: &World, storage: &Storage) -> Result<(), Error> {
    let acknowledged: Vec<u64> = world
        .registers
        .iter()
        .map(|register| register.acknowledged.load(Ordering::SeqCst))
        .collect();
    let scope = storage.scope("default", "").unwrap();
    let list = storage
        .list(&scope, &ListOptions::default(), everything())
        .await?;
    let seen: BTreeMap<String, u64> = list
        .iter()
        .map(|entry| (entry.name().to_owned(), number(&entry.value())))
        .collect();
    for (key, register) in world.registers.iter().enumerate() {
        register.judge(key, seen.get(&name(key)).copied(), acknowledged[key]);
    }
    Ok(())
}

/// One fault after the other, and a calm between them. Gives their number.
async fn trouble(world: &World, proxy: &Proxy) -> usize {
    let mut faults = 0;
    while !world.is_over() {
        let wait = async |milliseconds| {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        };
        match faults % 6 {
            0 => proxy.cut(),
            1 => {
                proxy.slow_down();
                wait(400).await;
            }
            2 => {
                proxy.stall();
                wait(300).await;
            }
            3 => {
                proxy.close();
                wait(150).await;
            }
            4 => {
                proxy.swallow_answers();
                wait(100).await;
                proxy.cut();
            }
            _ => {
                proxy.stall();
                wait(200).await;
                proxy.cut();
            }
        }
        proxy.open();
        faults += 1;
        tokio::time::sleep(CALM).await;
    }
    faults
}

/// Watches from a version, and again from the last one seen after every so many events, until [`LAST`] is seen.
async fn follow(storage: Storage, mut version: u64, patience: usize) -> Vec<String> {
    let mut seen = Vec::new();
    let scope = storage.scope("", "").unwrap();
    loop {
        let options = WatchOptions {
            resource_version: version.to_string(),
            ..WatchOptions::default()
        };
        let Ok(mut watcher) = storage.watch(&scope, &options, everything()).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        for _ in 0..patience {
            let event = tokio::time::timeout(LIMIT, watcher.next()).await;
            match event.unwrap_or_else(|_| panic!("no event in {LIMIT:?}")) {
                None => break,
                Some(WatchEvent::Object(event)) => {
                    version = event.resource_version();
                    let (kind, name) = (event.event_type().as_str(), event.entry().name());
                    seen.push(format!("{kind} {name}@{version}"));
                    if name == LAST {
                        return seen;
                    }
                }
                Some(other) => panic!("{other:?} after {version}"),
            }
        }
    }
}

/// What etcd itself says has happened after a revision.
async fn history(etcd: &etcd::Etcd, after: u64) -> Vec<String> {
    let options = EtcdWatchOptions::new()
        .with_prefix()
        .with_start_revision(i64::try_from(after).unwrap() + 1);
    let mut client = etcd.client().await;
    let mut stream = client
        .watch("/registry/pods/", Some(options))
        .await
        .unwrap();
    let mut seen = Vec::new();
    loop {
        let response = tokio::time::timeout(LIMIT, stream.message()).await.unwrap();
        for event in response.unwrap().unwrap().events() {
            let kv = event.kv().unwrap();
            let kind = match event.event_type() {
                EventType::Delete => "DELETED",
                EventType::Put if kv.create_revision() == kv.mod_revision() => "ADDED",
                EventType::Put => "MODIFIED",
            };
            let name = kv.key_str().unwrap().rsplit('/').next().unwrap();
            seen.push(format!("{kind} {name}@{}", kv.mod_revision()));
            if name == LAST {
                return seen;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stale_is_read_and_no_event_lost_or_doubled() {
    let etcd = etcd_or_return!();
    let proxy = Proxy::to(etcd.port()).await;
    let (direct, process) = (
        Process::new(&etcd.endpoint()),
        Process::new(&proxy.endpoint()),
    );
    let (writing, storage) = (direct.uncached(), process.pods().await);
    let world = World {
        registers: (0..DIRECT + TROUBLED)
            .map(|_| Register::default())
            .collect(),
        reads: AtomicUsize::new(0),
        failures: AtomicUsize::new(0),
        unknown: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    };
    let before = direct.backend.current_revision().await.unwrap();
    for (key, register) in world.registers.iter().enumerate() {
        put(&writing, "default", &name(key), &value(1)).await;
        register.begun.store(1, Ordering::SeqCst);
        register.acknowledged.store(1, Ordering::SeqCst);
    }
    let world = Arc::new(world);
    // Those that come back often and those that never do, from the cache; and from etcd, through the faults as well.
    let mut watchers: Vec<_> = [1, 3, 20, 100, 1000, usize::MAX, usize::MAX]
        .into_iter()
        .map(|patience| tokio::spawn(follow(storage.clone(), before, patience)))
        .collect();
    for patience in [50, usize::MAX] {
        watchers.push(tokio::spawn(follow(process.uncached(), before, patience)));
    }
    let begun = Instant::now();
    let writers = {
        let (world, direct, troubled) = (world.clone(), writing.clone(), storage.clone());
        tokio::spawn(async move {
            futures::join!(
                write_direct(&world, &direct),
                write_troubled(&world, &troubled)
            )
        })
    };
    let faults = {
        let world = world.clone();
        // The proxy lives on: watchers have something left to see.
        tokio::spawn(async move { (trouble(&world, &proxy).await, proxy) })
    };
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let (world, storage) = (world.clone(), storage.clone());
            tokio::spawn(async move { read(&world, &storage, reader).await })
        })
        .collect();
    // A reader that finds something wrong ends the test at once.
    let mut readers = futures::future::select_all(readers);
    while world.reads.load(Ordering::Relaxed) < READS {
        let tick = tokio::time::timeout(CALM, &mut readers).await;
        if let Ok((ended, ..)) = tick {
            ended.unwrap();
            panic!("a reader has ended");
        }
    }
    world.over.store(true, Ordering::SeqCst);
    for reader in readers.into_inner() {
        reader.await.unwrap();
    }
    writers.await.unwrap();
    let (faults, _proxy) = faults.await.unwrap();
    put(&writing, "default", LAST, &value(0)).await;
    let expected = history(&etcd, before).await;
    for watcher in watchers {
        let seen = watcher.await.unwrap();
        if let Some(at) =
            (0..seen.len().max(expected.len())).find(|at| seen.get(*at) != expected.get(*at))
        {
            panic!(
                "event {at} is {:?}, not {:?}",
                seen.get(at),
                expected.get(at)
            );
        }
    }
    println!(
        "{} reads, {} failed, {} events, {} writes of unknown outcome, {faults} faults in {:?}",
        world.reads.load(Ordering::Relaxed),
        world.failures.load(Ordering::Relaxed),
        expected.len(),
        world.unknown.load(Ordering::Relaxed),
        begun.elapsed()
    );
    assert!(faults > 6, "{faults} faults");
}
