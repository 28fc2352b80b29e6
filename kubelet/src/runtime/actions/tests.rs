//! The cases of upstream's `TestComputePodActions` and its siblings.

use api_types::core::v1::{EphemeralContainer, EphemeralContainerCommon};
use jiff::Timestamp;

use super::*;
use crate::container::SandboxStatus;

struct Fixture {
    pod: Pod,
    status: PodStatus,
    liveness: ResultsManager,
    startup: ResultsManager,
    restart_all: bool,
    actuated: Option<PodResources>,
    resize: ResizeFeatures,
}

fn container(name: &str) -> Container {
    Container {
        name: name.to_owned(),
        image: "busybox".to_owned(),
        ..Default::default()
    }
}

fn running(container: &Container, number: i64) -> Status {
    let time = Timestamp::from_second(number).expect("time");
    Status {
        id: ContainerId {
            runtime: "fake".to_owned(),
            id: format!("id-{}", container.name),
        },
        name: container.name.clone(),
        state: State::Running,
        created_at: time,
        started_at: Some(time),
        finished_at: None,
        exit_code: 0,
        image: container.image.clone(),
        image_ref: String::new(),
        hash: hash_container(container),
        restart_count: 0,
        reason: String::new(),
        message: String::new(),
        resources: None,
        user: None,
        sandbox_id: "sandbox".to_owned(),
    }
}

/// A pod whose regular containers run, or whose init containers all succeeded while nothing else runs yet.
fn fixture(init: &[&str], regular: &[&str]) -> Fixture {
    let mut pod = Pod::default();
    pod.metadata.name = "foo".to_owned();
    pod.metadata.namespace = "new".to_owned();
    pod.metadata.uid = "12345678".to_owned();
    pod.spec.restart_policy = "Always".to_owned();
    pod.spec.containers = regular.iter().map(|name| container(name)).collect();
    pod.spec.init_containers = init.iter().map(|name| container(name)).collect();
    let mut status = PodStatus::empty("12345678", "foo", "new", Timestamp::UNIX_EPOCH);
    status.sandboxes.push(SandboxStatus {
        id: "sandbox".to_owned(),
        ready: true,
        attempt: 0,
        host_network: false,
        ip: Some("10.0.0.1".to_owned()),
        additional_ips: Vec::new(),
        created_at: 1,
    });
    if init.is_empty() {
        status.containers = pod
            .spec
            .containers
            .iter()
            .enumerate()
            .map(|(index, c)| running(c, index as i64))
            .collect();
    } else {
        status.containers = pod
            .spec
            .init_containers
            .iter()
            .map(|c| Status {
                state: State::Exited,
                ..running(c, 1)
            })
            .collect();
    }
    Fixture {
        pod,
        status,
        liveness: ResultsManager::new(),
        startup: ResultsManager::new(),
        restart_all: false,
        actuated: None,
        resize: ResizeFeatures {
            pod_level: true,
            init_containers: true,
        },
    }
}

impl Fixture {
    fn actions(&self) -> PodActions {
        compute_pod_actions(
            &self.pod,
            &self.status,
            &ActionInputs {
                liveness: &self.liveness,
                startup: &self.startup,
                restart_all: self.restart_all,
                actuated: self.actuated.as_ref(),
                resize: self.resize,
            },
        )
    }

    fn status_of(&mut self, name: &str) -> &mut Status {
        self.status
            .containers
            .iter_mut()
            .find(|status| status.name == name)
            .expect("container")
    }

    fn policy(mut self, policy: &str) -> Self {
        self.pod.spec.restart_policy = policy.to_owned();
        self
    }

    fn exited(mut self, name: &str, code: i32) -> Self {
        let status = self.status_of(name);
        status.state = State::Exited;
        status.exit_code = code;
        self
    }

    #[track_caller]
    fn check(
        &self,
        kill_pod: bool,
        create: bool,
        init: &[usize],
        regular: &[usize],
        killed: &[&str],
    ) -> PodActions {
        let got = self.actions();
        assert_eq!(got.kill_pod, kill_pod, "kill pod: {got:?}");
        assert_eq!(got.create_sandbox, create, "create sandbox: {got:?}");
        assert_eq!(got.init_to_start, init, "init containers: {got:?}");
        assert_eq!(got.to_start, regular, "containers: {got:?}");
        let names: Vec<&str> = got.to_kill.iter().map(|kill| kill.name.as_str()).collect();
        assert_eq!(names, killed, "killed: {got:?}");
        got
    }
}

const THREE: &[&str] = &["foo1", "foo2", "foo3"];

#[test]
fn everything_runs() {
    fixture(&[], THREE).check(false, false, &[], &[], &[]);
}

