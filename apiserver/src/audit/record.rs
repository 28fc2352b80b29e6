//! What is noted of one request, and its events. Upstream: AuditContext of apiserver/pkg/audit/context.go and request.go.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api_types::meta::v1::{ObjectMeta, Status};
use component_base::auth::UserInfo;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Audit;
use super::backend::Sent;
use super::event::{self, Line, ObjectReference, Writer};
use super::objects;
use super::policy::{Level, Stage, Verdict};
use crate::negotiation::Encoding;
use crate::request::context::{AuditAnnotations, RequestContext};

const MAX_USER_AGENT: usize = 1024;
/// Slower answers say how long they took.
const SLOW: Duration = Duration::from_millis(500);
const FORBIDDEN: &str = "forbid";
const ALLOWED: &str = "allow";

/// How a request's events go on after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// An answer, and done.
    Short,
    /// A watch or a connection: its start is an event too.
    LongRunning,
    /// Refused before it was known who sent it: the refusal is the only event.
    Refused,
}

/// A request that is noted. Its last event is written when the answer is complete, and at the latest when nobody works on it
/// any more: connections that were switched to another protocol hold on to it.
pub struct Record {
    audit: Arc<Audit>,
    verdict: Verdict,
    life: Life,
    audit_id: String,
    received: Timestamp,
    received_at: Instant,
    deadline: Option<Instant>,
    /// The members from `requestURI` to `user`, and the place of `impersonatedUser` after them.
    head: Vec<u8>,
    /// `sourceIPs` and `userAgent`.
    sender: Vec<u8>,
    annotations: AuditAnnotations,
    state: Mutex<State>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("audit_id", &self.audit_id)
            .field("verdict", &self.verdict)
            .finish_non_exhaustive()
    }
}

/// What is found out on the way.
#[derive(Default)]
struct State {
    impersonated: Option<Vec<u8>>,
    impersonation_constraint: &'static str,
    object: Option<ObjectReference>,
    status: Option<Status>,
    request_object: Option<Vec<u8>>,
    response_object: Option<Vec<u8>>,
    authorization: Option<(Option<&'static str>, String)>,
    latency: Option<String>,
    over: bool,
}

impl Record {
    pub(super) fn new(
        audit: Arc<Audit>,
        cx: &RequestContext,
        user: Option<&UserInfo>,
        verdict: Verdict,
        life: Life,
    ) -> Record {
        let mut head = Vec::with_capacity(512);
        let uri = cx.uri.path_and_query().map_or("", |uri| uri.as_str());
        head.extend_from_slice(b"\"requestURI\":");
        api_types::codec::write_json_string(uri, &mut head);
        head.extend_from_slice(b",\"verb\":");
        api_types::codec::write_json_string(&cx.info.verb, &mut head);
        head.extend_from_slice(b",\"user\":");
        match user {
            Some(user) => event::user(user, &mut head),
            None => head.extend_from_slice(b"{}"),
        }
        head.push(b',');
        let info = &cx.info;
        let object = info.is_resource_request.then(|| ObjectReference {
            resource: info.resource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            api_group: info.api_group.clone(),
            api_version: info.api_version.clone(),
            subresource: info.subresource.clone(),
            ..ObjectReference::default()
        });
        let since = cx.received.elapsed();
        Record {
            audit,
            verdict,
            life,
            audit_id: cx.audit_id.clone(),
            received: Timestamp::now()
                .checked_sub(since)
                .unwrap_or_else(|_| Timestamp::now()),
            received_at: cx.received,
            deadline: cx.deadline,
            head,
            sender: sender_of(&cx.headers, cx.connection.remote_addr.ip(), cx.user_agent()),
            annotations: cx.annotations.clone(),
            state: Mutex::new(State {
                object,
                // A refusal has one event and no end.
                over: life == Life::Refused,
                ..State::default()
            }),
        }
    }

    /// Whether objects of requests are noted: what they are made of is worth the work.
    pub fn wants_request(&self) -> bool {
        self.verdict.level >= Level::Request
    }

