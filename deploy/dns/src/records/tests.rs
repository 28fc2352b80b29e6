use api_types::core::v1::ServicePort;
use api_types::discovery::v1::EndpointPort;

use super::*;

fn service(name: &str, edit: impl FnOnce(&mut Service)) -> Service {
    let mut service = Service::default();
    service.metadata.namespace = "ns".into();
    service.metadata.name = name.into();
    service.spec.ports.push(ServicePort {
        name: "http".into(),
        protocol: "TCP".into(),
        port: 80,
        ..ServicePort::default()
    });
    edit(&mut service);
    service
}

fn slice(service: &str, endpoints: &[(&str, Option<&str>, bool)]) -> EndpointSlice {
    let mut slice = EndpointSlice::default();
    slice.metadata.namespace = "ns".into();
    slice.metadata.name = format!("{service}-1");
    slice
        .metadata
        .labels
        .insert("kubernetes.io/service-name".into(), service.into());
    slice.ports.push(EndpointPort {
        name: Some("http".into()),
        protocol: Some("TCP".into()),
        port: Some(8080),
        ..EndpointPort::default()
    });
    for (address, hostname, ready) in endpoints {
        let mut endpoint = Endpoint {
            addresses: vec![(*address).into()],
            hostname: hostname.map(str::to_owned),
            ..Endpoint::default()
        };
        endpoint.conditions.ready = Some(*ready);
        slice.endpoints.push(endpoint);
    }
    slice
}

fn records() -> Records {
    let services = Lister::of([
        service("web", |service| {
            service.spec.cluster_ips = vec!["10.0.0.10".into()]
        }),
        service("db", |service| service.spec.cluster_ip = "None".into()),
        service("empty", |service| service.spec.cluster_ip = "None".into()),
        service("out", |service| {
            service.spec.type_ = "ExternalName".into();
            service.spec.external_name = "example.com".into();
        }),
        service("alias", |service| {
            service.spec.type_ = "ExternalName".into();
            service.spec.external_name = "web.ns.svc.cluster.local".into();
        }),
    ]);
    let services = services.with_index(BY_ADDRESS, |service: &Service| {
        service.spec.cluster_ips.clone()
    });
    let slices = Lister::of([slice(
        "db",
        &[
            ("10.1.0.1", Some("db-0"), true),
            ("10.1.0.2", None, true),
            ("10.1.0.3", None, false),
        ],
    )]);
    let slices = slices.with_index(BY_SERVICE, |slice: &EndpointSlice| {
        service_of(slice).into_iter().collect()
    });
    let slices = slices.with_index(BY_ADDRESS, |slice: &EndpointSlice| {
        slice
            .endpoints
            .iter()
            .flat_map(|endpoint| endpoint.addresses.clone())
            .collect()
    });
    let mut namespace = Namespace::default();
    namespace.metadata.name = "ns".into();
    Records::over(
        "cluster.local",
        services,
        slices,
        Lister::of([namespace]),
        Box::new(|| true),
    )
    .expect("a zone")
}

/// `expected` holds the data of the records, in order; `-` for a name that does not exist, `>` for one that is not ours.
#[track_caller]
fn check(records: &Records, name: &str, kind: RecordType, expected: &[&str]) {
    let name = Name::from_str(name).expect("a name");
    let got = match records.answer(&name, kind) {
        Answer::Found { records, .. } => records
            .iter()
            .map(|record| record.data.to_string())
            .collect(),
        Answer::NoSuchName => vec!["-".to_owned()],
        Answer::NotOurs => vec![">".to_owned()],
    };
    assert_eq!(got, expected, "{name} {kind}");
}

#[test]
fn services() {
    let r = records();
    check(
        &r,
        "web.ns.svc.cluster.local.",
        RecordType::A,
        &["10.0.0.10"],
    );
    check(
        &r,
        "WEB.Ns.svc.cluster.local.",
        RecordType::A,
        &["10.0.0.10"],
    );
    check(&r, "web.ns.svc.cluster.local.", RecordType::AAAA, &[]);
    check(&r, "nope.ns.svc.cluster.local.", RecordType::A, &["-"]);
    check(&r, "web.other.svc.cluster.local.", RecordType::A, &["-"]);
    check(&r, "ns.svc.cluster.local.", RecordType::A, &[]);
    check(&r, "other.svc.cluster.local.", RecordType::A, &["-"]);
    check(&r, "svc.cluster.local.", RecordType::A, &[]);
    check(&r, "example.com.", RecordType::A, &[">"]);
    check(&r, "web.ns.svc.cluster.localx.", RecordType::A, &[">"]);
}

#[test]
fn headless_services() {
    let r = records();
    check(
        &r,
        "db.ns.svc.cluster.local.",
        RecordType::A,
        &["10.1.0.1", "10.1.0.2"],
    );
    check(
        &r,
        "db-0.db.ns.svc.cluster.local.",
        RecordType::A,
        &["10.1.0.1"],
    );
    check(
        &r,
        "10-1-0-2.db.ns.svc.cluster.local.",
        RecordType::A,
        &["10.1.0.2"],
    );
    check(
        &r,
        "10-1-0-3.db.ns.svc.cluster.local.",
        RecordType::A,
        &["-"],
    );
    check(&r, "empty.ns.svc.cluster.local.", RecordType::A, &["-"]);
    check(&r, "any.web.ns.svc.cluster.local.", RecordType::A, &["-"]);
}

#[test]
fn ports() {
    let r = records();
    check(
        &r,
        "_http._tcp.web.ns.svc.cluster.local.",
        RecordType::SRV,
        &["0 100 80 web.ns.svc.cluster.local."],
    );
    check(
        &r,
        "_http._tcp.db.ns.svc.cluster.local.",
        RecordType::SRV,
        &[
            "0 50 8080 db-0.db.ns.svc.cluster.local.",
            "0 50 8080 10-1-0-2.db.ns.svc.cluster.local.",
        ],
    );
    check(
        &r,
        "_http._udp.web.ns.svc.cluster.local.",
        RecordType::SRV,
        &["-"],
    );
    check(
        &r,
        "_http._tcp.web.ns.svc.cluster.local.",
        RecordType::A,
        &[],
    );
}

#[test]
fn other_names() {
    let r = records();
    check(
        &r,
        "out.ns.svc.cluster.local.",
        RecordType::A,
        &["example.com."],
    );
    check(
        &r,
        "alias.ns.svc.cluster.local.",
        RecordType::A,
        &["web.ns.svc.cluster.local.", "10.0.0.10"],
    );
    check(
        &r,
        "10-1-2-3.ns.pod.cluster.local.",
        RecordType::A,
        &["10.1.2.3"],
    );
    check(
        &r,
        "10-1-2-3.other.pod.cluster.local.",
        RecordType::A,
        &["-"],
    );
    check(&r, "nonsense.ns.pod.cluster.local.", RecordType::A, &["-"]);
    check(
        &r,
        "dns-version.cluster.local.",
        RecordType::TXT,
        &["1.1.0"],
    );
    check(
        &r,
        "10.0.0.10.in-addr.arpa.",
        RecordType::PTR,
        &["web.ns.svc.cluster.local."],
    );
    check(
        &r,
        "1.0.1.10.in-addr.arpa.",
        RecordType::PTR,
        &["db-0.db.ns.svc.cluster.local."],
    );
    check(&r, "1.1.1.1.in-addr.arpa.", RecordType::PTR, &[">"]);
}
