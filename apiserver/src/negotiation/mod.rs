//! Which encoding and shape a response has, and how a body is to be read. Upstream: endpoints/handlers/negotiation.

use http::HeaderMap;
use http::header;

use crate::apis::gates;
use crate::request::query::Query;

/// An encoding of API objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

impl Encoding {
    /// Every encoding of built-in kinds, in upstream's order: the first is the default.
    pub const ALL: [Encoding; 3] = [Encoding::Json, Encoding::Yaml, Encoding::Protobuf];

    pub const fn media_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The Content-Type of a watch in this encoding, or None when it cannot be streamed.
    pub const fn stream_media_type(self) -> Option<&'static str> {
        match self {
            Encoding::Json => Some("application/json"),
            Encoding::Yaml => None,
            Encoding::Protobuf => Some("application/vnd.kubernetes.protobuf;stream=watch"),
        }
    }
}

/// The shape a client asked for instead of the object itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transform {
    Table,
    PartialObjectMetadata,
    PartialObjectMetadataList,
}

/// A `g`, `v`, `as` request that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convert {
    pub transform: Transform,
    /// meta.k8s.io/v1beta1 instead of v1.
    pub v1beta1: bool,
}

impl Convert {
    pub fn api_version(self) -> &'static str {
        if self.v1beta1 {
            "meta.k8s.io/v1beta1"
        } else {
            "meta.k8s.io/v1"
        }
    }
}

/// What was negotiated for a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MediaType {
    pub encoding: Encoding,
    pub pretty: bool,
    pub convert: Option<Convert>,
}

impl MediaType {
    pub const JSON: MediaType = MediaType {
        encoding: Encoding::Json,
        pretty: false,
        convert: None,
    };
}

/// Neither of the accepted media types is one we can answer with. Status 406.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("only the following media types are accepted: {accepted}")]
pub struct NotAcceptable {
    pub accepted: String,
}

/// The body is in an encoding we cannot read. Status 415.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the body of the request was in an unknown format - accepted media types include: {accepted}"
)]
pub struct UnsupportedMediaType {
    pub accepted: String,
}

/// What an endpoint can answer with.
#[derive(Clone, Copy, Debug)]
pub struct Restrictions {
    /// Encodings of the endpoint's own objects.
    pub encodings: &'static [Encoding],
    /// Whether objects are served as Table.
    pub tables: bool,
    /// Whether PartialObjectMetadata and PartialObjectMetadataList are served.
    pub metadata: bool,
}

impl Restrictions {
    /// A built-in resource.
    pub const RESOURCE: Restrictions = Restrictions {
        encodings: &Encoding::ALL,
        tables: true,
        metadata: true,
    };
    /// Errors, discovery: every encoding, no transformation.
    pub const PLAIN: Restrictions = Restrictions {
        encodings: &Encoding::ALL,
        tables: false,
        metadata: false,
    };
    /// What is asked about and not stored: it has no columns.
    pub const REVIEW: Restrictions = Restrictions {
        tables: false,
        ..Restrictions::RESOURCE
    };
    /// Custom resources: no protobuf of the object itself.
    pub const CUSTOM: Restrictions = Restrictions {
        encodings: &[Encoding::Json, Encoding::Yaml],
        tables: true,
        metadata: true,
    };
}

/// One clause of an Accept header.
#[derive(Clone, Debug)]
pub struct AcceptClause {
    pub kind: String,
    pub subkind: String,
    pub quality: f64,
    pub parameters: Vec<(String, String)>,
}

impl AcceptClause {
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the clause names this media type or a wildcard that covers it.
    pub fn covers(&self, media_type: &str) -> bool {
        let (kind, subkind) = media_type.split_once('/').unwrap_or((media_type, ""));
        (self.kind == kind && (self.subkind == subkind || self.subkind == "*"))
            || (self.kind == "*" && self.subkind == "*")
    }
}

