//! Watches whose clients do not read.

use futures::StreamExt as _;
use http_body_util::BodyStream;
use serde_json::{Value, json};

use super::{CONFIG_MAPS, MERGE, Server};

const EVENTS: usize = 60;
/// Characters in each event's object.
const SIZE: usize = 100_000;

fn filled(number: usize) -> String {
    format!("{number}{}", "x".repeat(SIZE))
}

/// A client that never reads is given what fits on its way and no more, in order; it holds up nobody.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_are_given_little() {
    let Some(server) = Server::start().await else {
        return;
    };
    let object = json!({"metadata": {"name": "m"}, "data": {"number": ""}});
    let created = server.post(CONFIG_MAPS, object).await.expect(201);
    let version = created["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={version}");
    let open = async || {
        let answer = server.open("GET", &path, &[], "").await;
        assert_eq!(answer.status(), 200);
        answer.into_body()
    };
    let silent = open().await;
    let mut reading = BodyStream::new(open().await);
    let mut line = Vec::new();
    for number in 0..EVENTS {
        let filler = filled(number);
        let patch = json!({"data": {"number": filler}}).to_string();
        let patched = server
            .patch(&format!("{CONFIG_MAPS}/m"), MERGE, patch)
            .await;
        assert_eq!(patched.code, 200);
        // As soon as it is written, the other client has it.
        while !line.ends_with(b"\n") {
            let frame = reading.next().await.unwrap().unwrap();
            line.extend_from_slice(&frame.into_data().unwrap());
        }
        let event: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(event["object"]["data"]["number"], filler);
        line.clear();
    }
    // The watch ends where it is: what can be read now was kept for the client all the time.
    server.inner().shutdown_watches.cancel();
    let kept = silent.collect(EVENTS * SIZE).await.unwrap();
    let events: Vec<Value> = serde_json::Deserializer::from_slice(&kept)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(events.len() < EVENTS / 3, "{}", events.len());
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["object"]["data"]["number"], filled(number));
    }
}
