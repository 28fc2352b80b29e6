//! The cache against a plain list of revisions: whatever happens, snapshots, pages, lists and watches show what a naive
//! model of the same history says.

use proptest::prelude::*;

use super::super::state::CHECKPOINT_EVERY;
use super::*;
use crate::storage::cacher::watch::EventType;
use crate::storage::continue_token::decode_continue;

/// Key to value and revision.
type Objects = BTreeMap<String, (String, u64)>;

#[derive(Clone, Debug)]
enum Step {
    /// Several changes of one revision, as a transaction of another user of etcd makes them.
    Change(Vec<(String, Option<String>)>),
    /// Revisions of other resources pass.
    Other(u64),
    /// Seconds pass: bookmarks are due, events get old.
    Pass(u64),
    /// The hub has lost track, and the cache is filled again.
    Relist,
    Watch {
        back: u64,
        /// Begin with the objects there are.
        initial: bool,
        select: Select,
        namespace: Option<String>,
    },
    /// A watcher reads a few events.
    Read(usize, usize),
    /// A watcher's client connects again, from the last version it was told.
    Resume(usize),
    /// A list is begun, page by page.
    List {
        back: u64,
        limit: i64,
        select: Select,
        namespace: Option<String>,
    },
    NextPage(usize),
}

fn key() -> impl Strategy<Value = String> {
    (0..3_u8, 0..6_u8).prop_map(|(namespace, name)| format!("n{namespace}/o{name}"))
}

fn value() -> impl Strategy<Value = String> {
    // Long enough to be packed, and some of them alike.
    (0..3_u8, 0..3_u8, 0..100_u8).prop_map(|(label, node, filling)| {
        let filling: String = (0..200)
            .map(|at| format!("{:x}", at * u32::from(filling)))
            .collect();
        format!("l{label},node{node};{filling:0>600}")
    })
}

fn select() -> impl Strategy<Value = Select> {
    let some = |options: &'static [&'static str]| {
        proptest::option::weighted(
            0.3,
            proptest::sample::select(options).prop_map(str::to_owned),
        )
    };
    (
        some(&["l0", "l1"]),
        some(&["node0", "node1"]),
        some(&["n0", "n1"]),
        some(&["o0", "o1"]),
    )
        .prop_map(|(label, node, namespace, name)| Select {
            label,
            node,
            namespace,
            name,
        })
}

fn namespace() -> impl Strategy<Value = Option<String>> {
    let names = vec!["n0".to_owned(), "n2".to_owned()];
    proptest::option::of(proptest::sample::select(names))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        120 => proptest::collection::btree_map(key(), proptest::option::weighted(0.7, value()), 1..3)
            .prop_map(|changes| Step::Change(changes.into_iter().collect())),
        20 => (1..5_u64).prop_map(Step::Other),
        5 => (1..70_u64).prop_map(Step::Pass),
        1 => Just(Step::Relist),
        20 => (0..400_u64, proptest::bool::weighted(0.3), select(), namespace())
            .prop_map(|(back, initial, select, namespace)| Step::Watch { back, initial, select, namespace }),
        40 => (0..16_usize, 0..40_usize).prop_map(|(watcher, count)| Step::Read(watcher, count)),
        15 => (0..16_usize).prop_map(Step::Resume),
        10 => (prop_oneof![Just(0), 0..200_u64], 1..6_i64, select(), namespace())
            .prop_map(|(back, limit, select, namespace)| Step::List { back, limit, select, namespace }),
        30 => (0..8_usize).prop_map(Step::NextPage),
    ]
}

struct Model {
    /// Contents after each revision since the last list.
    history: BTreeMap<u64, Objects>,
    now: Objects,
    revision: u64,
    /// Revision, key, before, after.
    changes: Vec<(u64, String, Option<String>, Option<String>)>,
    /// How often the cache was filled.
    fillings: u64,
}

impl Model {
    /// What a list of a revision shows.
    fn selected(
        &self,
        revision: u64,
        select: &Select,
        namespace: Option<&str>,
    ) -> Vec<(String, u64)> {
        let objects = self.history.range(..=revision).next_back();
        let objects = objects.into_iter().flat_map(|(_, objects)| objects);
        objects
            .filter(|(key, (value, _))| {
                is_inside(namespace, key) && select.matches_value(key, value)
            })
            .map(|(key, (_, version))| (key.clone(), *version))
            .collect()
    }

