//! Links in what proxied servers answer: redirects and pages lead back through the proxy.
//! Upstream: apimachinery/pkg/util/proxy/transport.go.

use std::io::{self, Write};
use std::sync::Arc;

use component_base::serving::{Body, Response};
use flate2::Compression;
use flate2::write::{DeflateDecoder, DeflateEncoder, GzDecoder, GzEncoder};
use http::{HeaderMap, HeaderValue, header};
use lol_html::element;
use lol_html::send::{HtmlRewriter, Settings};
use parking_lot::Mutex;

/// Attributes that hold one URL, by element.
const URL_ATTRIBUTES: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// What a link is judged by.
pub(super) struct Links {
    /// Path of the proxy itself, without a slash at its end.
    pub(super) prefix: String,
    /// Host and port that the proxied server was reached at.
    pub(super) backend: String,
    /// Host that the client asked.
    pub(super) asked: String,
}

impl Links {
    /// Makes the answer's links lead through the proxy: its Location, or else those of an HTML page.
    pub(super) fn rewrite(self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        if let Some(location) = headers
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
        {
            if let Ok(value) = HeaderValue::try_from(self.link(location)) {
                headers.insert(header::LOCATION, value);
            }
            return response;
        }
        let text = |name| {
            headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
                .unwrap_or_default()
        };
        let media_type = text(header::CONTENT_TYPE)
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        if media_type != "text/html" {
            return response;
        }
        let Some(encoding) = Encoding::of(headers) else {
            tracing::error!(
                encoding = text(header::CONTENT_ENCODING),
                "Proxy encountered unknown encoding for text/html, can't understand this so not fixing links"
            );
            return response;
        };
        headers.remove(header::CONTENT_LENGTH);
        response.map(|page| rewritten(page, encoding, self))
    }

    /// A link as it is to be followed from outside. Links to other servers and relative ones stay.
    fn link(&self, link: &str) -> String {
        let (scheme, rest) = match link.split_once("://") {
            Some((scheme, rest))
                if scheme
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) =>
            {
                (Some(scheme), rest)
            }
            _ => match link.strip_prefix("//") {
                Some(rest) => (Some(""), rest),
                None => (None, link),
            },
        };
        let (host, rest) = match scheme {
            Some(_) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
            None => ("", rest),
        };
        let elsewhere = !host.is_empty() && host != self.backend && host != self.asked;
        if elsewhere || !rest.starts_with('/') {
            return link.to_owned();
        }
        let origin = if !host.is_empty() && host == self.asked {
            &link[..link.len() - rest.len()]
        } else {
            ""
        };
        let (path, tail) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        if path.starts_with(&self.prefix) {
            return format!("{origin}{rest}");
        }
        let slash = if path.ends_with('/') { "/" } else { "" };
        format!("{origin}{}{slash}{tail}", joined(&self.prefix, path))
    }
}

/// Go's path.Join of two absolute paths.
fn joined(prefix: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in prefix.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[derive(Clone, Copy)]
enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Option<Encoding> {
        match headers
            .get(header::CONTENT_ENCODING)
            .map(HeaderValue::as_bytes)
        {
            None | Some(b"") => Some(Encoding::Identity),
            Some(b"gzip") => Some(Encoding::Gzip),
            Some(b"deflate") => Some(Encoding::Deflate),
            Some(_) => None,
        }
    }
}

