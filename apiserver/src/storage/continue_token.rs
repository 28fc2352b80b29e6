//! The `continue` token of paged lists, byte-equal to upstream's so that a client may go on at another apiserver.
//! Upstream: storage/continue.go.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::storage::error::Error;

const VERSION: &str = "meta.k8s.io/v1";

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

/// Reads a token: the key to start at and the revision, which is negative for "whatever is newest".
pub fn decode_continue(token: &str, key_prefix: &str) -> Result<(String, i64), Error> {
    let invalid = |detail: String| Error::bad_request(format!("invalid continue token: {detail}"));
    let data = URL_SAFE_NO_PAD.decode(token).map_err(|error| {
        let position = match error {
            base64::DecodeError::InvalidByte(position, _)
            | base64::DecodeError::InvalidLastSymbol(position, _) => position,
            base64::DecodeError::InvalidLength(length) => length,
            base64::DecodeError::InvalidPadding => token.find('=').unwrap_or(token.len()),
        };
        invalid(format!(
            "continue key is not valid: illegal base64 data at input byte {position}"
        ))
    })?;
    let token: Token = serde_json::from_slice(&data).map_err(|error| {
        let problem = crate::go_json::syntax_error(&data, &error);
        invalid(format!("continue key is not valid: {problem}"))
    })?;
    if token.v != VERSION {
        return Err(invalid(format!(
            "continue key is not valid: server does not recognize this encoded version {}",
            token.v
        )));
    }
    if token.rv == 0 {
        return Err(invalid(
            "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)".to_owned(),
        ));
    }
    if token.start.is_empty() {
        return Err(invalid(
            "continue key is not valid: encoded start key empty (version meta.k8s.io/v1)"
                .to_owned(),
        ));
    }
    // A start key that climbs out of the prefix would list other resources.
    let relative = token.start.strip_prefix('/').unwrap_or(&token.start);
    if !is_clean(relative) {
        return Err(invalid(format!(
            "continue key is not valid: {}",
            token.start
        )));
    }
    Ok((format!("{key_prefix}{relative}"), token.rv))
}

/// Writes a token that starts at `key`, which lies below `key_prefix`.
pub fn encode_continue(key: &str, key_prefix: &str, revision: i64) -> Result<String, Error> {
    let start = key.strip_prefix(key_prefix).ok_or_else(|| {
        Error::internal("unable to encode next field: the key and key prefix do not match")
    })?;
    let quoted =
        serde_json::to_string(start).map_err(|error| Error::internal(error.to_string()))?;
    // Go's encoder escapes these, serde's does not.
    let quoted = quoted
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    Ok(URL_SAFE_NO_PAD.encode(format!(
        "{{\"v\":\"{VERSION}\",\"rv\":{revision},\"start\":{quoted}}}"
    )))
}

/// Whether Go's path.Clean would leave "/" + `path` as it is.
fn is_clean(path: &str) -> bool {
    path.is_empty()
        || path
            .split('/')
            .all(|segment| !matches!(segment, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> String {
        URL_SAFE_NO_PAD.encode(json)
    }

    #[test]
    fn round_trip_and_upstream_bytes() {
        let token = encode_continue("/registry/pods/default/a\0", "/registry/pods/", 7).unwrap();
        assert_eq!(
            URL_SAFE_NO_PAD.decode(&token).unwrap(),
            br#"{"v":"meta.k8s.io/v1","rv":7,"start":"default/a\u0000"}"#
        );
        assert_eq!(
            decode_continue(&token, "/registry/pods/").unwrap(),
            ("/registry/pods/default/a\0".to_owned(), 7)
        );
        assert!(encode_continue("/registry/pods/a", "/registry/secrets/", 7).is_err());
    }

    /// Cases of upstream's TestDecodeContinue.
    #[test]
    fn refused_tokens() {
        for (token, expected) in [
            (
                raw("{\"v\":\"meta.k8s.io/v1\",\"start\":\"\",\"rv\":1}"),
                "start key empty",
            ),
            (
                raw("{\"v\":\"meta.k8s.io/v1\",\"start\":\"/test\"}"),
                "start resourceVersion",
            ),
            (
                raw("{\"v\":\"meta.k8s.io/v1alpha1\",\"rv\":1,\"start\":\"key\"}"),
                "does not recognize this encoded version",
            ),
            (
                raw("{\"v\":\"meta.k8s.io/v1\",\"rv\":1,\"start\":\"../key\"}"),
                "continue key is not valid: ../key",
            ),
            (
                raw("{\"v\":\"meta.k8s.io/v1\",\"rv\":1,\"start\":\"a/../../key\"}"),
                "continue key is not valid: a/../../key",
            ),
            (
                raw("{\"v\":\"meta.k8s.io/v1\",\"rv\":1,\"start\":\"a//b\"}"),
                "continue key is not valid: a//b",
            ),
            (
                raw("not json"),
                "continue key is not valid: invalid character 'o' in literal null (expecting 'u')",
            ),
            ("%%%".to_owned(), "illegal base64 data at input byte 0"),
        ] {
            let Err(Error::BadRequest { message }) = decode_continue(&token, "/registry/pods/")
            else {
                panic!("{token} was taken");
            };
            assert!(
                message.starts_with("invalid continue token: ") && message.contains(expected),
                "{message}"
            );
        }
        let leading_slash = raw("{\"v\":\"meta.k8s.io/v1\",\"rv\":1,\"start\":\"/key\"}");
        assert_eq!(
            decode_continue(&leading_slash, "/t/").unwrap(),
            ("/t/key".to_owned(), 1)
        );
    }
}
