//! `/debug/pprof` and `/debug/flags/v`. Upstream: k8s.io/apiserver/pkg/server/routes (profiling.go, flags.go).

use http::{HeaderValue, Method, StatusCode, header};

use crate::logs;
use crate::serving::{Request, Response, error_response, not_found, text_response};

/// Upstream's profiles, none of which there is here.
const PROFILES: [&str; 10] = [
    "allocs",
    "block",
    "goroutine",
    "goroutineleak",
    "heap",
    "mutex",
    "profile",
    "symbol",
    "threadcreate",
    "trace",
];
const NO_PROFILES: &str = "this daemon is not written in Go and has no Go profiles; use perf or a similar tool on the process";

const PROFILES_PAGE: &str = "<html>
<head>
<title>/debug/pprof/</title>
</head>
<body>
/debug/pprof/<br>
<br>
This daemon is not written in Go and has no Go profiles. Use perf or a similar tool on the process.<br>
</body>
</html>
";

/// Which flags can be set, as upstream shows it.
const FLAGS_PAGE: &str = "<html>
<head>
<title>/debug/flags/</title>
</head>
<body>
/debug/flags/<br>
<br>
flags:<br>
<table>
<tr>v<br>
</table>
<br>
full flags configurable<br>
</body>
</html>
";

/// Answers paths under `/debug/`, which the caller has authorized; `Err` with the request for other paths. Without
/// `profiling`, the flag of that name, there is none of them.
pub async fn handle(request: Request, profiling: bool) -> Result<Response, Request> {
    let path = request.uri().path();
    let answer = match path.strip_prefix("/debug/") {
        Some("flags/v") if profiling => return Ok(set_verbosity(request).await),
        Some("flags" | "flags/") => html(FLAGS_PAGE),
        Some("pprof") => found("/debug/pprof/"),
        Some(rest) => match rest.strip_prefix("pprof/") {
            Some(name) => profile(name),
            None if rest == "flags/v" => not_found(),
            None => return Err(request),
        },
        None => return Err(request),
    };
    Ok(if profiling { answer } else { not_found() })
}

fn profile(name: &str) -> Response {
    match name {
        "" => {
            let mut index = html(PROFILES_PAGE);
            index.headers_mut().insert(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            );
            index
        }
        known if PROFILES.contains(&known) => {
            error_response(StatusCode::NOT_IMPLEMENTED, NO_PROFILES)
        }
        _ => {
            let mut unknown = error_response(StatusCode::NOT_FOUND, "Unknown profile");
            unknown
                .headers_mut()
                .insert("x-go-pprof", HeaderValue::from_static("1"));
            unknown
        }
    }
}

/// `/debug/pprof/cmdline` of daemons that have it.
pub fn command_line() -> Response {
    let arguments: Vec<String> = std::env::args().collect();
    text_response(StatusCode::OK, arguments.join("\0"))
}

fn html(text: &'static str) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    response
}

/// 302, as Go's http.Redirect answers it.
fn found(path: &'static str) -> Response {
    let mut response = html("");
    *response.status_mut() = StatusCode::FOUND;
    *response.body_mut() = format!("<a href=\"{path}\">Found</a>.\n\n").into();
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static(path));
    response
}

/// Text whose type has no charset.
fn plain(code: StatusCode, text: &str) -> Response {
    let mut response = error_response(code, text);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

async fn set_verbosity(request: Request) -> Response {
    if request.method() != Method::PUT {
        return plain(StatusCode::NOT_ACCEPTABLE, "unsupported http method");
    }
    let body = match request.into_body().collect(1024).await {
        Ok(body) => body,
        Err(error) => {
            return plain(
                StatusCode::BAD_REQUEST,
                &format!("error reading request body: {error}"),
            );
        }
    };
    let text = String::from_utf8_lossy(&body);
    match crate::flags::parse_uint(&text, 10, 32).map(u32::try_from) {
        Ok(Ok(level)) => {
            logs::set_verbosity(level);
            plain(
                StatusCode::OK,
                &format!("successfully set klog.logging.verbosity to {text}"),
            )
        }
        Ok(Err(error)) => plain(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(why) => plain(StatusCode::BAD_REQUEST, &why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::Body;

    async fn put(body: &'static str) -> (u16, String) {
        let request = http::Request::put("/debug/flags/v")
            .body(Body::from(body))
            .unwrap();
        let response = handle(request, true).await.unwrap();
        let status = response.status().as_u16();
        let text = response.into_body().collect(1000).await.unwrap();
        (status, String::from_utf8(text.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn verbosity_texts() {
        assert_eq!(
            put("0").await,
            (
                200,
                "successfully set klog.logging.verbosity to 0\n".to_owned()
            )
        );
        assert_eq!(
            put("x").await,
            (
                400,
                "strconv.ParseUint: parsing \"x\": invalid syntax\n".to_owned()
            )
        );
        let get = http::Request::get("/debug/flags/v")
            .body(Body::empty())
            .unwrap();
        assert_eq!(handle(get, true).await.unwrap().status(), 406);
        let other = http::Request::get("/metrics").body(Body::empty()).unwrap();
        assert!(handle(other, true).await.is_err());
    }

    #[tokio::test]
    async fn profiles_are_refused_and_gone_with_the_flag() {
        for (path, with, without) in [
            ("/debug/pprof/", Some(200), Some(404)),
            ("/debug/pprof", Some(302), Some(404)),
            ("/debug/pprof/cmdline", Some(404), Some(404)),
            ("/debug/pprof/heap", Some(501), Some(404)),
            ("/debug/pprof/nonsense", Some(404), Some(404)),
            ("/debug/flags", Some(200), Some(404)),
            ("/debug/flags/v", Some(406), Some(404)),
            ("/debug/pprofs", None, None),
            ("/debug/api_priority_and_fairness/dump_queues", None, None),
        ] {
            for (profiling, expected) in [(true, with), (false, without)] {
                let request = http::Request::get(path).body(Body::empty()).unwrap();
                let answer = handle(request, profiling).await.ok();
                let code = answer.map(|response| response.status().as_u16());
                assert_eq!(code, expected, "{path} {profiling}");
            }
        }
    }
}