#[test]
fn new_pod_starts_everything() {
    let mut f = fixture(&[], THREE);
    f.status.sandboxes.clear();
    f.status.containers.clear();
    f.check(true, true, &[], &[0, 1, 2], &[]);
}

#[test]
fn restart_policies() {
    let exited = || fixture(&[], THREE).exited("foo1", 0).exited("foo2", 111);
    exited().check(false, false, &[], &[0, 1], &[]);
    exited()
        .policy("OnFailure")
        .check(false, false, &[], &[1], &[]);
    exited().policy("Never").check(false, false, &[], &[], &[]);
}

#[test]
fn all_ended_and_nothing_to_restart_kills_the_pod() {
    let f = fixture(&[], THREE)
        .exited("foo1", 0)
        .exited("foo2", 0)
        .exited("foo3", 0)
        .policy("Never");
    f.check(true, false, &[], &[], &[]);
    // A success is final with OnFailure too.
    f.policy("OnFailure").check(true, false, &[], &[], &[]);
}

#[test]
fn sandbox_not_ready() {
    let mut f = fixture(&[], THREE);
    f.status.sandboxes[0].ready = false;
    let got = f.check(true, true, &[], &[0, 1, 2], &[]);
    assert_eq!((got.attempt, got.sandbox_id.as_str()), (1, "sandbox"));
    // A pod that ran and may not run again gets no new sandbox.
    f.policy("Never").check(true, false, &[], &[], &[]);
}

#[test]
fn sandbox_not_ready_and_some_succeeded() {
    let mut f = fixture(&[], THREE).policy("OnFailure").exited("foo2", 0);
    f.status.sandboxes[0].ready = false;
    f.check(true, true, &[], &[0, 2], &[]);
    let mut f = f.exited("foo1", 0).exited("foo3", 0);
    f.check(true, false, &[], &[], &[]);
    f.status.containers.clear();
    f.check(true, true, &[], &[0, 1, 2], &[]);
}

#[test]
fn sandbox_without_address_is_replaced() {
    let mut f = fixture(&[], THREE);
    f.status.sandboxes[0].ip = Some(String::new());
    f.check(true, true, &[], &[0, 1, 2], &[]);
    f.pod.spec.host_network = true;
    f.status.sandboxes[0].host_network = true;
    f.check(false, false, &[], &[], &[]);
}

#[test]
fn two_ready_sandboxes_are_replaced() {
    let mut f = fixture(&[], THREE);
    let mut second = f.status.sandboxes[0].clone();
    second.id = "older".to_owned();
    f.status.sandboxes.push(second);
    f.check(true, true, &[], &[0, 1, 2], &[]);
}

#[test]
fn changed_spec_restarts_whatever_the_policy() {
    for policy in ["Always", "OnFailure", "Never"] {
        let mut f = fixture(&[], THREE).policy(policy);
        f.pod.spec.containers[1].image = "other".to_owned();
        let got = f.check(false, false, &[], &[1], &["foo2"]);
        assert_eq!(
            got.to_kill[0].message,
            "Container foo2 definition changed, will be restarted"
        );
    }
}

#[test]
fn failed_probes() {
    let f = fixture(&[], THREE);
    let id = f.status.find_container("foo2").expect("status").id.clone();
    f.liveness.set(&id, ProbeResult::Failure, "12345678");
    let got = f.check(false, false, &[], &[1], &["foo2"]);
    assert_eq!(
        got.to_kill[0].message,
        "Container foo2 failed liveness probe, will be restarted"
    );
    assert_eq!(got.to_kill[0].reason, KillReason::LivenessProbe);
    let f = f.policy("Never");
    let got = f.check(false, false, &[], &[], &["foo2"]);
    assert_eq!(
        got.to_kill[0].message,
        "Container foo2 failed liveness probe"
    );

    let f = fixture(&[], THREE);
    f.startup.set(&id, ProbeResult::Failure, "12345678");
    let got = f.check(false, false, &[], &[1], &["foo2"]);
    assert_eq!(
        got.to_kill[0].message,
        "Container foo2 failed startup probe, will be restarted"
    );
}

#[test]
fn unknown_and_created_containers() {
    let mut f = fixture(&[], THREE);
    f.status_of("foo2").state = State::Unknown;
    let got = f.check(false, false, &[], &[1], &["foo2"]);
    assert_eq!(
        got.to_kill[0].message,
        "Container is in \"unknown\" state, try killing it before restart"
    );
    f.status_of("foo2").state = State::Created;
    f.check(false, false, &[], &[1], &[]);
}

