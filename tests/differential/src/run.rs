//! A case against both servers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::case::{Case, Step, fill};
use crate::connection::{Answer, Server};
use crate::diff::{Difference, diff};
use crate::normalise::{Normal, Normaliser};
use crate::settle::Settle;

/// Longer than any watch of a case lasts. What takes longer is told, for somebody who waits.
const SLOW: Duration = Duration::from_millis(2500);

/// What came of a case.
pub(crate) struct Outcome {
    pub case: String,
    pub vocabulary: Vec<(String, &'static str)>,
    pub requests: Vec<Compared>,
    /// The case itself is wrong: the reference refused what the case needs, or a request could not be made.
    pub broken: Option<String>,
}

/// One request and how its answers differ.
pub(crate) struct Compared {
    /// The request in a line.
    pub request: String,
    pub differences: Vec<Difference>,
}

/// One server's side of a case.
struct Side<'a> {
    server: &'a Server,
    vars: BTreeMap<String, String>,
    normaliser: Normaliser,
}

pub(crate) async fn run(servers: &[Server; 2], case: &Case) -> Outcome {
    let prefixes: Vec<String> = case.steps.iter().filter_map(generate_name).collect();
    let [mut left, mut right] = servers.each_ref().map(|server| Side {
        server,
        vars: case.vars.clone(),
        normaliser: Normaliser::new(&server.authority, &prefixes),
    });
    let mut outcome = Outcome {
        case: case.name.clone(),
        vocabulary: case.vocabulary.clone(),
        requests: Vec::new(),
        broken: None,
    };
    for step in &case.steps {
        let started = Instant::now();
        let (lefts, rights) = futures::join!(left.send(step), right.send(step));
        let request = summary(step, &case.vars);
        let differences = match (&lefts, &rights) {
            (Ok(left), Ok(right)) => compare(step, left, right),
            (Err(left), Err(_)) => {
                outcome.broken = Some(format!("{request}: {left}"));
                return outcome;
            }
            (lefts, rights) => {
                let told = |side: &Result<Normal, String>| {
                    Some(match side {
                        Ok(normal) => brief(normal),
                        Err(error) => Value::String(format!("no answer: {error}")),
                    })
                };
                vec![Difference {
                    path: "status".into(),
                    left: told(lefts),
                    right: told(rights),
                }]
            }
        };
        let succeeded = |side: &Result<Normal, String>| {
            side.as_ref().is_ok_and(|normal| normal.status.is_success())
        };
        if step.needed && !succeeded(&lefts) {
            let answer = lefts.as_ref().map_or(Value::Null, brief);
            outcome.broken = Some(format!("{request}: {answer}"));
        }
        if started.elapsed() > SLOW {
            eprintln!("{}: {:.1?} for {request}", case.name, started.elapsed());
        }
        outcome.requests.push(Compared {
            request,
            differences,
        });
        if step.needed && !(succeeded(&lefts) && succeeded(&rights)) {
            break;
        }
    }
    outcome
}

