use api_types::core::v1::Container;

use super::*;

#[derive(Default)]
pub(in super::super) struct FakeSource;

impl FakeSource {
    pub(in super::super) fn provider(root: &Path) -> Arc<StatsProvider> {
        let options = StatsOptions {
            root_dir: root.to_owned(),
            pod_logs_dir: root.join("logs"),
            pods_cgroup: "/kubepods".into(),
            volume_period: Duration::from_secs(60),
        };
        Arc::new(StatsProvider::with_cgroups(
            Arc::new(FakeSource),
            None,
            options,
            Cgroups::V2(root.join("cgroup")),
        ))
    }
}

impl StatsSource for FakeSource {
    fn node_name(&self) -> String {
        "node".to_owned()
    }

    fn pods(&self) -> Vec<Arc<Pod>> {
        let mut pod = Pod::default();
        pod.metadata.namespace = "ns".to_owned();
        pod.metadata.name = "web".to_owned();
        pod.metadata.uid = "uid-1".to_owned();
        pod.spec.containers = vec![Container {
            name: "c".to_owned(),
            ..Default::default()
        }];
        vec![Arc::new(pod)]
    }

    fn pod_start(&self, _: &str) -> Option<Timestamp> {
        Timestamp::from_second(1000).ok()
    }

    fn pod_cgroup(&self, pod: &Pod) -> PathBuf {
        PathBuf::from(format!("/kubepods/pod{}", pod.metadata.uid))
    }

    fn running_containers(&self) -> BoxFuture<'_, Result<Vec<v1::Container>, CriError>> {
        let labels = [
            (labels::POD_UID, "uid-1"),
            (labels::POD_NAME, "web"),
            (labels::POD_NAMESPACE, "ns"),
            (labels::CONTAINER_NAME, "c"),
        ];
        let container = v1::Container {
            id: "abc123".to_owned(),
            image: Some(v1::ImageSpec {
                image: "nginx".to_owned(),
                ..Default::default()
            }),
            labels: labels
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            created_at: 5_000_000_000,
            ..Default::default()
        };
        Box::pin(async move { Ok(vec![container]) })
    }

    fn container_stats(&self) -> BoxFuture<'_, Result<Vec<v1::ContainerStats>, CriError>> {
        let layer = v1::FilesystemUsage {
            used_bytes: Some(v1::UInt64Value { value: 4096 }),
            ..Default::default()
        };
        let stats = v1::ContainerStats {
            attributes: Some(v1::ContainerAttributes {
                id: "abc123".to_owned(),
                ..Default::default()
            }),
            writable_layer: Some(layer),
            ..Default::default()
        };
        Box::pin(async move { Ok(vec![stats]) })
    }

    fn image_fs_info(&self) -> BoxFuture<'_, Result<v1::ImageFsInfoResponse, CriError>> {
        let fs = v1::FilesystemUsage {
            fs_id: Some(v1::FilesystemIdentifier {
                mountpoint: "/".to_owned(),
            }),
            used_bytes: Some(v1::UInt64Value { value: 77 }),
            ..Default::default()
        };
        Box::pin(async move {
            Ok(v1::ImageFsInfoResponse {
                image_filesystems: vec![fs],
                ..Default::default()
            })
        })
    }
}

fn machine() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("folder");
    for (path, text) in [
        ("cgroup/cpu.stat", "usage_usec 9000000\n"),
        (
            "cgroup/memory.stat",
            "anon 600\nfile 400\ninactive_file 100\n",
        ),
        ("cgroup/kubepods/cpu.stat", "usage_usec 8000000\n"),
        ("cgroup/kubepods/poduid-1/cpu.stat", "usage_usec 3000000\n"),
        ("cgroup/kubepods/poduid-1/memory.current", "1000\n"),
        (
            "cgroup/kubepods/poduid-1/memory.stat",
            "inactive_file 200\n",
        ),
        (
            "cgroup/kubepods/poduid-1/abc123/cpu.stat",
            "usage_usec 2000000\n",
        ),
        ("cgroup/kubepods/poduid-1/abc123/memory.current", "900\n"),
        ("cgroup/kubepods/poduid-1/abc123/memory.max", "2000\n"),
        ("logs/ns_web_uid-1/c/0.log", "some log\n"),
    ] {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::fs::write(path, text).expect("write");
    }
    root
}

