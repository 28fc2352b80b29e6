//! Spans of requests, as a collector of the test's own is sent them.

use std::time::Duration;

use parking_lot::Mutex;
use prost::Message as _;
use tonic::Status;

use super::grpc::{self, Answers};
use super::*;

/// All requests to export, as they came.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Vec<u8>>>>);

impl Answers for Collector {
    const SERVICE: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";

    fn answer(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, Status> {
        assert!(method.ends_with("/Export"), "{method}");
        self.0.lock().push(request.to_vec());
        Ok(Vec::new())
    }
}

// What is looked at, of opentelemetry-proto.
#[derive(Clone, PartialEq, prost::Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    of_resources: Vec<OfResource>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfResource {
    #[prost(message, repeated, tag = "2")]
    of_scopes: Vec<OfScope>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfScope {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    #[prost(string, tag = "2")]
    name: String,
}

impl Collector {
    fn spans(&self) -> Vec<Span> {
        let exports = self.0.lock();
        let exports = exports.iter().map(|text| Export::decode(&**text).unwrap());
        let resources = exports.flat_map(|export| export.of_resources);
        let scopes = resources.flat_map(|resource| resource.of_scopes);
        scopes.flat_map(|scope| scope.spans).collect()
    }
}

fn configured(folder: &std::path::Path, text: &str) -> String {
    let file = folder.join("tracing.yaml");
    let text =
        format!("apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\n{text}");
    std::fs::write(&file, text).unwrap();
    format!("--tracing-config-file={}", file.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_have_spans() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("collector.sock");
    let collector = Collector::default();
    let serving = grpc::serve(&collector, &socket).drop_guard();
    let endpoint = format!("endpoint: unix://{}\n", socket.display());
    let flag = configured(folder.path(), &endpoint);
    let Some(server) = Server::start_with(&[flag]).await else {
        return;
    };
    server.namespace("default").await;
    // Without a rate, only those are traced whose caller asks for it.
    let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("traceparent", context)];
    let watch = format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1");
    for path in [&format!("{CONFIG_MAPS}/missing"), &watch] {
        server.send("GET", path, &headers, "").await;
    }
    let made = config_map("made").to_string();
    let headers = [("traceparent", context), ("content-type", JSON)];
    let made = server.send("POST", CONFIG_MAPS, &headers, made).await;
    made.expect(201);
    let told = async {
        loop {
            let spans = collector.spans();
            if spans
                .iter()
                .filter(|span| span.parent[..2] == [0, 0xf0])
                .count()
                >= 3
            {
                return spans;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let spans = tokio::time::timeout(Duration::from_secs(30), told);
    let spans = spans.await.expect("spans are sent every five seconds");
    let (spans, inner): (Vec<_>, Vec<_>) = spans
        .into_iter()
        .partition(|span| span.parent[..2] == [0, 0xf0]);
    assert_eq!(spans.len(), 3, "{spans:?}");
    let below = |name: &str, parent: &str| {
        let find = |name| spans.iter().chain(&inner).find(|span| span.name == name);
        let (span, parent) = (find(name).expect(name), find(parent).expect(parent));
        assert_eq!(span.parent, parent.id, "{inner:?}");
        span.clone()
    };
    // What a request goes through, each within the one before.
    let request = "GET /api/v1/namespaces/{:namespace}/configmaps/{:name}";
    below("audit", request);
    below("constrainedimpersonation", "audit");
    below("priorityandfairness", "constrainedimpersonation");
    let authorization = below("authorization", "priorityandfairness");
    assert!(authorization.end > authorization.start);
    let get = below("Get", "authorization");
    assert_eq!(get.events[0].name, "About to Get from storage");
    below("cacher.Get", "Get");
    // A write goes on in a task of its own.
    let create = inner.iter().find(|span| span.name == "Create").unwrap();
    let within = inner.iter().find(|span| span.id == create.parent).unwrap();
    assert_eq!(within.name, "authorization");
    let written = below("SerializeObject", "Create");
    assert_eq!(written.events[0].name, "About to start writing response");
    let stored = below("Create etcd3", "Create");
    assert_eq!(stored.events.last().unwrap().name, "Txn call succeeded");
    below("etcdserverpb.KV/Txn", "Create etcd3");
    let name = "GET /api/v1/namespaces/{:namespace}/configmaps";
    assert_eq!(spans[0].name, format!("{name}/{{:name}}"));
    assert_eq!(spans[1].name, name);
    for span in &spans {
        assert_eq!(span.trace[..2], [0x4b, 0xf9]);
        assert_eq!(span.parent[..2], [0, 0xf0]);
    }
    let took = Duration::from_nanos(spans[1].end - spans[1].start);
    assert!(
        took >= Duration::from_millis(900),
        "{took:?}: the watch is a second"
    );
    drop(serving);
}

#[tokio::test]
async fn wrong_configurations() {
    let folder = tempfile::tempdir().unwrap();
    let flag = configured(folder.path(), "samplingRatePerMillion: -1\n");
    let Some(outcome) = Server::try_start_with(&[flag]).await else {
        return;
    };
    assert_eq!(
        outcome.err().unwrap(),
        "failed to validate tracing configuration: samplingRatePerMillion: Invalid value: -1: sampling rate must be positive"
    );
    let missing = "--tracing-config-file=/nowhere".to_owned();
    let outcome = Server::try_start_with(&[missing]).await.unwrap();
    assert_eq!(
        outcome.err().unwrap(),
        "failed to read tracing config: unable to read tracing configuration from \"/nowhere\": open /nowhere: no such file or directory"
    );
}