#[test]
fn deleted_pods_start_nothing() {
    let mut f = fixture(&[], THREE).exited("foo1", 1);
    f.pod.metadata.deletion_timestamp = Some(api_types::Time::now());
    f.check(false, false, &[], &[], &[]);
}

const INIT: &[&str] = &["init1", "init2", "init3"];

#[test]
fn init_containers_in_order() {
    // All done: the regular ones start.
    fixture(INIT, THREE).check(false, false, &[], &[0, 1, 2], &[]);
    // The last one runs: wait.
    let mut f = fixture(INIT, THREE);
    f.status_of("init3").state = State::Running;
    f.check(false, false, &[], &[], &[]);
    // Two are done, the third was never made.
    let mut f = fixture(INIT, THREE);
    f.status.containers.retain(|status| status.name != "init3");
    f.check(false, false, &[2], &[], &[]);
    // Earlier ones are gone from the runtime.
    let mut f = fixture(INIT, THREE);
    f.status.containers.retain(|status| status.name == "init3");
    f.check(false, false, &[], &[0, 1, 2], &[]);
    // Nothing ran.
    let mut f = fixture(INIT, THREE);
    f.status.containers.clear();
    f.check(false, false, &[0], &[], &[]);
    // The runtime made one and could not start it.
    let mut f = fixture(INIT, THREE);
    f.status_of("init3").state = State::Created;
    f.check(false, false, &[2], &[], &[]);
}

#[test]
fn failed_init_containers() {
    let failed = || fixture(INIT, THREE).exited("init3", 2);
    failed().check(false, false, &[2], &[], &[]);
    failed()
        .policy("OnFailure")
        .check(false, false, &[2], &[], &[]);
    failed().policy("Never").check(true, false, &[], &[], &[]);
}

#[test]
fn unknown_init_containers() {
    let mut f = fixture(INIT, THREE);
    f.status_of("init3").state = State::Unknown;
    let got = f.check(false, false, &[2], &[], &["init3"]);
    assert_eq!(
        got.to_kill[0].message,
        "Init container is in \"unknown\" state, try killing it before restart"
    );
    f.policy("Never").check(true, false, &[], &[], &[]);
}

#[test]
fn new_sandbox_starts_from_the_first_init_container() {
    let mut f = fixture(INIT, THREE);
    f.status.sandboxes[0].ready = false;
    f.check(true, true, &[0], &[], &[]);
    f.pod.spec.restart_policy = "Never".to_owned();
    f.check(true, false, &[], &[], &[]);
    // Nothing was ever made: the sandbox is tried again.
    f.status.containers.clear();
    f.check(true, true, &[0], &[], &[]);
}

#[test]
fn removed_init_containers_do_not_run_again_beside_running_containers() {
    let mut f = fixture(INIT, THREE);
    f.status.containers = f
        .pod
        .spec
        .containers
        .iter()
        .map(|c| running(c, 1))
        .collect();
    f.check(false, false, &[], &[], &[]);
}

fn sidecars() -> Fixture {
    let mut f = fixture(INIT, THREE);
    for container in &mut f.pod.spec.init_containers {
        container.restart_policy = Some("Always".to_owned());
    }
    f.status.containers = f
        .pod
        .spec
        .init_containers
        .iter()
        .map(|c| running(c, 1))
        .collect();
    f
}

#[test]
fn sidecars_run_beside_containers() {
    let f = sidecars();
    f.check(false, false, &[], &[0, 1, 2], &[]);
    // The first sidecar runs, the next starts; regular containers wait.
    let mut f = sidecars();
    f.status.containers.truncate(1);
    f.check(false, false, &[1], &[], &[]);
    // One ended: it starts again, the others stay.
    let f = sidecars().exited("init2", 0);
    f.check(false, false, &[1], &[0, 1, 2], &[]);
}

#[test]
fn sidecar_waits_for_its_startup_probe() {
    let mut f = sidecars();
    f.status.containers.truncate(1);
    f.pod.spec.init_containers[0].startup_probe = Some(Box::default());
    f.check(false, false, &[], &[], &[]);
    let id = f.status.containers[0].id.clone();
    f.startup.set(&id, ProbeResult::Success, "12345678");
    f.check(false, false, &[1], &[], &[]);
    f.startup.set(&id, ProbeResult::Failure, "12345678");
    let got = f.check(false, false, &[0], &[], &["init1"]);
    assert_eq!(
        got.to_kill[0].message,
        "Init container init1 failed startup probe"
    );
}

