use component_base::flags::Parsed;

use super::*;

fn parse(arguments: &[&str]) -> Result<Config, String> {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned());
    match Flags::parse(&flags::COMMAND, arguments).unwrap() {
        Parsed::Run(flags) => Config::from_flags(&flags).map_err(|error| error.to_string()),
        _ => panic!("neither help nor version was asked for"),
    }
}

fn with_file(text: &str, arguments: &[&str]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let header = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
    std::fs::write(&file, format!("{header}{text}")).unwrap();
    let config = format!("--config={}", file.display());
    parse(&[&[config.as_str()], arguments].concat())
}

#[test]
fn defaults_are_upstreams() {
    let config = parse(&[]).unwrap();
    let component = &config.component;
    assert_eq!(component.parallelism, Some(16));
    assert_eq!(
        (
            component.client_connection.qps,
            component.client_connection.burst
        ),
        (50.0, 100)
    );
    assert_eq!(
        (
            component.pod_initial_backoff_seconds,
            component.pod_max_backoff_seconds
        ),
        (Some(1), Some(10))
    );
    assert_eq!(component.leader_election.leader_elect, Some(true));
    assert_eq!(component.leader_election.resource_name, "kube-scheduler");
    assert_eq!(
        component.profiles[0].scheduler_name.as_deref(),
        Some("default-scheduler")
    );
    assert_eq!(config.max_in_unschedulable_pods, Duration::from_secs(300));
    let configured: Vec<&str> = component.profiles[0]
        .plugin_config
        .iter()
        .map(|config| config.name.as_str())
        .collect();
    assert_eq!(
        configured,
        [
            "DefaultPreemption",
            "DynamicResources",
            "InterPodAffinity",
            "NodeAffinity",
            "NodeResourcesBalancedAllocation",
            "NodeResourcesFit",
            "PodTopologySpread",
            "VolumeBinding",
        ]
    );
}

#[test]
fn deprecated_flags_count_without_a_file() {
    let config = parse(&[
        "--kube-api-qps=7",
        "--kubeconfig=/k",
        "--leader-elect=false",
    ])
    .unwrap();
    assert_eq!(config.component.client_connection.qps, 7.0);
    assert_eq!(config.component.client_connection.kubeconfig, "/k");
    assert_eq!(config.component.leader_election.leader_elect, Some(false));
    let config = with_file(
        "podMaxBackoffSeconds: 20\n",
        &["--kube-api-qps=7", "--leader-elect=false"],
    )
    .unwrap();
    assert_eq!(config.component.client_connection.qps, 50.0);
    assert_eq!(config.component.pod_max_backoff_seconds, Some(20));
    assert_eq!(config.component.leader_election.leader_elect, Some(false));
}

#[test]
fn files_are_read_strictly() {
    let error = with_file("nonsense: 1\n", &[]).err().unwrap();
    assert!(error.contains("unknown field \"nonsense\""), "{error}");
    let args = "profiles:\n- pluginConfig:\n  - name: NodeResourcesFit\n    args: {nonsense: 1}\n";
    let error = with_file(args, &[]).err().unwrap();
    assert!(
        error.contains("NodeResourcesFit") && error.contains("nonsense"),
        "{error}"
    );
    assert!(parse(&["--config=/does/not/exist"]).is_err());
}

#[test]
fn mistakes_are_told_at_once() {
    let text = "parallelism: -1\npodInitialBackoffSeconds: 5\npodMaxBackoffSeconds: 1\npercentageOfNodesToScore: 101\n\
        extenders:\n- {urlPrefix: 'http://a', bindVerb: b}\n- {urlPrefix: 'http://c', bindVerb: b, prioritizeVerb: p}\n";
    let error = with_file(text, &[]).err().unwrap();
    for part in [
        "parallelism: Invalid value: -1: should be an integer value greater than zero",
        "podMaxBackoffSeconds: Invalid value: 1: must be greater than or equal to PodInitialBackoffSeconds",
        "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
        "only one extender can implement bind",
        "extenders[1].weight: Invalid value: 0: must have a positive weight applied to it",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let twice = "profiles:\n- schedulerName: a\n- schedulerName: a\n";
    assert!(
        with_file(twice, &[])
            .err()
            .unwrap()
            .contains("profiles[1].schedulerName: Duplicate value")
    );
}

#[test]
fn arguments_of_plugins_are_checked() {
    #[track_caller]
    fn check(plugin: &str, args: &str, expected: &str) {
        let text = format!("profiles:\n- pluginConfig:\n  - name: {plugin}\n    args: {args}\n");
        let error = with_file(&text, &[]).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
    check(
        "DefaultPreemption",
        "{minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}",
        "cannot be zero at the same time",
    );
    check(
        "InterPodAffinity",
        "{hardPodAffinityWeight: 101}",
        "not in valid range [0, 100]",
    );
    check(
        "NodeResourcesFit",
        "{scoringStrategy: {type: Worst}}",
        "Unsupported value: \"Worst\"",
    );
    check(
        "NodeResourcesFit",
        "{scoringStrategy: {type: RequestedToCapacityRatio}}",
        "must be specified when type is RequestedToCapacityRatio",
    );
    check(
        "PodTopologySpread",
        "{defaultingType: System, defaultConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: ScheduleAnyway}]}",
        "when .defaultConstraints are not empty",
    );
    check(
        "VolumeBinding",
        "{bindTimeoutSeconds: -1}",
        "should not be a negative value",
    );
}

#[test]
fn the_configuration_is_shown_with_its_kind() {
    let shown = parse(&[]).unwrap().shown();
    assert_eq!(shown["kind"], "KubeSchedulerConfiguration");
    assert_eq!(
        shown["profiles"][0]["pluginConfig"][0]["args"]["kind"],
        "DefaultPreemptionArgs"
    );
}
