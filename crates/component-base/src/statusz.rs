//! `/statusz`: what is running, since when, and which debug pages it has. Upstream: k8s.io/apiserver/pkg/server/statusz
//! (KEP-4827). Also the content negotiation that `/flagz` shares.

use std::collections::BTreeSet;

use http::{HeaderValue, StatusCode, header};

use crate::metrics::start_time_seconds;
use crate::serving::{Request, Response, json_response, text_response};
use crate::version;

/// What a client may have.
pub(crate) enum Format {
    Text,
    Json { version: &'static str },
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
                text_response(StatusCode::OK, text)
            }
            Format::Json { version } => structured(
                "Statusz",
                version,
                &self.component,
                serde_json::json!({
                    "startTime": started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                    "uptimeSeconds": up,
                    "goVersion": info.go_version,
                    "binaryVersion": binary,
                    "emulationVersion": emulation,
                    "paths": self.paths,
                }),
            ),
        }
    }
}

/// Text unless the client asks for `application/json;g=config.k8s.io;v=<version>;as=<kind>`.
pub(crate) fn negotiate(request: &Request, kind: &str) -> Result<Format, Box<Response>> {
    let accept: Vec<&str> = request
        .headers()
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let accept = accept.join(",");
    if accept.trim().is_empty() {
        return Ok(Format::Text);
    }
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let parameter = |name: &str| {
            parameters
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| *value)
        };
        match media_type {
            "text/plain" | "text/*" | "*/*" => return Ok(Format::Text),
            "application/json"
                if parameter("g") == Some("config.k8s.io") && parameter("as") == Some(kind) =>
            {
                match parameter("v") {
                    Some("v1alpha1") => {
                        return Ok(Format::Json {
                            version: "v1alpha1",
                        });
                    }
                    Some("v1beta1") => return Ok(Format::Json { version: "v1beta1" }),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "only the following media types are accepted: text/plain, application/json",
        "reason": "NotAcceptable", "code": 406,
    });
    Err(Box::new(json_response(
        StatusCode::NOT_ACCEPTABLE,
        serde_json::to_vec(&status).unwrap_or_default(),
    )))
}

/// An object of config.k8s.io named after the daemon.
pub(crate) fn structured(
    kind: &str,
    version: &str,
    component: &str,
    fields: serde_json::Value,
) -> Response {
    let mut object = serde_json::json!({
        "kind": kind,
        "apiVersion": format!("config.k8s.io/{version}"),
        "metadata": { "name": component },
    });
    if let (Some(object), serde_json::Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
    let mut response = json_response(
        StatusCode::OK,
        serde_json::to_vec(&object).unwrap_or_default(),
    );
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
}