    /// Whether answers are noted.
    pub fn wants_response(&self) -> bool {
        self.verdict.level >= Level::RequestResponse
    }

    /// The caller acts as somebody else, by a constrained right unless `constraint` is empty.
    pub fn impersonated(&self, user: &UserInfo, constraint: &'static str) {
        let mut json = Vec::with_capacity(128);
        event::user(user, &mut json);
        let mut state = self.state.lock();
        state.impersonated = Some(json);
        state.impersonation_constraint = constraint;
    }

    /// The request may go on.
    pub fn allowed(&self, reason: String) {
        self.state.lock().authorization = Some((Some(ALLOWED), reason));
    }

    /// The request may not go on.
    pub fn forbidden(&self, reason: String) {
        self.state.lock().authorization = Some((Some(FORBIDDEN), reason));
    }

    /// Nobody could say whether the request may go on.
    pub fn undecided(&self) {
        self.state.lock().authorization = Some((None, "internal error".to_owned()));
    }

    /// The object that was sent. What the path does not say of it is taken from its metadata; `json` is only called when the
    /// object itself is noted.
    pub fn sent_object(
        &self,
        metadata: Option<&ObjectMeta>,
        json: impl FnOnce() -> Option<Vec<u8>>,
    ) {
        let json = self.wants_request().then(json).flatten();
        let json = json.map(|json| self.shown(json));
        let mut state = self.state.lock();
        if let (Some(object), Some(metadata)) = (&mut state.object, metadata) {
            for (known, found) in [
                (&mut object.namespace, &metadata.namespace),
                (&mut object.name, &metadata.name),
                (&mut object.uid, &metadata.uid),
                (&mut object.resource_version, &metadata.resource_version),
            ] {
                if known.is_empty() {
                    known.clone_from(found);
                }
            }
        }
        if json.is_some() {
            state.request_object = json;
        }
    }

    /// A patch, as it was sent.
    pub fn sent_patch(&self, patch: &[u8], is_yaml: bool) {
        if self.wants_request() {
            let json = objects::sent(patch, is_yaml);
            self.state.lock().request_object = json;
        }
    }

    /// A whole answer in the negotiated encoding.
    pub fn answered(&self, encoding: Encoding, body: &[u8]) {
        if self.wants_response() {
            let json = objects::to_json(encoding, body).map(|json| self.shown(json));
            self.state.lock().response_object = json;
        }
    }

    /// A Status is the answer.
    pub fn answered_status(&self, status: &Status) {
        let json = self
            .wants_response()
            .then(|| api_types::encode_json(status));
        let mut state = self.state.lock();
        state.status = Some(status.clone());
        if json.is_some() {
            state.response_object = json;
        }
    }

    fn shown(&self, json: Vec<u8>) -> Vec<u8> {
        if self.verdict.omit_managed_fields {
            objects::without_managed_fields(&json)
        } else {
            json
        }
    }

    /// The first event. False when the request must not go on without it.
    pub(super) async fn begin(&self) -> bool {
        match self.emit(Stage::RequestReceived) {
            Sent::Done(kept) => kept,
            Sent::Pending(kept) => kept.await,
        }
    }

    /// The head of the answer is there.
    pub(super) fn started(&self, code: StatusCode) -> Sent {
        {
            let mut state = self.state.lock();
            state.status.get_or_insert_default().code = i32::from(code.as_u16());
        }
        if self.life == Life::Short {
            return Sent::Done(true);
        }
        self.emit(Stage::ResponseStarted)
    }

    /// The answer is complete. Does nothing the second time.
    pub(super) fn complete(&self) -> Sent {
        {
            let mut state = self.state.lock();
            if std::mem::replace(&mut state.over, true) {
                return Sent::Done(true);
            }
            self.note_latency(&mut state);
            if state.status.is_none() {
                state.status = Some(self.broken_off());
                if self.life == Life::LongRunning {
                    drop(state);
                    let started = self.emit(Stage::ResponseStarted);
                    self.audit.see_to(started);
                }
            }
        }
        self.emit(Stage::ResponseComplete)
    }