    fn change(&mut self, changes: Vec<(String, Option<String>)>) -> Vec<RawEvent> {
        let revision = self.revision + 1;
        let mut events = Vec::new();
        for (key, value) in changes {
            let before = match &value {
                Some(value) => self.now.insert(key.clone(), (value.clone(), revision)),
                None => self.now.remove(&key),
            };
            if before.is_none() && value.is_none() {
                continue;
            }
            events.push(raw(&key, value.as_deref(), revision));
            self.changes
                .push((revision, key, before.map(|(value, _)| value), value));
        }
        if !events.is_empty() {
            self.revision = revision;
            self.history.insert(revision, self.now.clone());
        }
        events
    }
}

fn is_inside(namespace: Option<&str>, key: &str) -> bool {
    namespace.is_none_or(|namespace| key.starts_with(&format!("{namespace}/")))
}

type Seen = (EventType, String, u64);

/// A client that watches, and watches again from where it was.
struct Watching {
    watcher: Watcher,
    from: u64,
    /// The objects there were, when the watch begins with them.
    initial: Vec<Seen>,
    select: Select,
    namespace: Option<String>,
    seen: Vec<Seen>,
    /// The last version that the client was told.
    position: u64,
    filling: u64,
    ended: bool,
}

impl Watching {
    fn read(&mut self, count: usize, model: &Model) -> Result<(), TestCaseError> {
        for _ in 0..count {
            // Without a limit: a timer of a test that polls it often would say that it is not yet due.
            let next = tokio::task::unconstrained(self.watcher.next()).now_or_never();
            match next {
                None => return Ok(()),
                Some(None) => {
                    self.ended = true;
                    return Ok(());
                }
                Some(Some(WatchEvent::Object(event))) => {
                    let version = event.resource_version();
                    if self.seen.len() >= self.initial.len() {
                        prop_assert!(version >= self.position, "behind what was told");
                        self.position = version;
                    }
                    let key = event.entry().key().as_str();
                    let key = key.trim_start_matches("/registry/pods/").to_owned();
                    self.seen.push((event.event_type(), key, version));
                }
                Some(Some(WatchEvent::Bookmark {
                    resource_version,
                    initial_events_end,
                })) => {
                    prop_assert!(resource_version >= self.position);
                    prop_assert!(resource_version <= model.revision);
                    self.position = resource_version;
                    // All up to there has been told, and nothing else.
                    prop_assert_eq!(&self.seen, &self.expected(model, resource_version));
                    if initial_events_end {
                        prop_assert_eq!(&self.seen, &self.initial);
                    }
                }
                Some(Some(WatchEvent::Error(error))) => prop_assert!(false, "{}", error),
            }
        }
        Ok(())
    }

    /// What is to be seen up to a revision.
    fn expected(&self, model: &Model, to: u64) -> Vec<Seen> {
        let changes = model
            .changes
            .iter()
            .filter(|(revision, key, ..)| {
                (self.from + 1..=to).contains(revision) && is_inside(self.namespace.as_deref(), key)
            })
            .filter_map(|(revision, key, before, after)| {
                let selected = |value: &Option<String>| {
                    value
                        .as_deref()
                        .is_some_and(|value| self.select.matches_value(key, value))
                };
                let event_type = match (selected(after), selected(before)) {
                    (true, false) => EventType::Added,
                    (true, true) => EventType::Modified,
                    (false, true) => EventType::Deleted,
                    (false, false) => return None,
                };
                Some((event_type, key.clone(), *revision))
            });
        self.initial.iter().cloned().chain(changes).collect()
    }

