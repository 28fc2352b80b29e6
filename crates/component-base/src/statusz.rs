//! `/statusz`: what is running, since when, and which debug pages it has. Upstream: k8s.io/apiserver/pkg/server/statusz
//! (KEP-4827). Also the content negotiation that `/flagz` shares.

use std::collections::BTreeSet;

use api_types::meta::v1::Status;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::flags::parse_bool;
use crate::metrics::start_time_seconds;
use crate::serving::{Request, Response, json_response, text_response};
use crate::version;

/// What a client may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    /// An object of this version of config.k8s.io.
    Object {
        version: &'static str,
        yaml: bool,
    },
}

/// The kind's own fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    start_time: String,
    uptime_seconds: i64,
    go_version: &'a str,
    binary_version: &'a str,
    emulation_version: &'a str,
    paths: &'a [String],
}

/// The page of one daemon.
#[derive(Clone, Debug)]
pub struct Statusz {
    component: String,
    paths: Vec<String>,
}

impl Statusz {
    /// `paths` are the paths the daemon serves; the page shows the first segment of each, without the API's.
    pub fn new(component: &str, paths: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let folders: BTreeSet<String> = paths
            .into_iter()
            .filter_map(|path| {
                let folder = path
                    .as_ref()
                    .split('/')
                    .nth(1)
                    .filter(|folder| !folder.is_empty())?;
                let folder = format!("/{folder}");
                let api = ["/apis", "/api", "/openid", "/openapi", "/.well-known"]
                    .contains(&folder.as_str());
                (!api).then_some(folder)
            })
            .collect();
        Self {
            component: component.to_owned(),
            paths: folders.into_iter().collect(),
        }
    }

    /// Answers `/statusz`.
    pub fn handle(&self, request: &Request) -> Response {
        let format = match negotiate(request, "Statusz") {
            Ok(format) => format,
            Err(refused) => return *refused,
        };
        let started = jiff::Timestamp::from_second(start_time_seconds() as i64).unwrap_or_default();
        let up = jiff::Timestamp::now()
            .as_second()
            .saturating_sub(started.as_second())
            .max(0);
        let info = version::Info::get();
        let binary = info.git_version.trim_start_matches('v');
        let emulation = format!("{}.{}", version::MAJOR, version::MINOR);
        match format {
            Format::Text => {
                let zoned = started.to_zoned(jiff::tz::TimeZone::system());
                let mut text = format!(
                    "\n{} statusz\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n",
                    self.component
                );
                text.push_str(&format!(
                    "\nStarted: {}\nUp: {} hr {:02} min {:02} sec\nGo version: {}\nBinary version: {binary}\nEmulation version: {emulation}\n",
                    zoned.strftime("%a %b %e %H:%M:%S %Z %Y"),
                    up / 3600,
                    up / 60 % 60,
                    up % 60,
                    info.go_version,
                ));
                if self.paths.is_empty() {
                    text.push('\n');
                } else {
                    text.push_str(&format!("Paths: {}\n", self.paths.join(" ")));
                }
                plain_text(text)
            }
            Format::Object { version, yaml } => structured(
                request,
                "Statusz",
                (version, yaml),
                &self.component,
                Fields {
                    start_time: started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                    uptime_seconds: up,
                    go_version: &info.go_version,
                    binary_version: binary,
                    emulation_version: &emulation,
                    paths: &self.paths,
                },
            ),
        }
    }
}

/// A page as text, which browsers may take for something else.
pub(crate) fn plain_text(text: String) -> Response {
    let mut response = text_response(StatusCode::OK, text);
    response
        .headers_mut()
        .remove(header::X_CONTENT_TYPE_OPTIONS);
    response
}

/// The versions of the pages' kinds, which are asked for by name.
const VERSIONS: [&str; 2] = ["v1alpha1", "v1beta1"];

/// Text, unless the client asks for `application/json;g=config.k8s.io;v=<version>;as=<kind>`, or the same in YAML.
pub(crate) fn negotiate(request: &Request, kind: &str) -> Result<Format, Box<Response>> {
    let accept = accept(request);
    if accept.trim().is_empty() {
        return Ok(Format::Text);
    }
    let clauses = clauses(&accept);
    let found = clauses.iter().find_map(|clause| clause.format(kind));
    found.ok_or_else(|| Box::new(not_acceptable(request, &clauses)))
}