/// Rewrites a page as it passes by.
fn rewritten(mut body: Body, encoding: Encoding, links: Links) -> Body {
    let (sender, out) = Body::channel(8);
    tokio::spawn(async move {
        let mut page = Page::new(encoding, links);
        loop {
            let piece = match body.next_chunk().await {
                Some(Ok(chunk)) => page.push(&chunk),
                Some(Err(error)) => return sender.fail(error).await,
                None => break,
            };
            match piece {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => {
                    if !sender.send(piece).await {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(error = %error, "Failed to rewrite URLs");
                    return sender.fail(error).await;
                }
            }
        }
        match page.end() {
            Ok(rest) => drop(sender.send(rest).await),
            Err(error) => {
                tracing::error!(error = %error, "Failed to rewrite URLs");
                sender.fail(error).await;
            }
        }
    });
    out
}

type Sink = Box<dyn FnMut(&[u8]) + Send>;

/// A page on its way: decompressed, rewritten, compressed again.
struct Page {
    decoder: Decoder,
    rewriter: HtmlRewriter<'static, Sink>,
    /// What the rewriter put out.
    plain: Arc<Mutex<Vec<u8>>>,
    encoder: Encoder,
}

enum Decoder {
    Identity,
    Gzip(GzDecoder<Vec<u8>>),
    Deflate(DeflateDecoder<Vec<u8>>),
}

enum Encoder {
    Identity,
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(DeflateEncoder<Vec<u8>>),
}

impl Page {
    fn new(encoding: Encoding, links: Links) -> Page {
        let best = Compression::best();
        let (decoder, encoder) = match encoding {
            Encoding::Identity => (Decoder::Identity, Encoder::Identity),
            Encoding::Gzip => (
                Decoder::Gzip(GzDecoder::new(Vec::new())),
                Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::default())),
            ),
            Encoding::Deflate => (
                Decoder::Deflate(DeflateDecoder::new(Vec::new())),
                Encoder::Deflate(DeflateEncoder::new(Vec::new(), best)),
            ),
        };
        let every_element = element!("*", move |element| {
            let name = element.tag_name();
            let attributes = URL_ATTRIBUTES
                .iter()
                .find(|(tag, _)| *tag == name)
                .map_or(&[][..], |(_, attributes)| attributes);
            for attribute in attributes {
                if let Some(link) = element.get_attribute(attribute) {
                    element.set_attribute(attribute, &links.link(&link))?;
                }
            }
            Ok(())
        });
        let settings = Settings::new_send()
            .with_strict(false)
            .append_element_content_handler(every_element);
        let plain = Arc::<Mutex<Vec<u8>>>::default();
        let out = plain.clone();
        let sink: Sink = Box::new(move |data| out.lock().extend_from_slice(data));
        Page {
            decoder,
            rewriter: HtmlRewriter::new(settings, sink),
            plain,
            encoder,
        }
    }

    /// Takes a piece in, and gives what can be sent by now.
    fn push(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        let decoded = match &mut self.decoder {
            Decoder::Identity => None,
            Decoder::Gzip(decoder) => {
                decoder.write_all(piece)?;
                Some(std::mem::take(decoder.get_mut()))
            }
            Decoder::Deflate(decoder) => {
                decoder.write_all(piece)?;
                Some(std::mem::take(decoder.get_mut()))
            }
        };
        self.rewriter
            .write(decoded.as_deref().unwrap_or(piece))
            .map_err(io::Error::other)?;
        let plain = std::mem::take(&mut *self.plain.lock());
        match &mut self.encoder {
            Encoder::Identity => Ok(plain),
            Encoder::Gzip(encoder) => {
                encoder.write_all(&plain)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Encoder::Deflate(encoder) => {
                encoder.write_all(&plain)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }

    /// The rest, after the last piece.
    fn end(mut self) -> io::Result<Vec<u8>> {
        let rest = match self.decoder {
            Decoder::Identity => Vec::new(),
            Decoder::Gzip(decoder) => decoder.finish()?,
            Decoder::Deflate(decoder) => decoder.finish()?,
        };
        self.rewriter.write(&rest).map_err(io::Error::other)?;
        self.rewriter.end().map_err(io::Error::other)?;
        let plain = std::mem::take(&mut *self.plain.lock());
        match self.encoder {
            Encoder::Identity => Ok(plain),
            Encoder::Gzip(mut encoder) => {
                encoder.write_all(&plain)?;
                encoder.finish()
            }
            Encoder::Deflate(mut encoder) => {
                encoder.write_all(&plain)?;
                encoder.finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read;

    use super::*;

    fn links() -> Links {
        Links {
            prefix: "/api/v1/namespaces/n/pods/p/proxy".into(),
            backend: "10.244.0.2:80".into(),
            asked: "server:6443".into(),
        }
    }

    #[test]
    fn links_to_the_same_server_lead_through_the_proxy() {
        let through = "/api/v1/namespaces/n/pods/p/proxy";
        for (link, expected) in [
            ("/a/b?x=1#y", format!("{through}/a/b?x=1#y")),
            ("/dir/", format!("{through}/dir/")),
            ("/a/../b", format!("{through}/b")),
            ("/", format!("{through}/")),
            ("http://10.244.0.2:80/a", format!("{through}/a")),
            ("//10.244.0.2:80/a", format!("{through}/a")),
            (
                "https://server:6443/a",
                format!("https://server:6443{through}/a"),
            ),
            (&format!("{through}/a"), format!("{through}/a")),
            ("a/b", "a/b".to_owned()),
            ("#top", "#top".to_owned()),
            ("http://elsewhere/a", "http://elsewhere/a".to_owned()),
            ("http://10.244.0.2:80", "http://10.244.0.2:80".to_owned()),
            ("mailto:a@b", "mailto:a@b".to_owned()),
        ] {
            assert_eq!(links().link(link), expected, "{link}");
        }
    }

    const PAGE: &str = r#"<html><body background="/b.png"><a href="/rewriteme" title="/no">test</a><p href="/no">&amp;<img src='x.png'></body></html>"#;

    fn check(page: &str) {
        assert!(
            page.contains(
                r#"<a href="/api/v1/namespaces/n/pods/p/proxy/rewriteme" title="/no">test</a>"#
            ),
            "{page}"
        );
        assert!(
            page.contains(r#"<p href="/no">&amp;<img src="x.png">"#)
                || page.contains("<img src='x.png'>"),
            "{page}"
        );
        assert!(
            page.contains(r#"background="/api/v1/namespaces/n/pods/p/proxy/b.png""#),
            "{page}"
        );
    }

    fn passed(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut page = Page::new(encoding, links());
        let mut out = Vec::new();
        for piece in bytes.chunks(7) {
            out.extend(page.push(piece).unwrap());
        }
        out.extend(page.end().unwrap());
        out
    }

    #[test]
    fn pages_are_rewritten_in_pieces() {
        check(std::str::from_utf8(&passed(Encoding::Identity, PAGE.as_bytes())).unwrap());

        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(PAGE.as_bytes()).unwrap();
        let mut page = String::new();
        let out = passed(Encoding::Gzip, &gzip.finish().unwrap());
        read::GzDecoder::new(&*out)
            .read_to_string(&mut page)
            .unwrap();
        check(&page);

        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::default());
        deflate.write_all(PAGE.as_bytes()).unwrap();
        let mut page = String::new();
        let out = passed(Encoding::Deflate, &deflate.finish().unwrap());
        read::DeflateDecoder::new(&*out)
            .read_to_string(&mut page)
            .unwrap();
        check(&page);
    }
}