    /// As [`Self::complete`], for those that cannot wait.
    pub(super) fn end(&self) {
        let sent = self.complete();
        self.audit.see_to(sent);
    }

    /// The request does not go on, and nothing more is noted of it.
    pub(super) fn give_up(&self) {
        self.state.lock().over = true;
    }

    fn note_latency(&self, state: &mut State) {
        let latency = self.received_at.elapsed();
        if latency > SLOW && self.life == Life::Short {
            let nanoseconds = i64::try_from(latency.as_nanos()).unwrap_or(i64::MAX);
            state.latency = Some(apimachinery::duration::format(nanoseconds));
        }
    }

    /// The status of a request that was not answered: its time is over, or the client is gone.
    fn broken_off(&self) -> Status {
        if self
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            return apimachinery::status::timeout(
                "request did not complete within the allotted timeout",
                0,
            )
            .into();
        }
        Status {
            status: "Success".to_owned(),
            message: "Connection closed early".to_owned(),
            code: 200,
            ..Status::default()
        }
    }

    /// The handler panicked.
    pub(super) fn panicked(&self, message: &str) -> Sent {
        {
            let mut state = self.state.lock();
            state.over = true;
            state.status = Some(Status {
                status: "Failure".to_owned(),
                reason: "InternalError".to_owned(),
                message: format!("APIServer panic'd: {message}"),
                code: 500,
                ..Status::default()
            });
        }
        self.emit(Stage::Panic)
    }

    fn emit(&self, stage: Stage) -> Sent {
        if self.verdict.omit_stages.contains(stage) {
            return Sent::Done(true);
        }
        self.audit.metrics().events.inc();
        let now = if stage == Stage::RequestReceived {
            self.received
        } else {
            Timestamp::now()
        };
        self.audit
            .send(self.verdict.level, &|whole| self.line(stage, now, whole))
    }

