//! `/debug/pprof` and `/debug/flags/v`. Upstream: k8s.io/apiserver/pkg/server/routes (profiling.go, flags.go).

use http::{Method, StatusCode};

use crate::logs;
use crate::serving::{Request, Response, error_response, not_found, text_response};

/// Answers paths under `/debug/`, which the caller has authorized; `None` for other paths.
/// `profiling` is whether `--profiling` is on.
pub async fn handle(request: Request, profiling: bool) -> Result<Response, Request> {
    let path = request.uri().path();
    if path == "/debug/flags/v" {
        return Ok(set_verbosity(request).await);
    }
    if path != "/debug/pprof" && !path.starts_with("/debug/pprof/") {
        return Err(request);
    }
    Ok(match path {
        _ if !profiling => not_found(),
        "/debug/pprof/cmdline" => {
            let arguments: Vec<String> = std::env::args().collect();
            text_response(StatusCode::OK, arguments.join("\0"))
        }
        "/debug/pprof" | "/debug/pprof/" => text_response(
            StatusCode::OK,
            "/debug/pprof/\n\nThis daemon is not written in Go and has no Go profiles. Use perf or a similar tool on the process.\n",
        ),
        _ => error_response(
            StatusCode::NOT_IMPLEMENTED,
            "this daemon is not written in Go and has no Go profiles; use perf or a similar tool on the process",
        ),
    })
}

async fn set_verbosity(request: Request) -> Response {
    if request.method() != Method::PUT {
        return error_response(StatusCode::NOT_ACCEPTABLE, "unsupported http method");
    }
    let body = match request.into_body().collect(1024).await {
        Ok(body) => body,
        Err(error) => {
            return error_response(
                StatusCode::BAD_REQUEST,
                &format!("error reading request body: {error}"),
            );
        }
    };
    let text = String::from_utf8_lossy(&body);
    match crate::flags::parse_uint(&text, 10, 32).map(u32::try_from) {
        Ok(Ok(level)) => {
            logs::set_verbosity(level);
            error_response(
                StatusCode::OK,
                &format!("successfully set klog.logging.verbosity to {text}"),
            )
        }
        Ok(Err(error)) => error_response(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(why) => error_response(StatusCode::BAD_REQUEST, &why),
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
}