/// Splits an Accept header into clauses, best first.
pub fn parse_accept(header: &str) -> Vec<AcceptClause> {
    let mut clauses: Vec<AcceptClause> = Vec::new();
    for part in header.split(',') {
        let mut pieces = part.split(';');
        let media = pieces.next().unwrap_or_default().trim();
        let (kind, subkind) = match media.split_once('/') {
            Some((kind, subkind)) => (kind.trim(), subkind.trim()),
            None if media == "*" => ("*", "*"),
            None => continue,
        };
        let mut clause = AcceptClause {
            kind: kind.to_owned(),
            subkind: subkind.to_owned(),
            quality: 1.0,
            parameters: Vec::new(),
        };
        for piece in pieces {
            let Some((name, value)) = piece.split_once('=') else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name == "q" {
                clause.quality = value.parse().unwrap_or(1.0);
            } else {
                clause.parameters.push((name.to_owned(), value.to_owned()));
            }
        }
        clauses.push(clause);
    }
    // Stable: clauses of one quality stay in the client's order, wildcards last.
    clauses.sort_by(|a, b| {
        let wild = |clause: &AcceptClause| (clause.kind == "*", clause.subkind == "*");
        b.quality
            .partial_cmp(&a.quality)
            .unwrap_or(std::cmp::Ordering::Equal)
            .then_with(|| wild(a).cmp(&wild(b)))
    });
    clauses
}

/// Chooses the response's media type.
pub fn negotiate(
    headers: &HeaderMap,
    query: &Query,
    restrictions: Restrictions,
) -> Result<MediaType, NotAcceptable> {
    let human = is_pretty(headers, query);
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if accept.is_empty() {
        return Ok(MediaType {
            encoding: Encoding::Json,
            pretty: human,
            convert: None,
        });
    }
    for clause in parse_accept(accept) {
        for encoding in Encoding::ALL {
            if !clause.covers(encoding.media_type()) {
                continue;
            }
            if let Some(mut media_type) = accept_clause(&clause, encoding, restrictions) {
                media_type.pretty =
                    (media_type.pretty || human) && media_type.encoding == Encoding::Json;
                return Ok(media_type);
            }
        }
    }
    Err(NotAcceptable {
        accepted: join(
            Encoding::ALL
                .iter()
                .map(|encoding| encoding.media_type().to_owned()),
        ),
    })
}

/// Chooses a watch's media type: as `negotiate`, but only encodings that can be streamed.
pub fn negotiate_stream(
    headers: &HeaderMap,
    query: &Query,
    restrictions: Restrictions,
) -> Result<MediaType, NotAcceptable> {
    match negotiate(headers, query, restrictions) {
        Ok(media_type) if media_type.encoding.stream_media_type().is_some() => Ok(media_type),
        _ => Err(NotAcceptable {
            accepted: join(
                Encoding::ALL
                    .iter()
                    .filter(|encoding| encoding.stream_media_type().is_some())
                    .map(|encoding| format!("{};stream=watch", encoding.media_type())),
            ),
        }),
    }
}

fn accept_clause(
    clause: &AcceptClause,
    encoding: Encoding,
    restrictions: Restrictions,
) -> Option<MediaType> {
    let (mut group, mut version, mut kind, mut convert) = ("", "", "", false);
    let mut pretty = false;
    for (name, value) in &clause.parameters {
        match name.as_str() {
            "as" => (kind, convert) = (value, true),
            "g" => (group, convert) = (value, true),
            "v" => (version, convert) = (value, true),
            "stream"
                if !value.is_empty()
                    && (value != "watch" || encoding.stream_media_type().is_none()) =>
            {
                return None;
            }
            "sv" if !value.is_empty() && value != "v1" => return None,
            "pretty" => pretty = value == "1",
            _ => {}
        }
    }
    if !convert {
        return restrictions
            .encodings
            .contains(&encoding)
            .then_some(MediaType {
                encoding,
                pretty,
                convert: None,
            });
    }
    if group != "meta.k8s.io" || !matches!(version, "v1" | "v1beta1") {
        return None;
    }
    let transform = match kind {
        "Table" if restrictions.tables && encoding != Encoding::Protobuf => Transform::Table,
        "PartialObjectMetadata" if restrictions.metadata => Transform::PartialObjectMetadata,
        "PartialObjectMetadataList" if restrictions.metadata => {
            Transform::PartialObjectMetadataList
        }
        _ => return None,
    };
    Some(MediaType {
        encoding,
        pretty,
        convert: Some(Convert {
            transform,
            v1beta1: version == "v1beta1",
        }),
    })
}