fn accept(request: &Request) -> String {
    let values = request.headers().get_all(header::ACCEPT).iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

/// A media range and its parameters.
struct Clause<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

/// The clauses of an Accept header, those wanted most first.
fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept
        .split(',')
        .map(|range| {
            let mut parts = range.split(';').map(str::trim);
            Clause {
                media_type: parts.next().unwrap_or_default(),
                parameters: parts.filter_map(|part| part.split_once('=')).collect(),
            }
        })
        .collect();
    clauses.sort_by(|a, b| b.quality().total_cmp(&a.quality()));
    clauses
}

impl Clause<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        let mut parameters = self.parameters.iter();
        parameters
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim_matches('"'))
    }

    fn quality(&self) -> f32 {
        self.parameter("q")
            .and_then(|value| value.parse().ok())
            .unwrap_or(1.0)
    }

    /// Whether it names a kind to convert to.
    fn converts(&self) -> bool {
        ["g", "v", "as"].map(|name| self.parameter(name)) != [None; 3]
    }

    fn format(&self, kind: &str) -> Option<Format> {
        if !self.converts() {
            return matches!(self.media_type, "text/plain" | "text/*" | "*/*")
                .then_some(Format::Text);
        }
        let yaml = match self.media_type {
            "application/json" | "application/*" | "*/*" => false,
            "application/yaml" => true,
            _ => return None,
        };
        if self.parameter("g") != Some("config.k8s.io") || self.parameter("as") != Some(kind) {
            return None;
        }
        let version = self.parameter("v")?;
        let version = VERSIONS.into_iter().find(|known| *known == version)?;
        Some(Format::Object { version, yaml })
    }
}

/// 406, in the form that the client takes of a Status.
fn not_acceptable(request: &Request, clauses: &[Clause<'_>]) -> Response {
    let status = Status {
        status: "Failure".to_owned(),
        message: "only the following media types are accepted: application/json, application/yaml, text/plain".to_owned(),
        reason: "NotAcceptable".to_owned(),
        code: 406,
        ..Status::default()
    };
    let json = api_types::encode_json(&status);
    let wanted = clauses
        .iter()
        .filter(|clause| !clause.converts())
        .find_map(|clause| match clause.media_type {
            "application/json" => Some(false),
            "application/yaml" => Some(true),
            _ => None,
        });
    let (media_type, text) = match wanted {
        Some(true) => ("application/yaml", apimachinery::yaml::from_json(&json)),
        Some(false) => ("application/json", json_for(request, json)),
        None => ("application/json", apimachinery::pretty::indent(&json)),
    };
    with_media_type(StatusCode::NOT_ACCEPTABLE, media_type, text)
}

/// JSON, indented for people as the API server does it.
fn json_for(request: &Request, mut json: Vec<u8>) -> Vec<u8> {
    let query = request.uri().query().unwrap_or_default();
    let asked = form_urlencoded::parse(query.as_bytes())
        .find(|(key, value)| key == "pretty" && !value.is_empty());
    let is_pretty = match asked {
        Some((_, value)) => parse_bool(&value) == Ok(true),
        None => {
            let agent = request.headers().get(header::USER_AGENT);
            let agent = agent.and_then(|agent| agent.to_str().ok());
            let programs = ["curl", "Wget", "Mozilla/5.0"];
            agent.is_some_and(|agent| programs.iter().any(|name| agent.starts_with(name)))
        }
    };
    if is_pretty {
        return apimachinery::pretty::indent(&json);
    }
    json.push(b'\n');
    json
}

fn with_media_type(code: StatusCode, media_type: &str, text: Vec<u8>) -> Response {
    let mut response = json_response(code, text);
    if let Ok(media_type) = HeaderValue::from_str(media_type) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, media_type);
    }
    response
}