    /// Watches again, unless that would lose something by the client's own doing: it has seen no more than the initial
    /// objects, or a part of a revision.
    fn resume(&mut self, cache: &Arc<Cache>, model: &Model) -> Result<(), TestCaseError> {
        let whole = self.expected(model, self.position);
        if self.seen != whole || self.position == 0 {
            return Ok(());
        }
        let oldest = cache.with_state(|state, _| state.oldest_watchable());
        let namespace = self.namespace.as_deref();
        self.watcher = watch(cache, self.position, &self.select, namespace);
        if self.position < oldest {
            expect_expired(&mut self.watcher, self.position, oldest)?;
            self.ended = true;
        } else {
            self.filling = model.fillings;
            self.ended = false;
        }
        Ok(())
    }

    /// Reads to the end, and compares.
    fn finish(&mut self, cache: &Cache, model: &Model) -> Result<(), TestCaseError> {
        self.read(usize::MAX, model)?;
        let expected = self.expected(model, u64::MAX);
        if !self.ended {
            prop_assert_eq!(self.filling, model.fillings, "a watch outlives a reset");
            prop_assert_eq!(
                &self.seen,
                &expected,
                "from {} {:?}",
                self.from,
                self.select
            );
            return Ok(());
        }
        // What came before is right nevertheless, and it ended for a reason.
        prop_assert!(expected.starts_with(&self.seen));
        let oldest = cache.with_state(|state, _| state.oldest_watchable());
        prop_assert!(self.filling < model.fillings || self.position <= oldest);
        Ok(())
    }
}

fn expect_expired(watcher: &mut Watcher, from: u64, oldest: u64) -> Result<(), TestCaseError> {
    let Some(Some(WatchEvent::Error(Error::Expired { message, .. }))) =
        watcher.next().now_or_never()
    else {
        return Err(TestCaseError::fail("a version that is too old was taken"));
    };
    prop_assert_eq!(
        message,
        format!("too old resource version: {from} ({oldest})")
    );
    prop_assert!(matches!(watcher.next().now_or_never(), Some(None)));
    Ok(())
}

/// A client that lists page by page.
struct Paging {
    revision: u64,
    start: Option<String>,
    limit: i64,
    select: Select,
    namespace: Option<String>,
    seen: Vec<(String, u64)>,
    filling: u64,
    done: bool,
}

impl Paging {
    fn next(&mut self, cache: &Cache, model: &Model) -> Result<(), TestCaseError> {
        if self.done {
            return Ok(());
        }
        let Some(snapshot) = cache.snapshot_at(self.revision) else {
            // Forgotten; the server asks etcd then.
            prop_assert!(self.filling < model.fillings || self.revision < recent(cache, model));
            self.done = true;
            return Ok(());
        };
        let scope = cache
            .store
            .keys
            .scope(self.namespace.as_deref().unwrap_or_default(), "")
            .unwrap();
        let predicate = Arc::new(self.select.clone());
        let (start, prefix) = (self.start.take(), &scope.prefix);
        let list =
            List::from_snapshot(snapshot, &scope, start, self.limit, predicate, prefix).unwrap();
        prop_assert_eq!(list.resource_version(), self.revision);
        let page: Vec<(String, u64)> = list.iter().map(|entry| seen_in_list(&entry)).collect();
        prop_assert!(page.len() <= usize::try_from(self.limit).unwrap());
        self.seen.extend(page);
        let expected = model.selected(self.revision, &self.select, self.namespace.as_deref());
        if list.continue_token().is_empty() {
            prop_assert_eq!(&self.seen, &expected);
            self.done = true;
            return Ok(());
        }
        prop_assert!(expected.starts_with(&self.seen));
        let (start, revision) = decode_continue(list.continue_token(), &scope.prefix).unwrap();
        prop_assert_eq!(u64::try_from(revision).unwrap(), self.revision);
        self.start = Some(start);
        Ok(())
    }
}

/// All revisions from this one on can be told: the ring has a checkpoint and what came after it.
fn recent(cache: &Cache, model: &Model) -> u64 {
    cache.with_state(|state, _| {
        let start = state.ring.start();
        let mut numbers = state.checkpoints.iter().map(|checkpoint| checkpoint.number);
        let first = numbers.find(|number| *number >= start).unwrap();
        // Checkpoints are not made within a revision, which has two changes at most.
        assert!(first <= start + CHECKPOINT_EVERY.end() + 2);
        if state.ring.end() - start <= 100 {
            assert!(first <= start + CHECKPOINT_EVERY.start() + 2);
        }
        let event = state.ring.get(first);
        event.map_or(model.revision, |event| event.revision)
    })
}