impl Side<'_> {
    async fn send(&mut self, step: &Step) -> Result<Normal, String> {
        let request = request(step, &self.vars, &self.server.authority)?;
        let watch = is_watch(step);
        self.normaliser.next_request();
        let answer = self.server.send(request, step.identity.is_none()).await?;
        self.remember(&answer);
        if answer.status.is_success() {
            self.settle(step, &answer).await?;
        }
        Ok(self.normaliser.answer(&answer, watch))
    }

    /// Waits for what the server writes after this. Later requests refer to what is there then.
    async fn settle(&mut self, step: &Step, answer: &Answer) -> Result<(), String> {
        let (verb, path) = step.split();
        let body = serde_json::from_slice(&answer.body).unwrap_or_default();
        let Some(mut settle) = Settle::after(verb, &fill(path, &self.vars), &body) else {
            return Ok(());
        };
        let look = Step::send(format!("GET {}", settle.path));
        let is_first = self.vars.get("rv0") == self.vars.get("rv");
        loop {
            let request = request(&look, &self.vars, &self.server.authority)?;
            let answer = self.server.send(request, true).await?;
            let seen = serde_json::from_slice(&answer.body).unwrap_or_default();
            match settle.wait(answer.status.is_success(), &seen) {
                Some(wait) => tokio::time::sleep(wait).await,
                None if answer.status.is_success() => {
                    self.remember(&answer);
                    // Texts may name its revision.
                    self.normaliser.answer(&answer, false);
                    if is_first && let Some(revision) = self.vars.get("rv").cloned() {
                        self.vars.insert("rv0".to_owned(), revision);
                    }
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }

    /// Keeps what later requests refer to.
    fn remember(&mut self, answer: &Answer) {
        let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else {
            return;
        };
        let token = body["status"]["token"].as_str();
        self.keep("token", token);
        let metadata = &body["metadata"];
        self.keep("continue", metadata["continue"].as_str());
        let revision = metadata["resourceVersion"].as_str();
        if body["items"].is_array() || body["rows"].is_array() {
            self.keep("listRv", revision);
        } else if revision.is_some() {
            if !self.vars.contains_key("rv0") {
                self.keep("rv0", revision);
            }
            self.keep("rv", revision);
            self.keep("uid", metadata["uid"].as_str());
            self.keep("lastName", metadata["name"].as_str());
        }
    }

    fn keep(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.vars.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// A case for each namespace that cases use: the namespace, and the ServiceAccount that its pods need.
pub(crate) fn namespaces(cases: &[Case]) -> Vec<Case> {
    let names: BTreeSet<&String> = cases
        .iter()
        .filter_map(|case| case.vars.get("ns"))
        .collect();
    names
        .into_iter()
        .map(|name| Case {
            name: format!("setup/{name}"),
            steps: vec![
                Step::send("POST /api/v1/namespaces").with_body(
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
                ),
                Step::send(format!("POST /api/v1/namespaces/{name}/serviceaccounts")).with_body(
                    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
                ),
            ],
            vocabulary: vec![(name.clone(), "<namespace>")],
            ..Case::default()
        })
        .collect()
}

fn is_watch(step: &Step) -> bool {
    step.target.contains("watch=") && !step.target.contains("watch=0")
}

fn generate_name(step: &Step) -> Option<String> {
    let body = step.body.as_ref()?;
    Some(body.pointer("/metadata/generateName")?.as_str()?.to_owned())
}

fn request(
    step: &Step,
    vars: &BTreeMap<String, String>,
    authority: &str,
) -> Result<Request<Full<Bytes>>, String> {
    let (verb, path) = step.split();
    let body = match (&step.body, &step.text) {
        (Some(body), _) => Some(fill(&body.to_string(), vars)),
        (None, Some(text)) => Some(fill(text, vars)),
        (None, None) => None,
    };
    let mut request = Request::builder()
        .method(verb)
        .uri(format!("https://{authority}{}", fill(path, vars)))
        .body(Full::new(Bytes::from(body.clone().unwrap_or_default())))
        .map_err(|error| format!("not a request: {error}"))?;
    let headers = request.headers_mut();
    let mut set = |name: HeaderName, value: &str| {
        HeaderValue::from_str(value)
            .map(|value| headers.insert(name, value))
            .map_err(|error| error.to_string())
    };
    // Field managers are named after it.
    set(http::header::USER_AGENT, "differential/1.0")?;
    match (&step.content_type, &body) {
        (Some(content_type), _) if content_type.is_empty() => {}
        (Some(content_type), _) => drop(set(CONTENT_TYPE, content_type)?),
        (None, Some(_)) => drop(set(CONTENT_TYPE, "application/json")?),
        (None, None) => {}
    }
    if let Some(accept) = &step.accept {
        set(ACCEPT, accept)?;
    }
    if let Some(token) = step
        .identity
        .as_deref()
        .filter(|identity| *identity != "anonymous")
    {
        set(AUTHORIZATION, &format!("Bearer {}", fill(token, vars)))?;
    }
    for (name, value) in &step.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|error| error.to_string())?;
        set(name, &fill(value, vars))?;
    }
    Ok(request)
}

fn compare(step: &Step, left: &Normal, right: &Normal) -> Vec<Difference> {
    if left.status != right.status {
        return vec![Difference {
            path: "status".into(),
            left: Some(brief(left)),
            right: Some(brief(right)),
        }];
    }
    let mut found = Vec::new();
    let headers = |side: &Normal| json!(side.headers);
    diff("header", &headers(left), &headers(right), &mut found);
    if step.head_only {
        return found;
    }
    let before = found.len();
    match (&left.body, &right.body) {
        // A message has all of the causes in it: one difference is enough.
        (Value::Object(lefts), Value::Object(rights))
            if lefts.get("kind") == Some(&"Status".into())
                && rights.get("kind") == lefts.get("kind")
                && lefts.get("message") != rights.get("message") =>
        {
            let without_causes = |body: &Value| {
                let mut body = body.clone();
                if let Some(details) = body.pointer_mut("/details").and_then(Value::as_object_mut) {
                    details.remove("causes");
                }
                body
            };
            diff(
                "body",
                &without_causes(&left.body),
                &without_causes(&right.body),
                &mut found,
            );
        }
        (lefts, rights) => diff("body", lefts, rights, &mut found),
    }
    if step.bytes && found.len() == before && left.text != right.text {
        found.push(Difference {
            path: "bytes".into(),
            left: Some(left.text.clone().into()),
            right: Some(right.text.clone().into()),
        });
    }
    found
}

/// Code and message.
fn brief(normal: &Normal) -> Value {
    let body = &normal.body;
    let text = match body["message"].as_str() {
        Some(message) => message.to_owned(),
        None => body
            .as_str()
            .unwrap_or("")
            .trim()
            .chars()
            .take(300)
            .collect(),
    };
    format!("{} {text}", normal.status.as_u16())
        .trim_end()
        .into()
}

fn summary(step: &Step, vars: &BTreeMap<String, String>) -> String {
    let mut text = fill(&step.target, vars);
    let mut add = |label: &str, value: &str| {
        let short: String = value.chars().take(400).collect();
        text.push_str(&format!("  {label}{short}"));
    };
    if let Some(content_type) = &step.content_type {
        add("type: ", content_type);
    }
    if let Some(accept) = &step.accept {
        add("accept: ", accept);
    }
    if let Some(identity) = &step.identity {
        add("as: ", identity);
    }
    for (name, value) in &step.headers {
        add(&format!("{name}: "), value);
    }
    if let Some(body) = &step.body {
        add("", &fill(&body.to_string(), vars));
    }
    if let Some(body) = &step.text {
        add("", &fill(body, vars).replace('\n', "\\n"));
    }
    text
}
