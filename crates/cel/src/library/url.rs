//! URLs. Upstream: apiserver/pkg/cel/library/urls.go; read as by Go's net/url, which is no browser.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use apimachinery::quote::quote;

use super::{opaque, text};
use crate::env::{Function, Implementation};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{Key, Map, Opaque, Str, Value};

/// A URL in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// The whole, as Go writes it.
    pub(crate) text: String,
    scheme: String,
    host: String,
    escaped_path: String,
    query: String,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Url {
    /// Reads a URL or a reference to one, as Go's `url.Parse`. The error is Go's.
    pub fn parse(raw: &str) -> Result<Url, String> {
        parse(raw)
    }

    /// What is before the first colon, in lower case; empty where there is none.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// What is after the question mark, as it was written.
    pub fn raw_query(&self) -> &str {
        &self.query
    }
}

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let of = || Type::object("kubernetes.URL");
    let part = |name, id, implementation: Implementation| {
        Function::new(name).member(id, &[of()], Type::String, implementation)
    };
    vec![
        Function::new("url").global("string_to_url", &[Type::String], of(), |args| {
            let raw = text(args, 0)?;
            let url = parse_request_uri(raw).and_then(|()| parse(raw));
            url.map(|url| Opaque::Url(url).into()).map_err(|error| {
                EvalError::new(format!(
                    "URL parse error during conversion from string: {error}"
                ))
            })
        }),
        Function::new("isURL").global("is_url_string", &[Type::String], Type::Bool, |args| {
            Ok(Value::Bool(parse_request_uri(text(args, 0)?).is_ok()))
        }),
        part("getScheme", "url_get_scheme", |args| {
            Ok(Value::from(opaque!(args, 0, Url)?.scheme.clone()))
        }),
        part("getHost", "url_get_host", |args| {
            Ok(Value::from(opaque!(args, 0, Url)?.host.clone()))
        }),
        part("getHostname", "url_get_hostname", |args| {
            let (hostname, _) = split_port(&opaque!(args, 0, Url)?.host);
            Ok(Value::from(hostname.to_owned()))
        }),
        part("getPort", "url_get_port", |args| {
            let (_, port) = split_port(&opaque!(args, 0, Url)?.host);
            Ok(Value::from(port.to_owned()))
        }),
        part("getEscapedPath", "url_get_escaped_path", |args| {
            Ok(Value::from(opaque!(args, 0, Url)?.escaped_path.clone()))
        }),
        Function::new("getQuery").member(
            "url_get_query",
            &[of()],
            Type::map(Type::String, Type::list(Type::String)),
            |args| Ok(query(&opaque!(args, 0, Url)?.query)),
        ),
    ]
}

fn query<'a>(raw: &str) -> Value<'a> {
    let mut entries: BTreeMap<String, Vec<Value<'a>>> = BTreeMap::new();
    for pair in raw
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.contains(';'))
    {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| unescape(&text.replace('+', " "), Part::Query).ok();
        if let (Some(key), Some(value)) = (decode(key), decode(value)) {
            entries.entry(key).or_default().push(Value::from(value));
        }
    }
    let entries = entries
        .into_iter()
        .map(|(key, values)| (Key::String(Str::Owned(key.into())), Value::from(values)));
    Value::Map(Map::Owned(Arc::new(entries.collect())))
}

/// Host and port, without brackets.
fn split_port(host: &str) -> (&str, &str) {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
        _ => (host, ""),
    };
    let name = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    (name, port)
}

/// Checks the URL of a request.
pub(super) fn parse_request_uri(raw: &str) -> Result<(), String> {
    parts(raw, true)
        .map(|_| ())
        .map_err(|error| format!("parse {}: {error}", quote(raw)))
}

fn parse(raw: &str) -> Result<Url, String> {
    let wrap = |error: String| format!("parse {}: {error}", quote(raw));
    let (main, fragment) = raw
        .split_once('#')
        .map_or((raw, None), |(main, fragment)| (main, Some(fragment)));
    let mut url = parts(main, false).map_err(wrap)?;
    if let Some(fragment) = fragment.filter(|fragment| !fragment.is_empty()) {
        let plain = unescape(fragment, Part::Path).map_err(wrap)?;
        url.text.push('#');
        url.text.push_str(&reescaped(fragment, &plain, true));
    }
    Ok(url)
}

