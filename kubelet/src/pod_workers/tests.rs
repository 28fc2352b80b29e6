//! Behaviours of upstream's `pod_workers_test.go`.

use super::*;

#[derive(Default)]
struct Syncer {
    calls: Mutex<Vec<String>>,
    /// Syncs of these pods say that the pod has ended.
    ended: Mutex<HashSet<String>>,
    /// Stopping fails as often as this says.
    failures: Mutex<usize>,
    changed: Notify,
}

impl Syncer {
    fn log(&self, what: &str, uid: &str) {
        self.calls.lock().push(format!("{what} {uid}"));
        self.changed.notify_waiters();
    }
}

impl PodSyncer for Syncer {
    fn sync_pod<'a>(
        &'a self,
        _: UpdateType,
        pod: &'a Arc<Pod>,
        _: Option<&'a Arc<Pod>>,
        _: &'a PodStatus,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<bool, SyncError>> {
        self.log("sync", &pod.metadata.uid);
        Box::pin(async { Ok(self.ended.lock().contains(&pod.metadata.uid)) })
    }

    fn sync_terminating_pod<'a>(
        &'a self,
        pod: &'a Arc<Pod>,
        _: &'a PodStatus,
        grace: Option<i64>,
        _: Option<StatusFunction>,
    ) -> BoxFuture<'a, Result<(), SyncError>> {
        self.log(
            &format!("terminating({})", grace.unwrap_or(0)),
            &pod.metadata.uid,
        );
        Box::pin(async {
            let mut failures = self.failures.lock();
            if *failures > 0 {
                *failures -= 1;
                return Err("cannot stop".into());
            }
            Ok(())
        })
    }

    fn sync_terminating_runtime_pod<'a>(
        &'a self,
        pod: &'a RuntimePod,
    ) -> BoxFuture<'a, Result<(), SyncError>> {
        self.log("runtime", &pod.uid);
        Box::pin(async { Ok(()) })
    }

    fn sync_terminated_pod<'a>(
        &'a self,
        pod: &'a Arc<Pod>,
        _: &'a PodStatus,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), SyncError>> {
        self.log("terminated", &pod.metadata.uid);
        Box::pin(async { Ok(()) })
    }

    fn request_relist(&self, _: &str) {}

    fn allocated(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        pod.clone()
    }
}

struct Fixture {
    workers: Arc<PodWorkers>,
    syncer: Arc<Syncer>,
}

fn fixture() -> Fixture {
    let token = CancellationToken::new();
    let cache = Arc::new(PodCache::default());
    let workers = PodWorkers::new(
        cache.clone(),
        Arc::new(Recorder::in_memory()),
        Metrics::for_tests(),
        Duration::from_secs(60),
        token,
    );
    let syncer = Arc::new(Syncer::default());
    workers.set_syncer(syncer.clone());
    // A runtime that is always listed anew.
    tokio::spawn(async move {
        loop {
            cache.tick_for_tests();
            tokio::task::yield_now().await;
        }
    });
    Fixture { workers, syncer }
}

impl Fixture {
    /// Waits until the calls are these; at most a few seconds.
    #[track_caller]
    fn expect<'a>(&'a self, want: &'a [&'a str]) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let start = Instant::now();
            loop {
                let calls = self.syncer.calls.lock().clone();
                if calls == want {
                    return;
                }
                assert!(
                    start.elapsed() < Duration::from_secs(5),
                    "{caller}: want {want:?}, have {calls:?}"
                );
                let _ =
                    tokio::time::timeout(Duration::from_millis(20), self.syncer.changed.notified())
                        .await;
            }
        }
    }

    fn update(&self, update: UpdateType, pod: &Pod) {
        self.workers
            .update(update, Subject::Pod(Arc::new(pod.clone()), None), None);
    }

    async fn until(&self, what: &str, condition: impl Fn(&PodWorkers) -> bool) {
        let start = Instant::now();
        while !condition(&self.workers) {
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "not {what}: {:?}",
                self.syncer.calls.lock()
            );
            tokio::task::yield_now().await;
        }
    }
}

fn pod(uid: &str) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.uid = uid.into();
    pod.metadata.name = "pod".into();
    pod.metadata.namespace = "ns".into();
    pod.spec.termination_grace_period_seconds = Some(30);
    pod
}

fn static_pod(uid: &str) -> Pod {
    let mut pod = pod(uid);
    pod.metadata
        .annotations
        .insert("kubernetes.io/config.source".into(), "file".into());
    pod
}

#[tokio::test]
async fn a_deleted_pod_goes_through_all_phases() {
    let f = fixture();
    let mut a = pod("a");
    f.update(UpdateType::Create, &a);
    f.expect(&["sync a"]).await;
    assert!(!f.workers.is_termination_requested("a"));
    assert!(f.workers.could_have_running_containers("a"));
    a.metadata.deletion_timestamp = Some(api_types::Time::now());
    a.metadata.deletion_grace_period_seconds = Some(5);
    f.update(UpdateType::Update, &a);
    f.expect(&["sync a", "terminating(5) a", "terminated a"])
        .await;
    f.until("finished", |workers| workers.should_be_finished("a"))
        .await;
    assert!(!f.workers.could_have_running_containers("a"));
    assert!(f.workers.should_content_be_removed("a"));
}