/// Whether every parameter of a media type has a value. Upstream: mime.ParseMediaType.
fn has_valid_parameters(media_type: &str) -> bool {
    let parameters = media_type.split(';').skip(1).map(str::trim);
    let mut parameters = parameters.peekable();
    while let Some(parameter) = parameters.next() {
        // A semicolon may end the list.
        let is_end = parameter.is_empty() && parameters.peek().is_none();
        if !is_end && !parameter.contains('=') {
            return false;
        }
    }
    true
}

/// Chooses how to read a body from its Content-Type. No Content-Type means JSON.
pub fn negotiate_input(
    headers: &HeaderMap,
    encodings: &[Encoding],
) -> Result<Encoding, UnsupportedMediaType> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if content_type.is_empty() {
        return Ok(Encoding::Json);
    }
    let media_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    encodings
        .iter()
        // A parameter without a value makes it no media type.
        .filter(|_| has_valid_parameters(content_type))
        .copied()
        .find(|encoding| encoding.media_type() == media_type)
        .ok_or_else(|| UnsupportedMediaType {
            accepted: join(
                encodings
                    .iter()
                    .map(|encoding| encoding.media_type().to_owned()),
            ),
        })
}

/// Browsers, curl and wget get indented JSON unless `?pretty=` says otherwise.
fn is_pretty(headers: &HeaderMap, query: &Query) -> bool {
    if let Some(value) = query.first("pretty").filter(|value| !value.is_empty()) {
        return matches!(value, "1" | "t" | "T" | "TRUE" | "true" | "True");
    }
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"]
        .iter()
        .any(|prefix| agent.starts_with(prefix))
}

/// Whether the client takes gzip.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    gates::enabled("APIResponseCompression")
        && headers
            .get(header::ACCEPT_ENCODING)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.split(',').any(|token| token.trim() == "gzip"))
}

fn join(types: impl Iterator<Item = String>) -> String {
    types.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(header::ACCEPT, accept.parse().unwrap());
        }
        headers
    }

    #[track_caller]
    fn check(accept: &str, expected: Option<(Encoding, Option<Transform>)>) {
        let got = negotiate(&headers(accept), &Query::parse(""), Restrictions::RESOURCE).ok();
        assert_eq!(
            got.map(|media| (
                media.encoding,
                media.convert.map(|convert| convert.transform)
            )),
            expected,
            "{accept}"
        );
    }

    #[test]
    fn accept_headers_of_known_clients() {
        check("", Some((Encoding::Json, None)));
        check("*/*", Some((Encoding::Json, None)));
        check("application/*", Some((Encoding::Json, None)));
        check("application/yaml", Some((Encoding::Yaml, None)));
        check(
            "application/vnd.kubernetes.protobuf,application/json",
            Some((Encoding::Protobuf, None)),
        );
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
            Some((Encoding::Json, Some(Transform::Table))),
        );
        check(
            "application/json;as=Table;v=v1;g=other,application/json",
            Some((Encoding::Json, None)),
        );
        check(
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
            None,
        );
        check(
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            Some((
                Encoding::Protobuf,
                Some(Transform::PartialObjectMetadataList),
            )),
        );
        check("application/cbor", None);
        check("text/html", None);
        check(
            "text/html,application/json;q=0.1,application/yaml;q=0.9",
            Some((Encoding::Yaml, None)),
        );
    }

    #[test]
    fn refusals_name_what_is_served() {
        let error = negotiate(
            &headers("text/plain"),
            &Query::parse(""),
            Restrictions::RESOURCE,
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        );
        let error = negotiate_stream(
            &headers("application/yaml"),
            &Query::parse(""),
            Restrictions::RESOURCE,
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        );
    }

    #[test]
    fn people_get_indented_json() {
        let mut curl = headers("*/*");
        curl.insert(header::USER_AGENT, "curl/8".parse().unwrap());
        assert!(
            negotiate(&curl, &Query::parse(""), Restrictions::RESOURCE)
                .unwrap()
                .pretty
        );
        assert!(
            !negotiate(&curl, &Query::parse("pretty=false"), Restrictions::RESOURCE)
                .unwrap()
                .pretty
        );
        assert!(
            negotiate(
                &headers(""),
                &Query::parse("pretty=true"),
                Restrictions::RESOURCE
            )
            .unwrap()
            .pretty
        );
    }
}