/// An object of config.k8s.io named after the daemon, of a version, as YAML or JSON.
pub(crate) fn structured(
    request: &Request,
    kind: &str,
    (version, yaml): (&str, bool),
    component: &str,
    fields: impl Serialize,
) -> Response {
    #[derive(Serialize)]
    struct Named<'a> {
        name: &'a str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Object<'a, F> {
        kind: &'a str,
        api_version: String,
        metadata: Named<'a>,
        #[serde(flatten)]
        fields: F,
    }
    let object = Object {
        kind,
        api_version: format!("config.k8s.io/{version}"),
        metadata: Named { name: component },
        fields,
    };
    let json = serde_json::to_vec(&object).unwrap_or_default();
    let (form, text) = if yaml {
        ("yaml", apimachinery::yaml::from_json(&json))
    } else {
        ("json", json_for(request, json))
    };
    let media_type = format!("application/{form};g=config.k8s.io;v={version};as={kind}");
    let mut response = with_media_type(StatusCode::OK, &media_type, text);
    if version == "v1alpha1" {
        let warning = format!(
            "299 - \"This version of the {} endpoint is deprecated. Please use a newer version.\"",
            kind.to_lowercase()
        );
        if let Ok(warning) = HeaderValue::from_str(&warning) {
            response.headers_mut().insert(header::WARNING, warning);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::Body;

    fn request(accept: &str) -> Request {
        http::Request::get("/statusz")
            .header("accept", accept)
            .body(Body::empty())
            .unwrap()
    }

    #[tokio::test]
    async fn text_and_json() {
        let page = Statusz::new(
            "kube-scheduler",
            ["/healthz", "/metrics/slis", "/metrics", "/api/v1"],
        );
        let body = page
            .handle(&request("text/plain"))
            .into_body()
            .collect(10_000)
            .await
            .unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            text.starts_with("\nkube-scheduler statusz\nWarning: "),
            "{text}"
        );
        assert!(
            text.ends_with(
                "Binary version: 1.36.2\nEmulation version: 1.36\nPaths: /healthz /metrics\n"
            ),
            "{text}"
        );
        let response = page.handle(&request(
            "application/json;v=v1beta1;g=config.k8s.io;as=Statusz",
        ));
        let body = response.into_body().collect(10_000).await.unwrap();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["kind"], "Statusz");
        assert_eq!(json["metadata"]["name"], "kube-scheduler");
        assert_eq!(page.handle(&request("application/json")).status(), 406);
    }

    #[test]
    fn the_clause_wanted_most_decides() {
        let format = |accept: &str| negotiate(&request(accept), "Statusz").ok();
        let object = |version, yaml| Some(Format::Object { version, yaml });
        for (accept, expected) in [
            ("*/*", Some(Format::Text)),
            ("application/json;q=0.1,text/plain", Some(Format::Text)),
            (
                "text/plain;q=0.1,application/yaml;g=config.k8s.io;v=v1alpha1;as=Statusz",
                object("v1alpha1", true),
            ),
            (
                "application/json;g=config.k8s.io;v=v1beta1;as=Statusz,*/*",
                object("v1beta1", false),
            ),
            ("application/json;g=config.k8s.io;v=v2;as=Statusz", None),
            ("application/json;g=config.k8s.io;v=v1beta1;as=Flagz", None),
            (
                "application/vnd.kubernetes.protobuf;g=config.k8s.io;v=v1beta1;as=Statusz",
                None,
            ),
            ("application/yaml", None),
        ] {
            assert_eq!(format(accept), expected, "{accept}");
        }
    }

    #[tokio::test]
    async fn refusals_come_in_the_clients_form() {
        let page = Statusz::new("kube-scheduler", ["/healthz"]);
        for (accept, media_type, start) in [
            ("application/yaml", "application/yaml", "apiVersion: v1\n"),
            (
                "application/json",
                "application/json",
                "{\"kind\":\"Status\"",
            ),
            ("text/html", "application/json", "{\n  \"kind\": \"Status\""),
        ] {
            let response = page.handle(&request(accept));
            assert_eq!(response.headers()["content-type"], media_type);
            let body = response.into_body().collect(10_000).await.unwrap();
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert!(text.starts_with(start), "{text}");
            assert!(text.contains("application/json, application/yaml, text/plain"));
        }
    }
}
