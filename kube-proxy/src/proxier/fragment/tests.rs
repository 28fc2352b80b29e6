use super::*;
use crate::proxier::LocalDetector;
use crate::sys::Family;
use crate::tracker::PortName;

fn layout() -> Layout {
    Layout {
        family: Family::V4,
        masquerade_bit: 14,
        masquerade_all: false,
        local: LocalDetector::Range("10.0.0.0/8".parse().expect("a range")),
        service_ranges: Vec::new(),
        node_port_addresses: None,
    }
}

fn port(edit: impl FnOnce(&mut ServicePort)) -> ServicePort {
    let mut port = ServicePort {
        name: PortName {
            namespace: "ns1".into(),
            service: "svc1".into(),
            port: "p80".into(),
            protocol: "tcp",
        },
        cluster_ip: "172.30.0.41".parse().expect("an address"),
        port: 80,
        node_port: 0,
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        load_balancer_source_ranges: Vec::new(),
        affinity_seconds: None,
        internal_policy_local: false,
        external_policy_local: false,
        health_check_node_port: 0,
    };
    edit(&mut port);
    port
}

fn endpoint(address: &str, local: bool) -> Endpoint {
    Endpoint {
        address: address.parse().expect("an address"),
        port: 80,
        local,
        ready: true,
        serving: true,
        terminating: false,
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
    }
}

/// The fragment as lines: `chain: rule` and `container: key rest`.
fn lines(fragment: &Fragment) -> Vec<String> {
    let rules = fragment
        .chains
        .iter()
        .flat_map(|(chain, rules)| rules.iter().map(move |rule| format!("{chain}: {rule}")));
    let elements = fragment.elements.iter().map(|(key, rest)| {
        format!("{}: {} {rest}", key.container, key.key)
            .trim_end()
            .to_owned()
    });
    let sets = fragment
        .affinity_sets
        .iter()
        .map(|(set, timeout)| format!("{set}: {}s", timeout.as_secs()));
    rules.chain(elements).chain(sets).collect()
}

#[track_caller]
fn check(port: &ServicePort, endpoints: &Endpoints, expected: &[&str]) {
    assert_eq!(
        lines(&fragment(
            port,
            endpoints,
            &layout(),
            Some("192.168.0.1".parse().expect("an address"))
        )),
        expected
    );
}

#[test]
fn a_cluster_ip() {
    let endpoints = Endpoints {
        cluster: vec![endpoint("10.180.0.1", true), endpoint("10.180.0.2", false)],
        local: Vec::new(),
        any: true,
    };
    check(
        &port(|_| {}),
        &endpoints,
        &[
            "service-ULMVA6XW-ns1/svc1/tcp/p80: meta l4proto tcp dnat ip addr . port to numgen random mod 2 map { 0 : 10.180.0.1 . 80, 1 : 10.180.0.2 . 80 }",
            "cluster-ips: 172.30.0.41",
            "hairpin-connections: 10.180.0.1 . 10.180.0.1 . tcp . 80",
            "service-ips: 172.30.0.41 . tcp . 80 : goto service-ULMVA6XW-ns1/svc1/tcp/p80",
        ],
    );
    check(
        &port(|_| {}),
        &Endpoints::default(),
        &[
            "cluster-ips: 172.30.0.41",
            "no-endpoint-services: 172.30.0.41 . tcp . 80 comment \"ns1/svc1:p80\" : goto reject-chain",
        ],
    );
}

