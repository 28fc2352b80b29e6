//! `/logs/`: files of /var/log. Upstream: `kubelet.logServer`, a Go file server.
//!
//! Queries for logs of services (`?query=`) need the journal's tool and are refused with a text that says so.

use std::io::SeekFrom;
use std::path::Path;

use component_base::serving::{Body, Request, Response, error_response, text_response};
use http::{StatusCode, header};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

const ROOT: &str = "/var/log";

/// Answers with a file or the list of a folder.
pub(super) async fn serve(request: &Request, path: &str, query_enabled: bool) -> Response {
    if super::query_value(request, "query").is_some() {
        return if query_enabled {
            error_response(
                StatusCode::NOT_IMPLEMENTED,
                "logs of services cannot be queried on this node: read them on the node itself",
            )
        } else {
            text_response(StatusCode::FORBIDDEN, "NodeLogQuery feature is not enabled")
        };
    }
    from(Path::new(ROOT), request, path).await
}

async fn from(root: &Path, request: &Request, path: &str) -> Response {
    let not_found = || error_response(StatusCode::NOT_FOUND, "404 page not found");
    let Ok(root) = rustix::fs::open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else {
        return not_found();
    };
    let inner = if path.is_empty() { "." } else { path };
    // Links are followed as long as they stay inside; NONBLOCK keeps a pipe from holding the request.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = match rustix::fs::openat2(
        &root,
        inner,
        flags,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    ) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::ACCESS) => {
            return error_response(StatusCode::FORBIDDEN, "403 Forbidden");
        }
        Err(_) => return not_found(),
    };
    let file = std::fs::File::from(fd);
    match file.metadata() {
        Ok(metadata) if metadata.is_dir() => listing(&file),
        Ok(metadata) if metadata.is_file() => content(request, file, metadata.len(), path).await,
        _ => not_found(),
    }
}

/// Names in a folder as links.
fn listing(folder: &std::fs::File) -> Response {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "." || name == ".." {
            continue;
        }
        names.push(if entry.file_type().is_dir() {
            format!("{name}/")
        } else {
            name
        });
    }
    names.sort();
    let escape = |name: &str| {
        name.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&#34;")
    };
    let link = |name: &str| percent_encoding::utf8_percent_encode(name, LINK).to_string();
    let mut page =
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n"
            .to_owned();
    for name in &names {
        page.push_str(&format!(
            "<a href=\"{}\">{}</a>\n",
            link(name),
            escape(name)
        ));
    }
    page.push_str("</pre>\n");
    let mut response = Response::new(Body::from(page));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/html; charset=utf-8"),
    );
    response
}

const LINK: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'=')
    .remove(b'@');

async fn content(request: &Request, file: std::fs::File, size: u64, path: &str) -> Response {
    let range = request
        .headers()
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok())
        .map(|text| byte_range(text, size));
    let (start, end, status) = match range {
        None => (0, size, StatusCode::OK),
        Some(Some((start, end))) => (start, end, StatusCode::PARTIAL_CONTENT),
        Some(None) => {
            return error_response(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "invalid range: failed to overlap",
            );
        }
    };
    let mut file = tokio::fs::File::from_std(file);
    if let Err(error) = file.seek(SeekFrom::Start(start)).await {
        return error_response(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string());
    }
    let (sender, body) = Body::channel(4);
    tokio::spawn(async move {
        let mut file = file.take(end - start);
        let mut buffer = vec![0; 32 * 1024];
        loop {
            match file.read(&mut buffer).await {
                Ok(0) => return,
                Ok(length) => {
                    if !sender.send(buffer[..length].to_vec()).await {
                        return;
                    }
                }
                Err(error) => {
                    sender.fail(error).await;
                    return;
                }
            }
        }
    });
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = if path.ends_with(".gz") {
        "application/gzip"
    } else {
        "text/plain; charset=utf-8"
    };
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    headers.insert(
        header::ACCEPT_RANGES,
        http::HeaderValue::from_static("bytes"),
    );
    headers.insert(header::CONTENT_LENGTH, http::HeaderValue::from(end - start));
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) =
            http::HeaderValue::try_from(format!("bytes {start}-{}/{size}", end.saturating_sub(1)))
    {
        headers.insert(header::CONTENT_RANGE, value);
    }
    response
}

/// `bytes=a-b`, `bytes=a-`, `bytes=-n` → start and end. One range only.
fn byte_range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (from.trim(), to.trim()) {
        ("", last) => (size.saturating_sub(last.parse().ok()?), size),
        (from, "") => (from.parse().ok()?, size),
        (from, to) => (
            from.parse().ok()?,
            to.parse::<u64>().ok()?.checked_add(1)?.min(size),
        ),
    };
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(root: &Path, path: &str, range: Option<&str>) -> (u16, String) {
        let mut request = http::Request::get("/logs/");
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        let response = from(root, &request.body(Body::empty()).expect("request"), path).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect(10_000).await.expect("body");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn files_folders_and_escapes() {
        let dir = tempfile::tempdir().expect("folder");
        let outside = tempfile::tempdir().expect("folder");
        std::fs::write(outside.path().join("secret"), "x").expect("write");
        std::fs::create_dir(dir.path().join("pods")).expect("folder");
        std::fs::write(dir.path().join("pods/a<b.log"), "0123456789").expect("write");
        std::os::unix::fs::symlink("pods/a<b.log", dir.path().join("link")).expect("link");
        std::os::unix::fs::symlink(outside.path().join("secret"), dir.path().join("out"))
            .expect("link");
        assert_eq!(
            get(dir.path(), "pods/a<b.log", None).await,
            (200, "0123456789".to_owned())
        );
        assert_eq!(get(dir.path(), "link", None).await.0, 200);
        assert_eq!(
            get(dir.path(), "link", Some("bytes=2-4")).await,
            (206, "234".to_owned())
        );
        assert_eq!(
            get(dir.path(), "link", Some("bytes=-3")).await,
            (206, "789".to_owned())
        );
        assert_eq!(get(dir.path(), "link", Some("bytes=20-")).await.0, 416);
        for path in ["out", "../secret", "nope"] {
            assert_eq!(
                get(dir.path(), path, None).await,
                (404, "404 page not found\n".to_owned()),
                "{path}"
            );
        }
        let (status, page) = get(dir.path(), "", None).await;
        assert_eq!(status, 200);
        assert!(page.contains("<a href=\"pods/\">pods/</a>"), "{page}");
        let (_, page) = get(dir.path(), "pods", None).await;
        assert!(
            page.contains("<a href=\"a%3Cb.log\">a&lt;b.log</a>"),
            "{page}"
        );
    }
}
