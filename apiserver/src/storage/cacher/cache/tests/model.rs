//! The cache against a plain list of revisions: whatever happens, snapshots, lists and watches show what a naive model
//! of the same history says.

use proptest::prelude::*;

use super::*;
use crate::storage::cacher::watch::EventType;

/// Key to value and revision.
type Objects = BTreeMap<String, (String, u64)>;

#[derive(Clone, Debug)]
enum Step {
    /// Several changes of one revision, as a transaction of another user of etcd makes them.
    Change(Vec<(String, Option<String>)>),
    /// Revisions of other resources pass.
    Other(u64),
    Watch {
        back: u64,
        select: Select,
        namespace: Option<String>,
    },
    /// A watcher reads a few events.
    Read(usize, usize),
}

fn key() -> impl Strategy<Value = String> {
    (0..3_u8, 0..6_u8).prop_map(|(namespace, name)| format!("n{namespace}/o{name}"))
}

fn value() -> impl Strategy<Value = String> {
    (0..3_u8, 0..3_u8).prop_map(|(label, node)| format!("l{label},node{node}"))
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

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => proptest::collection::btree_map(key(), proptest::option::weighted(0.7, value()), 1..3)
            .prop_map(|changes| Step::Change(changes.into_iter().collect())),
        2 => (1..5_u64).prop_map(Step::Other),
        2 => (0..400_u64, select(), proptest::option::of(proptest::sample::select(vec!["n0".to_owned(), "n2".to_owned()])))
            .prop_map(|(back, select, namespace)| Step::Watch { back, select, namespace }),
        4 => (0..16_usize, 0..40_usize).prop_map(|(watcher, count)| Step::Read(watcher, count)),
    ]
}

struct Model {
    /// Contents after each revision.
    history: BTreeMap<u64, Objects>,
    now: Objects,
    revision: u64,
    /// Revision, key, before, after.
    changes: Vec<(u64, String, Option<String>, Option<String>)>,
}

struct Watching {
    watcher: Watcher,
    from: u64,
    select: Select,
    namespace: Option<String>,
    seen: Vec<(EventType, String, u64)>,
    bookmark: u64,
    ended: bool,
}

impl Watching {
    fn read(&mut self, count: usize) {
        for _ in 0..count {
            match self.watcher.next().now_or_never() {
                None => return,
                Some(None) => {
                    self.ended = true;
                    return;
                }
                Some(Some(WatchEvent::Object(event))) => {
                    assert!(
                        event.resource_version() > self.bookmark,
                        "an event behind a bookmark"
                    );
                    let key = event
                        .entry()
                        .key()
                        .as_str()
                        .trim_start_matches("/registry/pods/")
                        .to_owned();
                    self.seen
                        .push((event.event_type(), key, event.resource_version()));
                }
                Some(Some(WatchEvent::Bookmark {
                    resource_version, ..
                })) => self.bookmark = resource_version,
                Some(Some(WatchEvent::Error(error))) => panic!("{error}"),
            }
        }
    }

    fn expected(&self, model: &Model) -> Vec<(EventType, String, u64)> {
        let inside = |key: &str| {
            self.namespace
                .as_deref()
                .is_none_or(|namespace| key.starts_with(&format!("{namespace}/")))
        };
        model
            .changes
            .iter()
            .filter(|(revision, key, ..)| *revision > self.from && inside(key))
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
            })
            .collect()
    }
}