#[test]
fn node_ports_and_policies() {
    let p = port(|port| port.node_port = 3001);
    let remote = vec![endpoint("10.180.0.1", false)];
    check(
        &p,
        &Endpoints {
            cluster: remote.clone(),
            local: Vec::new(),
            any: true,
        },
        &[
            "external-ULMVA6XW-ns1/svc1/tcp/p80: mark set mark or 0x4000 comment \"masquerade\"",
            "external-ULMVA6XW-ns1/svc1/tcp/p80: goto service-ULMVA6XW-ns1/svc1/tcp/p80",
            "service-ULMVA6XW-ns1/svc1/tcp/p80: meta l4proto tcp dnat ip addr . port to numgen random mod 1 map { 0 : 10.180.0.1 . 80 }",
            "cluster-ips: 172.30.0.41",
            "service-ips: 172.30.0.41 . tcp . 80 : goto service-ULMVA6XW-ns1/svc1/tcp/p80",
            "service-nodeports: tcp . 3001 : goto external-ULMVA6XW-ns1/svc1/tcp/p80",
        ],
    );
    let p = port(|port| {
        port.node_port = 3001;
        port.external_policy_local = true;
    });
    check(
        &p,
        &Endpoints {
            cluster: remote,
            local: Vec::new(),
            any: true,
        },
        &[
            "external-ULMVA6XW-ns1/svc1/tcp/p80: ip saddr 10.0.0.0/8 goto service-ULMVA6XW-ns1/svc1/tcp/p80 comment \"short-circuit pod traffic\"",
            "external-ULMVA6XW-ns1/svc1/tcp/p80: fib saddr type local mark set mark or 0x4000 comment \"masquerade local traffic\"",
            "external-ULMVA6XW-ns1/svc1/tcp/p80: fib saddr type local goto service-ULMVA6XW-ns1/svc1/tcp/p80 comment \"short-circuit local traffic\"",
            "service-ULMVA6XW-ns1/svc1/tcp/p80: meta l4proto tcp dnat ip addr . port to numgen random mod 1 map { 0 : 10.180.0.1 . 80 }",
            "cluster-ips: 172.30.0.41",
            "no-endpoint-nodeports: tcp . 3001 comment \"ns1/svc1:p80\" : drop",
            "service-ips: 172.30.0.41 . tcp . 80 : goto service-ULMVA6XW-ns1/svc1/tcp/p80",
            "service-nodeports: tcp . 3001 : goto external-ULMVA6XW-ns1/svc1/tcp/p80",
        ],
    );
}

#[test]
fn session_affinity() {
    let endpoints = Endpoints {
        cluster: vec![endpoint("10.180.0.1", false)],
        local: Vec::new(),
        any: true,
    };
    check(
        &port(|port| port.affinity_seconds = Some(10800)),
        &endpoints,
        &[
            "endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80: update @affinity-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80 { ip saddr }",
            "endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80: meta l4proto tcp dnat to 10.180.0.1:80",
            "service-ULMVA6XW-ns1/svc1/tcp/p80: ip saddr @affinity-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80 goto endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80",
            "service-ULMVA6XW-ns1/svc1/tcp/p80: numgen random mod 1 vmap { 0 : goto endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80 }",
            "cluster-ips: 172.30.0.41",
            "service-ips: 172.30.0.41 . tcp . 80 : goto service-ULMVA6XW-ns1/svc1/tcp/p80",
            "affinity-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80: 10800s",
        ],
    );
}

#[test]
fn load_balancer_source_ranges() {
    let p = port(|port| {
        port.load_balancer_ips = vec!["5.6.7.8".parse().expect("an address")];
        port.load_balancer_source_ranges = vec![
            "192.168.0.0/24".parse().expect("a range"),
            "203.0.113.0/25".parse().expect("a range"),
        ];
    });
    let endpoints = Endpoints {
        cluster: vec![endpoint("10.180.0.1", false)],
        local: Vec::new(),
        any: true,
    };
    let all = lines(&fragment(
        &p,
        &endpoints,
        &layout(),
        Some("192.168.0.1".parse().expect("an address")),
    ));
    assert!(all.contains(&"firewall-ULMVA6XW-ns1/svc1/tcp/p80: ip saddr != { 192.168.0.0/24, 203.0.113.0/25, 5.6.7.8 } drop".to_owned()), "{all:?}");
    assert!(all.contains(
        &"firewall-ips: 5.6.7.8 . tcp . 80 : goto firewall-ULMVA6XW-ns1/svc1/tcp/p80".to_owned()
    ));
    let elsewhere = lines(&fragment(
        &p,
        &endpoints,
        &layout(),
        Some("192.168.9.1".parse().expect("an address")),
    ));
    assert!(elsewhere.contains(&"firewall-ULMVA6XW-ns1/svc1/tcp/p80: ip saddr != { 192.168.0.0/24, 203.0.113.0/25 } drop".to_owned()));
}