    /// The event of a stage; without the objects when it would be too long with them.
    fn line(&self, stage: Stage, now: Timestamp, whole: bool) -> Line {
        let state = self.state.lock();
        let objects = [&state.request_object, &state.response_object].map(|object| {
            let object = object.as_deref();
            object.filter(|_| whole)
        });
        let length: usize = objects.iter().flatten().map(|object| object.len()).sum();
        let mut out = Writer::new(512 + self.head.len() + self.sender.len() + length);
        out.text("level", self.verdict.level.as_str());
        out.text("auditID", &self.audit_id);
        out.text("stage", stage.as_str());
        out.members(&self.head);
        if let Some(user) = &state.impersonated {
            out.json("impersonatedUser", user);
        }
        if !state.impersonation_constraint.is_empty() {
            let constraint = state.impersonation_constraint;
            let json = format!(r#"{{"impersonationConstraint":"{constraint}"}}"#);
            out.json("authenticationMetadata", json.as_bytes());
        }
        out.members(&self.sender);
        if let Some(object) = &state.object {
            let mut json = Vec::with_capacity(192);
            object.write(&mut json);
            out.json("objectRef", &json);
        }
        if let Some(status) = &state.status {
            let mut json = Vec::with_capacity(32 + status.message.len());
            event::status(status, &mut json);
            out.json("responseStatus", &json);
        }
        for (name, object) in ["requestObject", "responseObject"].into_iter().zip(objects) {
            if let Some(object) = object {
                out.json(name, object);
            }
        }
        out.text("requestReceivedTimestamp", &micro_time(self.received));
        out.text("stageTimestamp", &micro_time(now));
        self.write_annotations(&state, whole, &mut out);
        out.finish()
    }

    fn write_annotations(&self, state: &State, whole: bool, out: &mut Writer) {
        let layers: Vec<(String, String)> = match &state.latency {
            Some(_) => self.annotations.latencies().annotations().collect(),
            None => Vec::new(),
        };
        self.annotations.with(|noted| {
            let mut all: Vec<(&str, &str)> = noted
                .iter()
                .filter(|(_, annotation)| !annotation.of_request || self.wants_request())
                .map(|(key, annotation)| (key.as_str(), annotation.value.as_str()))
                .collect();
            if let Some((decision, reason)) = &state.authorization {
                all.extend(decision.map(|decision| ("authorization.k8s.io/decision", decision)));
                all.push(("authorization.k8s.io/reason", reason));
            }
            if let Some(latency) = &state.latency {
                all.push(("apiserver.latency.k8s.io/total", latency));
                let layers = layers.iter();
                all.extend(layers.map(|(key, took)| (key.as_str(), took.as_str())));
            }
            if !whole {
                all.push(("audit.k8s.io/truncated", "true"));
            }
            if !all.is_empty() {
                all.sort_unstable();
                out.annotations(all.into_iter());
            }
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end();
    }
}

fn micro_time(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// `sourceIPs` and `userAgent` of a request.
fn sender_of(headers: &HeaderMap, remote: IpAddr, user_agent: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + user_agent.len());
    let addresses = source_addresses(headers, remote);
    out.extend_from_slice(b"\"sourceIPs\":");
    let texts: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    event::texts(texts.iter().map(String::as_str), &mut out);
    out.push(b',');
    if user_agent.len() > MAX_USER_AGENT {
        let mut end = MAX_USER_AGENT;
        while !user_agent.is_char_boundary(end) {
            end -= 1;
        }
        let cut = format!("{}...TRUNCATED", &user_agent[..end]);
        event::member("userAgent", &cut, &mut out);
    } else {
        event::member("userAgent", user_agent, &mut out);
    }
    out
}

/// Where a request comes from, as proxies and the connection say it. Upstream: apimachinery/pkg/util/net, SourceIPs.
fn source_addresses(headers: &HeaderMap, remote: IpAddr) -> Vec<IpAddr> {
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    let mut found: Vec<IpAddr> = text("x-forwarded-for")
        .split(',')
        .filter_map(|part| part.trim().parse().ok())
        .map(canonical)
        .collect();
    if let Ok(real) = text("x-real-ip").parse().map(canonical)
        && !found.contains(&real)
    {
        found.push(real);
    }
    if found.last() != Some(&remote) {
        found.push(remote);
    }
    found
}

fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sent_it_through_whom() {
        let remote: IpAddr = "10.0.0.1".parse().unwrap();
        let mut headers = HeaderMap::new();
        let texts = |headers: &HeaderMap| {
            let found = source_addresses(headers, remote);
            let texts: Vec<String> = found.iter().map(IpAddr::to_string).collect();
            texts.join(" ")
        };
        assert_eq!(texts(&headers), "10.0.0.1");
        headers.insert(
            "x-forwarded-for",
            "1.2.3.4, nobody,5.6.7.8".parse().unwrap(),
        );
        headers.insert("x-real-ip", "1.2.3.4".parse().unwrap());
        assert_eq!(texts(&headers), "1.2.3.4 5.6.7.8 10.0.0.1");
        headers.insert("x-real-ip", "::1".parse().unwrap());
        assert_eq!(texts(&headers), "1.2.3.4 5.6.7.8 ::1 10.0.0.1");
        headers.insert("x-real-ip", "10.0.0.1".parse().unwrap());
        assert_eq!(texts(&headers), "1.2.3.4 5.6.7.8 10.0.0.1");
    }

    #[test]
    fn long_user_agents_are_cut() {
        let sender = |agent: &str| {
            let sender = sender_of(&HeaderMap::new(), "10.0.0.1".parse().unwrap(), agent);
            String::from_utf8(sender).unwrap()
        };
        assert_eq!(sender(""), "\"sourceIPs\":[\"10.0.0.1\"],");
        let cut = sender(&"u".repeat(1030));
        assert!(cut.ends_with("u...TRUNCATED\","), "{cut}");
        assert_eq!(
            cut.matches('u').count(),
            1024 + "sourceIPs".matches('u').count() + 1
        );
    }

    #[test]
    fn times_have_microseconds() {
        let time: Timestamp = "2026-11-29T02:14:15Z".parse().unwrap();
        assert_eq!(micro_time(time), "2026-11-29T02:14:15.000000Z");
    }
}