fn seen_in_list(entry: &Entry) -> (String, u64) {
    let key = format!("{}/{}", entry.namespace(), entry.name());
    (key, entry.resource_version())
}

fn objects(contents: &Contents) -> Objects {
    contents
        .tree
        .cursor("")
        .map(|entry| {
            let (key, version) = seen_in_list(&entry);
            let value = String::from_utf8(entry.value().to_vec()).unwrap();
            (key, (value, version))
        })
        .collect()
}

fn entries(cache: &Cache, objects: &Objects) -> Vec<Arc<Entry>> {
    objects
        .iter()
        .map(|(key, (value, revision))| {
            let raw = RawKeyValue {
                key: format!("/registry/pods/{key}"),
                value: Bytes::from(value.clone()),
                revision: *revision,
            };
            Arc::new(cache.store.entry(raw).unwrap())
        })
        .collect()
}

/// A cache, what should be in it, and its clients.
struct World {
    cache: Arc<Cache>,
    model: Model,
    watchers: Vec<Watching>,
    lists: Vec<Paging>,
}

impl World {
    fn new(initial: Objects, history_bytes: usize) -> Self {
        let cache = cache(history_bytes);
        let start = 10;
        let filled = entries(&cache, &initial);
        cache
            .install(EPOCH, start, filled, BTreeMap::new())
            .unwrap();
        cache.clock.publish(start);
        Self {
            cache,
            model: Model {
                history: BTreeMap::from([(start, initial.clone())]),
                now: initial,
                revision: start,
                changes: Vec::new(),
                fillings: 0,
            },
            watchers: Vec::new(),
            lists: Vec::new(),
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let (cache, model) = (&self.cache, &mut self.model);
        match step {
            Step::Change(changes) => {
                let events = model.change(changes);
                if !events.is_empty() {
                    deliver(cache, events, model.revision);
                }
            }
            Step::Other(count) => {
                model.revision += count;
                cache.clock.publish(model.revision);
            }
            Step::Pass(seconds) => {
                tokio::time::advance(Duration::from_secs(seconds)).await;
                cache.pack_history().await;
            }
            Step::Relist => {
                cache.reset("lost track");
                model.fillings += 1;
                model.history = BTreeMap::from([(model.revision, model.now.clone())]);
                let filled = entries(cache, &model.now);
                let epoch = EPOCH + model.fillings;
                cache
                    .install(epoch, model.revision, filled, BTreeMap::new())
                    .unwrap();
            }
            Step::Watch {
                back,
                initial,
                select,
                namespace,
            } => return self.watch(back, initial, select, namespace),
            Step::Read(watcher, count) => {
                if let Some(watching) = self.watchers.get_mut(watcher) {
                    watching.read(count, model)?;
                }
            }
            Step::Resume(watcher) => {
                if let Some(watching) = self.watchers.get_mut(watcher) {
                    watching.resume(cache, model)?;
                }
            }
            Step::List {
                back,
                limit,
                select,
                namespace,
            } => {
                let mut list = Paging {
                    revision: model.revision.saturating_sub(back).max(1),
                    start: None,
                    limit,
                    select,
                    namespace,
                    seen: Vec::new(),
                    filling: model.fillings,
                    done: false,
                };
                list.next(cache, model)?;
                if !list.done {
                    self.lists.push(list);
                }
            }
            Step::NextPage(list) => {
                if let Some(list) = self.lists.get_mut(list) {
                    list.next(cache, model)?;
                }
                self.lists.retain(|list| !list.done);
            }
        }
        prop_assert_eq!(self.cache.revision(), self.model.revision);
        Ok(())
    }

    fn watch(
        &mut self,
        back: u64,
        initial: bool,
        select: Select,
        namespace: Option<String>,
    ) -> Result<(), TestCaseError> {
        let model = &self.model;
        let from = model.revision.saturating_sub(back).max(1);
        let scope = namespace.as_deref();
        let mut watching = Watching {
            watcher: if initial {
                watch_list(&self.cache, from, &select, scope)
            } else {
                watch(&self.cache, from, &select, scope)
            },
            from,
            initial: Vec::new(),
            seen: Vec::new(),
            position: from,
            filling: model.fillings,
            ended: false,
            select,
            namespace,
        };
        if initial {
            let scope = watching.namespace.as_deref();
            let objects = model.selected(model.revision, &watching.select, scope);
            let added = |(key, version)| (EventType::Added, key, version);
            watching.initial = objects.into_iter().map(added).collect();
            watching.from = model.revision;
            // Told with the bookmark that ends them.
            watching.position = 0;
        } else {
            let oldest = self.cache.with_state(|state, _| state.oldest_watchable());
            if from < oldest {
                return expect_expired(&mut watching.watcher, from, oldest);
            }
        }
        self.watchers.push(watching);
        Ok(())
    }

    /// Any revision the cache can still tell is told right, and recent ones can be told.
    fn check_snapshots(&self) -> Result<(), TestCaseError> {
        let (cache, model) = (&self.cache, &self.model);
        let current = cache.snapshot().unwrap();
        prop_assert_eq!(&objects(&current.contents), &model.now);
        for revision in 1..=model.revision {
            let snapshot = cache.snapshot_at(revision);
            let known = model.history.range(..=revision).next_back();
            match (snapshot, known) {
                (Some(snapshot), Some((_, expected))) => {
                    prop_assert_eq!(snapshot.revision, revision);
                    prop_assert_eq!(&objects(&snapshot.contents), expected, "at {}", revision);
                }
                (Some(_), None) => prop_assert!(false, "a revision before the list was told"),
                (None, _) => prop_assert!(revision < recent(cache, model)),
            }
        }
        prop_assert!(cache.snapshot_at(model.revision + 1).is_none());
        Ok(())
    }

    /// The index agrees with a scan.
    fn check_index(&self) -> Result<(), TestCaseError> {
        let (index, snapshot) = self.cache.index_snapshot().unwrap();
        for node in ["node0", "node1", "node2"] {
            let select = Select {
                label: None,
                node: Some(node.to_owned()),
                namespace: None,
                name: None,
            };
            let scope = self.cache.store.keys.scope("n1", "").unwrap();
            let predicate = Arc::new(select.clone());
            let list = List::from_index(index.clone(), &snapshot, &scope, node, predicate).unwrap();
            let found: Vec<(String, u64)> = list.iter().map(|entry| seen_in_list(&entry)).collect();
            let expected = self.model.selected(u64::MAX, &select, Some("n1"));
            prop_assert_eq!(found, expected);
        }
        Ok(())
    }
}

fn watch_list(cache: &Arc<Cache>, from: u64, select: &Select, namespace: Option<&str>) -> Watcher {
    let options = WatchOptions {
        resource_version: from.to_string(),
        send_initial_events: Some(true),
        allow_bookmarks: true,
        ..WatchOptions::default()
    };
    watch_with(cache, &options, select, namespace)
}

async fn run(
    initial: Objects,
    history_bytes: usize,
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    let mut world = World::new(initial, history_bytes);
    for step in steps {
        world.step(step).await?;
    }
    world.check_snapshots()?;
    world.check_index()?;
    while let Some(mut list) = world.lists.pop() {
        while !list.done {
            list.next(&world.cache, &world.model)?;
        }
    }
    for watching in &mut world.watchers {
        watching.finish(&world.cache, &world.model)?;
    }
    world.watchers.clear();
    prop_assert_eq!(world.cache.watchers.len(), 0);
    Ok(())
}

fn in_runtime<R>(test: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agrees_with_the_history(
        initial in proptest::collection::btree_map(key(), (value(), 1..=10_u64), 0..15),
        steps in proptest::collection::vec(step(), 0..700),
    ) {
        in_runtime(run(initial, usize::MAX, steps))?;
    }

    /// A small window: watchers fall off, revisions are forgotten.
    #[test]
    fn agrees_with_the_history_when_short_of_memory(
        initial in proptest::collection::btree_map(key(), (value(), 1..=10_u64), 0..15),
        steps in proptest::collection::vec(step(), 300..900),
    ) {
        in_runtime(run(initial, 0, steps))?;
    }
}