#[tokio::test]
async fn a_pod_that_ends_by_itself_is_torn_down() {
    let f = fixture();
    f.syncer.ended.lock().insert("a".into());
    f.update(UpdateType::Create, &pod("a"));
    f.expect(&["sync a", "terminating(0) a", "terminated a"])
        .await;
    f.until("finished", |workers| workers.should_be_finished("a"))
        .await;
    // Its object is still there: logs and status may be asked for.
    assert!(!f.workers.should_content_be_removed("a"));
    assert!(f.workers.should_runtime_be_removed("a"));
}

#[tokio::test]
async fn a_pod_that_ended_before_this_kubelet_only_needs_cleaning_up() {
    let f = fixture();
    let mut a = pod("a");
    a.status.phase = "Succeeded".into();
    f.update(UpdateType::Create, &a);
    f.expect(&["terminated a"]).await;
}

#[tokio::test]
async fn containers_without_a_pod_are_stopped_and_forgotten() {
    let f = fixture();
    let runtime = RuntimePod {
        uid: "r".into(),
        name: "pod".into(),
        namespace: "ns".into(),
        created_at: 0,
        containers: Vec::new(),
        sandboxes: Vec::new(),
        timestamp: Timestamp::UNIX_EPOCH,
    };
    f.workers
        .update(UpdateType::Kill, Subject::Runtime(Arc::new(runtime)), None);
    f.expect(&["runtime r"]).await;
    f.until("forgotten", |workers| {
        !workers.shared.lock().pods.contains_key("r")
    })
    .await;
}

#[tokio::test]
async fn a_terminating_pod_does_not_come_back() {
    let f = fixture();
    *f.syncer.failures.lock() = 1;
    f.update(UpdateType::Create, &pod("a"));
    f.expect(&["sync a"]).await;
    f.update(UpdateType::Kill, &pod("a"));
    f.expect(&["sync a", "terminating(30) a"]).await;
    f.update(UpdateType::Create, &pod("a"));
    assert!(f.workers.is_termination_requested("a"));
    f.update(UpdateType::Sync, &pod("a"));
    f.expect(&[
        "sync a",
        "terminating(30) a",
        "terminating(30) a",
        "terminated a",
    ])
    .await;
    f.until("finished", |workers| workers.should_be_finished("a"))
        .await;
    // Housekeeping forgets it although it is in the config, so that it is started anew.
    let known = f.workers.sync_known_pods(&HashSet::from(["a".to_owned()]));
    assert!(!known.contains_key("a"));
}

#[tokio::test]
async fn orphans_end() {
    let f = fixture();
    f.update(UpdateType::Create, &pod("a"));
    f.expect(&["sync a"]).await;
    let known = f.workers.sync_known_pods(&HashSet::new());
    assert!(known["a"].orphan);
    f.expect(&["sync a", "terminating(30) a", "terminated a"])
        .await;
    f.until("finished", |workers| workers.should_be_finished("a"))
        .await;
    assert!(f.workers.sync_known_pods(&HashSet::new()).is_empty());
    // Now unknown: as gone as can be.
    assert!(f.workers.should_content_be_removed("a"));
}

#[tokio::test]
async fn unknown_pods_are_kept_until_the_first_housekeeping() {
    let f = fixture();
    assert!(f.workers.could_have_running_containers("x"));
    assert!(!f.workers.should_content_be_removed("x"));
    f.workers.sync_known_pods(&HashSet::new());
    assert!(!f.workers.could_have_running_containers("x"));
    assert!(f.workers.should_content_be_removed("x"));
}

#[tokio::test]
async fn static_pods_of_one_name_take_turns() {
    let f = fixture();
    f.update(UpdateType::Create, &static_pod("one"));
    f.expect(&["sync one"]).await;
    f.update(UpdateType::Create, &static_pod("two"));
    f.update(UpdateType::Kill, &static_pod("one"));
    f.expect(&["sync one", "terminating(30) one", "terminated one"])
        .await;
    f.until("finished", |workers| workers.should_be_finished("one"))
        .await;
    f.update(UpdateType::Sync, &static_pod("two"));
    f.expect(&[
        "sync one",
        "terminating(30) one",
        "terminated one",
        "sync two",
    ])
    .await;
}

#[tokio::test]
async fn killing_waits_for_the_end() {
    let f = fixture();
    let a = Arc::new(pod("a"));
    f.update(UpdateType::Create, &a);
    f.expect(&["sync a"]).await;
    f.workers
        .kill_now(&a, true, Some(3), None)
        .await
        .expect("killed");
    assert_eq!(f.syncer.calls.lock()[1], "terminating(3) a");
    assert!(f.workers.should_content_be_removed("a"));
}

#[track_caller]
fn check_grace(
    current: i64,
    deletion: Option<i64>,
    wanted: Option<i64>,
    spec: Option<i64>,
    want: (i64, bool),
) {
    let mut state = PodState::new(String::new());
    state.grace_period = current;
    let mut pod = pod("a");
    pod.metadata.deletion_grace_period_seconds = deletion;
    pod.spec.termination_grace_period_seconds = spec;
    let options = KillOptions {
        grace_period: wanted,
        ..Default::default()
    };
    assert_eq!(effective_grace_period(&state, &pod, &options), want);
}

#[test]
fn grace_periods() {
    check_grace(0, None, None, None, (1, false));
    check_grace(0, None, None, Some(30), (30, false));
    check_grace(0, Some(0), None, Some(30), (1, false));
    check_grace(0, Some(10), None, Some(30), (10, false));
    check_grace(10, Some(20), None, Some(30), (10, false));
    check_grace(10, Some(5), None, Some(30), (5, true));
    check_grace(10, None, Some(3), Some(30), (3, true));
}