fn parts(raw: &str, request: bool) -> Result<Url, String> {
    if raw.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    if raw.is_empty() && request {
        return Err("empty url".to_owned());
    }
    let mut url = Url {
        text: raw.to_owned(),
        scheme: String::new(),
        host: String::new(),
        escaped_path: String::new(),
        query: String::new(),
    };
    if raw == "*" {
        url.escaped_path = "*".to_owned();
        return Ok(url);
    }
    let (scheme, mut rest) = scheme(raw)?;
    url.scheme = scheme.to_ascii_lowercase();
    let mut force_query = false;
    if rest.ends_with('?') && rest.matches('?').count() == 1 {
        force_query = true;
        rest = &rest[..rest.len() - 1];
    } else if let Some((before, query)) = rest.split_once('?') {
        rest = before;
        url.query = query.to_owned();
    }
    let mut user = None;
    let mut opaque = None;
    let mut has_authority = false;
    if !rest.starts_with('/') {
        if !url.scheme.is_empty() {
            opaque = Some(rest);
            rest = "";
        } else if request {
            return Err("invalid URI for request".to_owned());
        } else if rest
            .split('/')
            .next()
            .is_some_and(|first| first.contains(':'))
        {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
    }
    if (!url.scheme.is_empty() || (!request && !rest.starts_with("///"))) && rest.starts_with("//")
    {
        has_authority = true;
        let authority = &rest[2..];
        let end = authority.find('/').unwrap_or(authority.len());
        rest = &authority[end..];
        let (userinfo, host) = match authority[..end].rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo), host),
            None => (None, &authority[..end]),
        };
        url.host = parse_host(host)?;
        if let Some(userinfo) = userinfo {
            let valid = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
            if !userinfo.chars().all(valid) {
                return Err("net/url: invalid userinfo".to_owned());
            }
            unescape(userinfo, Part::Query)?;
        }
        user = userinfo;
    }
    let path = unescape(rest, Part::Path)?;
    url.escaped_path = reescaped(rest, &path, false);
    let mut text = String::with_capacity(raw.len());
    if !url.scheme.is_empty() {
        text.push_str(&url.scheme);
        text.push(':');
    }
    if let Some(opaque) = opaque {
        text.push_str(opaque);
    } else {
        if has_authority && (!url.scheme.is_empty() || !url.host.is_empty() || user.is_some()) {
            text.push_str("//");
            if let Some(user) = user {
                text.push_str(user);
                text.push('@');
            }
            text.push_str(&url.host);
        }
        text.push_str(&url.escaped_path);
    }
    if force_query || !url.query.is_empty() {
        text.push('?');
        text.push_str(&url.query);
    }
    url.text = text;
    Ok(url)
}

fn scheme(raw: &str) -> Result<(&str, &str), String> {
    for (index, byte) in raw.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if index > 0 => {}
            b':' if index == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((&raw[..index], &raw[index + 1..])),
            _ => break,
        }
    }
    Ok(("", raw))
}

fn parse_host(host: &str) -> Result<String, String> {
    let is_port = |port: &str| {
        port.is_empty()
            || port
                .strip_prefix(':')
                .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let port = if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        Some(&host[end + 1..])
    } else {
        host.rfind(':').map(|colon| &host[colon..])
    };
    if let Some(port) = port.filter(|port| !is_port(port)) {
        return Err(format!("invalid port {} after host", quote(port)));
    }
    unescape(host, Part::Host)
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Path,
    Host,
    Query,
}

/// Resolves `%xx`.
fn unescape(text: &str, part: Part) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte != b'%' {
            let allowed = byte.is_ascii_alphanumeric()
                || byte >= 0x80
                || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte);
            if part == Part::Host && !allowed {
                return Err(format!(
                    "invalid character {} in host name",
                    quote(&text[at..=at])
                ));
            }
            out.push(byte);
            at += 1;
            continue;
        }
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        let decoded = hex
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .filter(|_| !bytes[at + 1..].starts_with(b"+"));
        let shown = || quote(text.get(at..(at + 3).min(text.len())).unwrap_or("%"));
        match decoded {
            // Hosts escape only what is not ASCII, and the mark of zones.
            Some(decoded) if part != Part::Host || decoded >= 0x80 || decoded == b'%' => {
                out.push(decoded)
            }
            _ => return Err(format!("invalid URL escape {}", shown())),
        }
        at += 3;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// The text as it was written if it was written well, else escaped anew.
fn reescaped(raw: &str, plain: &str, fragment: bool) -> String {
    let kept = |c: char| {
        let marks = if fragment {
            "-_.~$&+,/:;=@!()*?"
        } else {
            "-_.~$&+,/:;=@"
        };
        c.is_ascii_alphanumeric() || marks.contains(c)
    };
    if raw.chars().all(|c| kept(c) || "!'()*[]%".contains(c)) {
        return raw.to_owned();
    }
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        if kept(c) {
            out.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    out
}
