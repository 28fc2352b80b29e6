use api_types::ByteString;
use api_types::core::v1::{
    ConfigMap, ConfigMapVolumeSource, EmptyDirVolumeSource, HostPathVolumeSource,
    ISCSIVolumeSource, LocalObjectReference, PersistentVolumeClaimVolumeSource, Secret,
    SecretVolumeSource, VolumeSource,
};

use super::super::test_host::TestHost;
use super::*;

fn volume(name: &str, source: VolumeSource) -> Volume {
    Volume {
        name: name.to_owned(),
        volume_source: source,
    }
}

fn empty_dir(name: &str) -> Volume {
    volume(
        name,
        VolumeSource {
            empty_dir: Some(Box::new(EmptyDirVolumeSource::default())),
            ..Default::default()
        },
    )
}

fn config_map(name: &str) -> Volume {
    let source = ConfigMapVolumeSource {
        local_object_reference: LocalObjectReference {
            name: name.to_owned(),
        },
        default_mode: Some(0o644),
        ..Default::default()
    };
    volume(
        name,
        VolumeSource {
            config_map: Some(Box::new(source)),
            ..Default::default()
        },
    )
}

fn secret(name: &str) -> Volume {
    let source = SecretVolumeSource {
        secret_name: name.to_owned(),
        default_mode: Some(0o644),
        ..Default::default()
    };
    volume(
        name,
        VolumeSource {
            secret: Some(Box::new(source)),
            ..Default::default()
        },
    )
}

fn pod(volumes: Vec<Volume>) -> Arc<Pod> {
    let mut pod = super::super::test_host::pod();
    let mounts = volumes
        .iter()
        .map(|volume| VolumeMount {
            name: volume.name.clone(),
            mount_path: format!("/{}", volume.name),
            ..Default::default()
        })
        .collect();
    pod.spec.containers = vec![Container {
        name: "c".to_owned(),
        volume_mounts: mounts,
        ..Default::default()
    }];
    pod.spec.volumes = volumes;
    Arc::new(pod)
}

struct Manager {
    test: TestHost,
    recorder: Arc<Recorder>,
    volumes: VolumeManager,
}

fn manager() -> Manager {
    let test = TestHost::new();
    let recorder = Arc::new(Recorder::in_memory());
    let volumes = VolumeManager::new(test.host.clone(), recorder.clone());
    Manager {
        test,
        recorder,
        volumes,
    }
}