#[tokio::test]
async fn a_summary() {
    let root = machine();
    let provider = FakeSource::provider(root.path());
    let summary = provider.summary(false).await.expect("summary");
    assert_eq!(summary.node.node_name, "node");
    assert_eq!(
        summary
            .node
            .cpu
            .as_ref()
            .and_then(|cpu| cpu.usage_core_nano_seconds),
        Some(9_000_000_000)
    );
    assert_eq!(
        summary
            .node
            .memory
            .as_ref()
            .and_then(|memory| memory.working_set_bytes),
        Some(900)
    );
    assert_eq!(summary.node.system_containers[0].name, "pods");
    let image = summary
        .node
        .runtime
        .as_ref()
        .and_then(|runtime| runtime.image_fs.as_ref())
        .expect("image fs");
    assert_eq!(image.used_bytes, Some(77));
    let [pod] = summary.pods.as_slice() else {
        panic!("one pod: {:?}", summary.pods)
    };
    assert_eq!(
        pod.cpu.as_ref().and_then(|cpu| cpu.usage_core_nano_seconds),
        Some(3_000_000_000)
    );
    assert_eq!(
        pod.memory
            .as_ref()
            .and_then(|memory| memory.working_set_bytes),
        Some(800)
    );
    let [container] = pod.containers.as_slice() else {
        panic!("one container: {:?}", pod.containers)
    };
    assert_eq!(
        container
            .memory
            .as_ref()
            .and_then(|memory| memory.available_bytes),
        Some(1100)
    );
    assert_eq!(
        container.rootfs.as_ref().and_then(|fs| fs.used_bytes),
        Some(4096)
    );
    let logs = container
        .logs
        .as_ref()
        .and_then(|fs| fs.used_bytes)
        .expect("logs");
    assert!(logs > 0);
    assert_eq!(
        pod.ephemeral_storage.as_ref().and_then(|fs| fs.used_bytes),
        Some(4096 + logs)
    );
    let small = provider.summary(true).await.expect("summary");
    assert!(small.node.fs.is_none() && small.pods[0].ephemeral_storage.is_none());
    assert_eq!(small.pods[0].containers.len(), 1);
}

#[tokio::test]
async fn metrics_of_containers() {
    let root = machine();
    let provider = FakeSource::provider(root.path());
    let text = provider.resource_metrics().await;
    assert!(
        text.contains(
            "container_cpu_usage_seconds_total{container=\"c\",namespace=\"ns\",pod=\"web\"} 2 "
        ),
        "{text}"
    );
    assert!(
        text.contains("pod_memory_working_set_bytes{namespace=\"ns\",pod=\"web\"} 800 "),
        "{text}"
    );
    assert!(text.ends_with("resource_scrape_error 0\n"), "{text}");
    let text = provider.cadvisor_metrics().await;
    let labels = "container=\"c\",id=\"/kubepods/poduid-1/abc123\",image=\"nginx\",name=\"abc123\",namespace=\"ns\",pod=\"web\"";
    assert!(
        text.contains(&format!(
            "container_memory_working_set_bytes{{{labels}}} 900 "
        )),
        "{text}"
    );
    assert!(
        text.contains(&format!("container_start_time_seconds{{{labels}}} 5\n")),
        "{text}"
    );
    assert!(text.contains("container_cpu_usage_seconds_total{container=\"\",cpu=\"total\",id=\"/\",image=\"\",name=\"\",namespace=\"\",pod=\"\"} 9 "), "{text}");
    assert!(text.contains("container_scrape_error 0\n"), "{text}");
    let heads: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let mut sorted = heads.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(heads, sorted);
}

#[tokio::test]
async fn a_rate_needs_time_between_samples() {
    let root = machine();
    let provider = FakeSource::provider(root.path());
    let path = Path::new("/kubepods/poduid-1");
    assert_eq!(provider.rate(path, 1_000), None);
    assert_eq!(provider.rate(path, 2_000), None);
    let earlier = Instant::now().checked_sub(SAMPLE_PERIOD).expect("time");
    provider.samples.lock().get_mut(path).expect("sample").at = earlier;
    let rate = provider.rate(path, 10_000_001_000).expect("rate");
    assert!((990_000_000..=1_000_000_000).contains(&rate), "{rate}");
    // Asked again at once, it is the same.
    assert_eq!(provider.rate(path, 20_000_000_000), Some(rate));
}