fn objects(contents: &Contents) -> Objects {
    contents
        .tree
        .cursor("")
        .map(|entry| {
            let key = entry
                .key()
                .as_str()
                .trim_start_matches("/registry/pods/")
                .to_owned();
            (
                key,
                (
                    String::from_utf8(entry.value().to_vec()).unwrap(),
                    entry.resource_version(),
                ),
            )
        })
        .collect()
}
fn run(initial: Objects, history_bytes: usize, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let cache = cache(history_bytes);
    let start = 10;
    let entries = initial
        .iter()
        .map(|(key, (value, revision))| {
            let RawEvent {
                key,
                value,
                revision,
            } = raw(key, Some(value), *revision);
            let raw = RawKeyValue {
                key,
                value: value.unwrap(),
                revision,
            };
            Arc::new(cache.store.entry(raw).unwrap())
        })
        .collect();
    cache
        .install(EPOCH, start, entries, BTreeMap::new())
        .unwrap();
    cache.clock.publish(start);
    let mut model = Model {
        history: BTreeMap::from([(start, initial.clone())]),
        now: initial,
        revision: start,
        changes: Vec::new(),
    };
    let mut watchers: Vec<Watching> = Vec::new();
    for step in steps {
        match step {
            Step::Change(changes) => {
                let revision = model.revision + 1;
                let mut events = Vec::new();
                for (key, value) in changes {
                    let before = match &value {
                        Some(value) => model.now.insert(key.clone(), (value.clone(), revision)),
                        None => model.now.remove(&key),
                    };
                    if before.is_none() && value.is_none() {
                        continue;
                    }
                    events.push(raw(&key, value.as_deref(), revision));
                    model
                        .changes
                        .push((revision, key, before.map(|(value, _)| value), value));
                }
                if events.is_empty() {
                    continue;
                }
                model.revision = revision;
                model.history.insert(revision, model.now.clone());
                deliver(&cache, events, revision);
            }
            Step::Other(count) => {
                model.revision += count;
                cache.clock.publish(model.revision);
            }
            Step::Watch {
                back,
                select,
                namespace,
            } => {
                let from = model.revision.saturating_sub(back).max(1);
                let oldest = cache.with_state(|state, _| state.oldest_watchable());
                let mut watcher = watch(&cache, from, &select, namespace.as_deref());
                if from < oldest {
                    let Some(Some(WatchEvent::Error(Error::Expired { message, .. }))) =
                        watcher.next().now_or_never()
                    else {
                        panic!("a version that is too old was taken");
                    };
                    prop_assert_eq!(
                        message,
                        format!("too old resource version: {from} ({oldest})")
                    );
                    prop_assert!(matches!(watcher.next().now_or_never(), Some(None)));
                } else {
                    let seen = Vec::new();
                    watchers.push(Watching {
                        watcher,
                        from,
                        select,
                        namespace,
                        seen,
                        bookmark: 0,
                        ended: false,
                    });
                }
            }
            Step::Read(watcher, count) => {
                if let Some(watching) = watchers.get_mut(watcher) {
                    watching.read(count);
                }
            }
        }
        prop_assert_eq!(cache.revision(), model.revision);
    }
    prop_assert_eq!(&objects(&cache.snapshot().unwrap().contents), &model.now);

    // Any revision the cache can still tell is told right, and recent ones can be told.
    for revision in 1..=model.revision {
        let snapshot = cache.snapshot_at(revision);
        let known = model.history.range(..=revision).next_back();
        match (snapshot, known) {
            (Some(snapshot), Some((_, expected))) => {
                prop_assert_eq!(snapshot.revision, revision);
                prop_assert_eq!(&objects(&snapshot.contents), expected, "at {}", revision);
            }
            (Some(_), None) => prop_assert!(false, "a revision before the list was told"),
            (None, _) => prop_assert!(revision < model.revision),
        }
    }
    prop_assert!(cache.snapshot_at(model.revision + 1).is_none());

    // The index agrees with a scan.
    let (index, snapshot) = cache.index_snapshot().unwrap();
    for node in ["node0", "node1", "node2"] {
        let select = Select {
            label: None,
            node: Some(node.to_owned()),
            namespace: None,
            name: None,
        };
        let scope = cache.store.keys.scope("n1", "").unwrap();
        let list = List::from_index(
            index.clone(),
            &snapshot,
            &scope,
            node,
            Arc::new(select.clone()),
        )
        .unwrap();
        let names: Vec<String> = list
            .iter()
            .map(|entry| format!("{}/{}", entry.namespace(), entry.name()))
            .collect();
        let expected: Vec<String> = model
            .now
            .iter()
            .filter(|(key, (value, _))| key.starts_with("n1/") && select.matches_value(key, value))
            .map(|(key, _)| key.clone())
            .collect();
        prop_assert_eq!(names, expected);
    }

    for watching in &mut watchers {
        watching.read(usize::MAX);
        let expected = watching.expected(&model);
        if watching.ended {
            // Too slow: what came before is right nevertheless.
            prop_assert!(expected.starts_with(&watching.seen));
        } else {
            prop_assert_eq!(
                &watching.seen,
                &expected,
                "from {} {:?}",
                watching.from,
                watching.select
            );
        }
    }
    drop(watchers);
    prop_assert_eq!(cache.watchers.len(), 0);
    Ok(())
}

fn in_runtime<R>(test: impl FnOnce() -> R) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async { test() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agrees_with_the_history(
        initial in proptest::collection::btree_map(key(), (value(), 1..=10_u64), 0..15),
        steps in proptest::collection::vec(step(), 0..700),
    ) {
        in_runtime(|| run(initial, usize::MAX, steps))?;
    }

    /// A small window: watchers fall off, revisions are forgotten.
    #[test]
    fn agrees_with_the_history_when_short_of_memory(
        initial in proptest::collection::btree_map(key(), (value(), 1..=10_u64), 0..15),
        steps in proptest::collection::vec(step(), 300..900),
    ) {
        in_runtime(|| run(initial, 0, steps))?;
    }
}