/// Polls until the state is as wanted; the last state is told when it never is.
async fn eventually<T: std::fmt::Debug>(mut state: impl FnMut() -> Result<(), T>) {
    let limit = Instant::now() + Duration::from_secs(10);
    loop {
        match state() {
            Ok(()) => return,
            Err(last) if Instant::now() > limit => panic!("not reached, last state: {last:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test]
async fn volumes_are_set_up_and_torn_down() {
    let m = manager();
    let mut map = ConfigMap::default();
    map.data.insert("key".to_owned(), "1".to_owned());
    m.test.objects.set_config_map("map", map.clone());
    let mut with_unused = pod(vec![empty_dir("scratch"), config_map("map")]);
    Arc::make_mut(&mut with_unused)
        .spec
        .volumes
        .push(secret("unused"));
    let pod = with_unused;
    m.volumes
        .wait_for_attach_and_mount(&pod)
        .await
        .expect("mounted");
    let mounted = m.volumes.mounted(&pod);
    assert_eq!(mounted.len(), 2);
    assert!(mounted["map"].read_only && !mounted["scratch"].read_only);
    let file = mounted["map"].path.join("key");
    assert_eq!(std::fs::read_to_string(&file).expect("file"), "1");
    assert!(m.volumes.pod_volumes_exist("uid-1"));
    // The next sync brings the new content, without the pod waiting for it.
    map.data.insert("key".to_owned(), "2".to_owned());
    m.test.objects.set_config_map("map", map);
    m.volumes
        .wait_for_attach_and_mount(&pod)
        .await
        .expect("mounted");
    eventually(|| match std::fs::read_to_string(&file).expect("file") {
        content if content == "2" => Ok(()),
        other => Err(other),
    })
    .await;
    assert_eq!(m.recorder.taken(), Vec::<String>::new());
    let usage = m.volumes.measure("uid-1").await;
    assert_eq!(
        usage
            .iter()
            .map(|usage| (usage.name.as_str(), usage.local_ephemeral))
            .collect::<Vec<_>>(),
        [("map", true), ("scratch", true)]
    );
    m.volumes.wait_for_unmount(&pod).await.expect("unmounted");
    assert!(!m.volumes.pod_volumes_exist("uid-1"));
    assert!(m.volumes.mounted(&pod).is_empty());
    assert!(
        layout::volumes_on_disk(m.test.root(), "uid-1")
            .expect("read")
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_object_is_told_and_tried_again() {
    let m = manager();
    let pod = pod(vec![secret("creds"), empty_dir("scratch")]);
    let waiting = {
        let volumes = m.volumes.clone();
        let pod = pod.clone();
        tokio::spawn(async move { volumes.wait_for_attach_and_mount(&pod).await })
    };
    let mut events = Vec::new();
    while events.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
        events = m.recorder.taken();
    }
    assert_eq!(
        events,
        [
            "Warning FailedMount MountVolume.SetUp failed for volume \"creds\" : secret \"creds\" not found"
        ]
    );
    let mut found = Secret::default();
    found
        .data
        .insert("user".to_owned(), ByteString(b"admin".to_vec()));
    m.test.objects.set_secret("creds", found);
    waiting.await.expect("task").expect("mounted");
    assert!(m.volumes.mounted(&pod)["creds"].path.join("user").exists());
}

#[tokio::test(start_paused = true)]
async fn a_wait_has_an_end() {
    let m = manager();
    let pod = pod(vec![secret("creds"), empty_dir("scratch")]);
    let start = Instant::now();
    let error = m
        .volumes
        .wait_for_attach_and_mount(&pod)
        .await
        .expect_err("never there");
    assert_eq!(
        error,
        "unmounted volumes=[creds], unattached volumes=[], failed to process volumes=[]: context deadline exceeded"
    );
    assert!(start.elapsed() >= WAIT_LIMIT);
    // 0.5 s doubling up to the limit: not a retry every 100 ms.
    let events = m.recorder.taken().len();
    assert!((7..=9).contains(&events), "{events}");
}

#[tokio::test]
async fn volumes_that_cannot_be_processed_fail_at_once() {
    let m = manager();
    let claim = PersistentVolumeClaimVolumeSource {
        claim_name: "data".to_owned(),
        ..Default::default()
    };
    for (volume, want) in [
        (
            volume(
                "v",
                VolumeSource {
                    persistent_volume_claim: Some(Box::new(claim)),
                    ..Default::default()
                },
            ),
            "error processing PVC ns/data: no kubeClient defined",
        ),
        (
            volume(
                "v",
                VolumeSource {
                    iscsi: Some(Box::new(ISCSIVolumeSource::default())),
                    ..Default::default()
                },
            ),
            "failed to get Plugin from volumeSpec for volume \"v\" err=no volume plugin matched",
        ),
    ] {
        let error = m
            .volumes
            .wait_for_attach_and_mount(&pod(vec![volume, empty_dir("scratch")]))
            .await
            .expect_err("refused");
        assert_eq!(
            error,
            format!(
                "unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: {want}"
            )
        );
    }
}

#[tokio::test]
async fn a_new_kubelet_finds_volumes_on_disk() {
    let m = manager();
    let pod = pod(vec![empty_dir("scratch"), secret("creds")]);
    m.test.objects.set_secret("creds", Secret::default());
    m.volumes
        .wait_for_attach_and_mount(&pod)
        .await
        .expect("mounted");
    let scratch = m.volumes.mounted(&pod)["scratch"].path.clone();
    std::fs::write(scratch.join("kept"), "x").expect("write");
    m.test.mounter.taken();
    // Another manager on the same root: a restart.
    let next = VolumeManager::new(m.test.host.clone(), m.recorder.clone());
    assert!(next.pod_volumes_exist("uid-1"));
    next.wait_for_attach_and_mount(&pod).await.expect("mounted");
    assert!(scratch.join("kept").exists());
    assert_eq!(m.test.mounter.taken(), Vec::<String>::new());
    let last = VolumeManager::new(m.test.host.clone(), m.recorder.clone());
    last.wait_for_unmount(&pod).await.expect("unmounted");
    assert!(!scratch.exists());
    assert_eq!(m.test.mounter.taken().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unmount_that_fails_is_tried_again() {
    let m = manager();
    let pod = pod(vec![secret("creds")]);
    m.test.objects.set_secret("creds", Secret::default());
    m.volumes
        .wait_for_attach_and_mount(&pod)
        .await
        .expect("mounted");
    *m.test.mounter.fail_unmount.lock() = Some("target is busy".to_owned());
    m.volumes
        .wait_for_unmount(&pod)
        .await
        .expect("unmounted at the second try");
    assert!(!m.volumes.pod_volumes_exist("uid-1"));
}

#[tokio::test]
async fn sub_paths_go_through_the_manager() {
    let m = manager();
    let outside = tempfile::tempdir().expect("folder");
    let source = HostPathVolumeSource {
        path: outside.path().display().to_string(),
        ..Default::default()
    };
    let pod = pod(vec![volume(
        "host",
        VolumeSource {
            host_path: Some(Box::new(source)),
            ..Default::default()
        },
    )]);
    m.volumes
        .wait_for_attach_and_mount(&pod)
        .await
        .expect("mounted");
    let mounted = m.volumes.mounted(&pod)["host"].clone();
    assert_eq!(mounted.path, outside.path());
    let mount = &pod.spec.containers[0].volume_mounts[0];
    let path = m
        .volumes
        .prepare_sub_path(&pod, "c", 0, mount, &mounted, "logs/app")
        .expect("prepared");
    assert_eq!(
        path,
        m.test.root().join("pods/uid-1/volume-subpaths/host/c/0")
    );
    assert!(outside.path().join("logs/app").is_dir());
    std::os::unix::fs::symlink("/", outside.path().join("up")).expect("link");
    assert_eq!(
        m.volumes
            .prepare_sub_path(&pod, "c", 1, mount, &mounted, "up/etc"),
        Err(
            "failed to create subPath directory for volumeMount \"host\" of container \"c\""
                .to_owned()
        )
    );
    m.volumes.wait_for_unmount(&pod).await.expect("unmounted");
    assert!(!m.test.root().join("pods/uid-1/volume-subpaths").exists());
    assert!(outside.path().join("logs/app").is_dir());
}