#[test]
fn sidecar_fails_its_liveness_probe() {
    let mut f = sidecars();
    f.pod.spec.init_containers[1].liveness_probe = Some(Box::default());
    let id = f.status.find_container("init2").expect("status").id.clone();
    f.liveness.set(&id, ProbeResult::Failure, "12345678");
    f.check(false, false, &[1], &[0, 1, 2], &["init2"]);
}

#[test]
fn sidecars_do_not_keep_a_finished_pod() {
    let mut f = sidecars().policy("Never");
    let regular: Vec<Status> = f
        .pod
        .spec
        .containers
        .iter()
        .map(|c| Status {
            state: State::Exited,
            ..running(c, 2)
        })
        .collect();
    f.status.containers.extend(regular);
    f.check(true, false, &[], &[], &[]);
}

#[test]
fn ephemeral_containers_start_once_and_early() {
    let mut f = fixture(INIT, THREE);
    f.status_of("init3").state = State::Running;
    f.pod.spec.ephemeral_containers.push(EphemeralContainer {
        ephemeral_container_common: EphemeralContainerCommon {
            name: "debug".to_owned(),
            ..Default::default()
        },
        ..Default::default()
    });
    assert_eq!(f.actions().ephemeral_to_start, [0]);
    let debug = Status {
        state: State::Exited,
        ..running(&container("debug"), 1)
    };
    f.status.containers.push(debug);
    assert!(f.actions().ephemeral_to_start.is_empty());
}

#[test]
fn restart_of_all_containers_removes_the_cause_last() {
    let mut f = fixture(&[], THREE).exited("foo2", 42);
    let rule = api_types::core::v1::ContainerRestartRule {
        action: "RestartAllContainers".to_owned(),
        exit_codes: Some(Box::new(
            api_types::core::v1::ContainerRestartRuleOnExitCodes {
                operator: "In".to_owned(),
                values: vec![42],
            },
        )),
    };
    f.pod.spec.containers[1].restart_policy_rules.push(rule);
    f.restart_all = true;
    let got = f.actions();
    let order: Vec<(&str, bool)> = got
        .to_reset
        .iter()
        .map(|reset| (reset.name.as_str(), reset.kill))
        .collect();
    assert_eq!(order, [("foo1", true), ("foo3", true), ("foo2", false)]);
}

fn sized(name: &str, cpu: &str, policy: &str) -> Container {
    let mut sized = container(name);
    sized.resources = crate::pod_resources::tests::container(name, &[("cpu", cpu)], &[]).resources;
    sized.resize_policy = vec![api_types::core::v1::ContainerResizePolicy {
        resource_name: "cpu".to_owned(),
        restart_policy: policy.to_owned(),
    }];
    sized
}

/// A pod whose containers have half a CPU each.
fn resized(init: Vec<Container>, regular: Vec<Container>) -> Fixture {
    let mut f = fixture(&[], THREE);
    let half = sized("", "500m", "").resources;
    let all = || init.iter().chain(&regular);
    f.actuated = Some(PodResources {
        containers: all().map(|c| (c.name.clone(), half.clone())).collect(),
        pod: None,
    });
    f.status.containers = all().map(|c| running(c, 1)).collect();
    f.pod.spec.init_containers = init;
    f.pod.spec.containers = regular;
    f
}

#[test]
fn resizes() {
    let updates = |f: &Fixture| -> Vec<String> {
        let actions = f.actions();
        actions.resize.cpu.iter().map(|u| u.name.clone()).collect()
    };
    let f = resized(
        Vec::new(),
        vec![
            sized("same", "500m", "RestartContainer"),
            sized("update", "1", "NotRequired"),
            sized("restart", "1", "RestartContainer"),
        ],
    );
    let got = f.check(false, false, &[], &[2], &["restart"]);
    assert_eq!(
        got.to_kill[0].message,
        "Container restart resize requires restart"
    );
    assert!(got.resize.pod);
    assert_eq!(updates(&f), ["update"]);

    let sidecar = |name: &str, policy: &str| {
        let mut sidecar = sized(name, "1", policy);
        sidecar.restart_policy = Some("Always".to_owned());
        sidecar
    };
    let f = resized(
        vec![
            sidecar("restart", "RestartContainer"),
            sidecar("update", "NotRequired"),
        ],
        vec![sized("same", "500m", "NotRequired")],
    );
    f.check(false, false, &[0], &[], &["restart"]);
    assert_eq!(updates(&f), ["update"]);

    let mut f = resized(
        vec![sized("init", "1", "NotRequired")],
        vec![sized("later", "1", "NotRequired")],
    );
    f.status.containers.truncate(1);
    f.check(false, false, &[], &[], &[]);
    assert_eq!(updates(&f), ["init"]);
    f.resize.init_containers = false;
    assert!(f.actions().resize.is_empty());
}
