//! ID tokens: taken apart, and what go-oidc checks in them. Upstream: go-oidc's verify.go.

use apimachinery::quote::quote;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use crate::go_json::{self, cannot_unmarshal};

/// Google is allowed to leave out the scheme.
const GOOGLE: &str = "https://accounts.google.com";
const GOOGLE_WITHOUT_SCHEME: &str = "accounts.google.com";
/// How early a token may be used, in seconds.
const NOT_BEFORE_LEEWAY: i64 = 60;
/// Go's zero time: what a token without an end ends at.
const ZERO_TIME: i64 = -62_135_596_800;

/// The claims of a token.
pub(super) type Claims = Map<String, Json>;

/// A token in its parts, its signature not yet checked.
pub(super) struct Unverified<'a> {
    pub(super) signed: &'a str,
    pub(super) signature: Vec<u8>,
    pub(super) algorithm: String,
    pub(super) key_id: String,
    pub(super) payload: Vec<u8>,
    /// Whether it wants something to be understood that is not.
    pub(super) unsupported: bool,
}

/// The issuer that a token names. None for what is no token.
pub(super) fn untrusted_issuer(token: &str) -> Result<String, String> {
    if token.trim_start().starts_with('{') {
        return Err("token is not compact JWT".to_owned());
    }
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("malformed token".to_owned());
    };
    let payload =
        decode_base64(payload).map_err(|error| format!("error decoding token: {error}"))?;
    #[derive(serde::Deserialize)]
    struct Issuer {
        #[serde(default)]
        iss: Option<String>,
    }
    let issuer: Issuer = serde_json::from_slice(&payload).map_err(|error| {
        format!(
            "while unmarshaling token: {}",
            go_json::syntax_error(&payload, &error)
        )
    })?;
    let issuer = issuer.iss.unwrap_or_default();
    Ok(if issuer == GOOGLE_WITHOUT_SCHEME {
        GOOGLE.to_owned()
    } else {
        issuer
    })
}

/// The bytes of a part of a token, or Go's words for what is wrong with it.
pub(crate) fn decode_base64(part: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(part).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _)
            | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            _ => part.len(),
        };
        format!("illegal base64 data at input byte {at}")
    })
}

impl<'a> Unverified<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, String> {
        if token.matches('.').count() > 2 {
            return Err("oidc: malformed jwt".to_owned());
        }
        let malformed = |error: String| format!("oidc: malformed jwt: {error}");
        let parts = token.rsplit_once('.').and_then(|(signed, signature)| {
            let (header, payload) = signed.split_once('.')?;
            Some((signed, header, payload, signature))
        });
        let Some((signed, header, payload, signature)) = parts else {
            return Err(malformed(
                "go-jose/go-jose: compact JWS format must have three parts".to_owned(),
            ));
        };
        let header = decode_base64(header).map_err(malformed)?;
        let payload = decode_base64(payload).map_err(malformed)?;
        let signature = decode_base64(signature).map_err(malformed)?;
        let header = go_json::parse_object(&header).map_err(malformed)?;
        let text = |name: &str| header.get(name).and_then(Json::as_str).unwrap_or_default();
        let critical = match header.get("crit") {
            None => &[],
            Some(Json::Array(names)) => names.as_slice(),
            Some(other) => {
                return Err(malformed(cannot_unmarshal(other, "value of type []string")));
            }
        };
        let unsupported = critical.iter().any(|name| name != "b64")
            || header
                .get("b64")
                .is_some_and(|b64| *b64 != Json::Bool(true));
        Ok(Self {
            signed,
            signature,
            algorithm: text("alg").to_owned(),
            key_id: text("kid").to_owned(),
            payload,
            unsupported,
        })
    }
}

/// The registered claims.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) issuer: String,
    pub(super) audience: Vec<String>,
    expiry: i64,
    not_before: Option<i64>,
}

impl Registered {
    /// The error is Go's about the first claim of the wrong type.
    pub(super) fn of(claims: &Claims) -> Result<Self, String> {
        let field = |name: &str, of: &str| format!("struct field idToken.{name} of type {of}");
        let text = |name: &str| match claims.get(name) {
            None | Some(Json::Null) => Ok(String::new()),
            Some(Json::String(text)) => Ok(text.clone()),
            Some(other) => Err(cannot_unmarshal(other, &field(name, "string"))),
        };
        let issuer = text("iss")?;
        for name in ["sub", "nonce", "at_hash"] {
            text(name)?;
        }
        let audience = match claims.get("aud") {
            None | Some(Json::Null) => Vec::new(),
            Some(audience @ (Json::String(_) | Json::Array(_))) => strings(audience)?,
            Some(other) => return Err(cannot_unmarshal(other, &field("aud", "[]string"))),
        };
        let time = |name: &str| {
            let value = claims.get(name);
            value
                .map(|value| time(value, &field(name, "json.Number")))
                .transpose()
        };
        let expiry = time("exp")?.unwrap_or(ZERO_TIME);
        time("iat")?;
        let not_before = match claims.get("nbf") {
            Some(Json::Null) => None,
            _ => time("nbf")?,
        };
        distributed(claims)?;
        Ok(Self {
            issuer,
            audience,
            expiry,
            not_before,
        })
    }

    pub(super) fn is_from(&self, issuer: &str) -> bool {
        self.issuer == issuer || (issuer == GOOGLE && self.issuer == GOOGLE_WITHOUT_SCHEME)
    }

    /// Whether the token counts now.
    pub(super) fn check_times(&self, now: Timestamp) -> Result<(), String> {
        let seconds = now.as_second();
        if self.expiry < seconds || (self.expiry == seconds && now.subsec_nanosecond() > 0) {
            return Err(format!(
                "oidc: token is expired (Token Expiry: {})",
                go_time(self.expiry)
            ));
        }
        match self.not_before {
            Some(not_before) if seconds.saturating_add(NOT_BEFORE_LEEWAY) < not_before => {
                Err(format!(
                    "oidc: current time {} before the nbf (not before) time: {}",
                    go_time(seconds),
                    go_time(not_before)
                ))
            }
            _ => Ok(()),
        }
    }
}

/// One string or many.
pub(super) fn strings(json: &Json) -> Result<Vec<String>, String> {
    match json {
        Json::String(text) => Ok(vec![text.clone()]),
        Json::Null => Ok(Vec::new()),
        Json::Array(elements) => elements
            .iter()
            .map(|element| match element {
                Json::String(text) => Ok(text.clone()),
                Json::Null => Ok(String::new()),
                other => Err(cannot_unmarshal(other, "value of type string")),
            })
            .collect(),
        other => Err(cannot_unmarshal(other, "value of type []string")),
    }
}

/// Seconds since 1970 out of a number, or of text that is one.
fn time(json: &Json, target: &str) -> Result<i64, String> {
    let whole = |number: f64| number as i64;
    match json {
        Json::Number(number) => Ok(number
            .as_i64()
            .or_else(|| number.as_f64().map(whole))
            .unwrap_or_default()),
        Json::String(text) => match serde_json::from_str::<serde_json::Number>(text) {
            Ok(_) => time(&serde_json::from_str(text).unwrap_or_default(), target),
            Err(_) => Err(format!(
                "json: invalid number literal, trying to unmarshal {} into Number",
                quote(&quote(text))
            )),
        },
        Json::Null => Err("strconv.ParseFloat: parsing \"\": invalid syntax".to_owned()),
        other => Err(cannot_unmarshal(other, target)),
    }
}

/// Claims that another server has must say which.
fn distributed(claims: &Claims) -> Result<(), String> {
    let names = match claims.get("_claim_names") {
        None | Some(Json::Null) => return Ok(()),
        Some(Json::Object(names)) => names,
        Some(other) => {
            return Err(cannot_unmarshal(
                other,
                "struct field idToken._claim_names of type map[string]string",
            ));
        }
    };
    for source in names.values() {
        match source {
            Json::String(_) | Json::Null => {}
            other => {
                return Err(cannot_unmarshal(
                    other,
                    "struct field idToken._claim_names of type string",
                ));
            }
        }
    }
    match claims.get("_claim_sources") {
        None | Some(Json::Null | Json::Object(_)) => Ok(()),
        Some(other) => Err(cannot_unmarshal(
            other,
            "struct field idToken._claim_sources of type map[string]oidc.claimSource",
        )),
    }
}

/// Every source of a distributed claim is there.
pub(super) fn check_sources(claims: &Claims) -> Result<(), String> {
    let Some(Json::Object(names)) = claims.get("_claim_names") else {
        return Ok(());
    };
    let sources = claims.get("_claim_sources").and_then(Json::as_object);
    for source in names.values() {
        let source = source.as_str().unwrap_or_default();
        if source.is_empty() {
            return Err("oidc: failed to obtain source from claim name".to_owned());
        }
        if !sources.is_some_and(|sources| sources.contains_key(source)) {
            return Err("oidc: source does not exist".to_owned());
        }
    }
    Ok(())
}

/// A time as Go prints it.
fn go_time(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => format!("{} +0000 UTC", time.strftime("%Y-%m-%d %H:%M:%S")),
        Err(_) => seconds.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn registered(claims: Json) -> Result<Registered, String> {
        Registered::of(claims.as_object().unwrap())
    }

    #[test]
    fn registered_claims_are_of_their_types() {
        let found = registered(
            json!({"iss": "i", "aud": "a", "exp": 10.9, "nbf": "5", "iat": 1, "sub": null}),
        )
        .unwrap();
        let want = Registered {
            issuer: "i".to_owned(),
            audience: vec!["a".to_owned()],
            expiry: 10,
            not_before: Some(5),
        };
        assert_eq!(found, want);
        for (claims, error) in [
            (
                json!({"sub": 1}),
                "json: cannot unmarshal number into Go struct field idToken.sub of type string",
            ),
            (
                json!({"aud": [1]}),
                "json: cannot unmarshal number into Go value of type string",
            ),
            (
                json!({"aud": 3}),
                "json: cannot unmarshal number into Go struct field idToken.aud of type []string",
            ),
            (
                json!({"exp": "abc"}),
                r#"json: invalid number literal, trying to unmarshal "\"abc\"" into Number"#,
            ),
            (
                json!({"exp": [1]}),
                "json: cannot unmarshal array into Go struct field idToken.exp of type json.Number",
            ),
            (
                json!({"exp": null}),
                "strconv.ParseFloat: parsing \"\": invalid syntax",
            ),
        ] {
            assert_eq!(registered(claims).unwrap_err(), error);
        }
    }

    #[test]
    fn times() {
        let check = |claims: Json, now: i64| {
            let now = Timestamp::from_second(now).unwrap();
            registered(claims).unwrap().check_times(now)
        };
        assert_eq!(check(json!({"exp": 100}), 100), Ok(()));
        assert_eq!(
            check(json!({"exp": 100}), 101).unwrap_err(),
            "oidc: token is expired (Token Expiry: 1970-01-01 00:01:40 +0000 UTC)"
        );
        assert_eq!(
            check(json!({}), 0).unwrap_err(),
            "oidc: token is expired (Token Expiry: 0001-01-01 00:00:00 +0000 UTC)"
        );
        assert_eq!(check(json!({"exp": 100, "nbf": 70}), 10), Ok(()));
        assert!(check(json!({"exp": 100, "nbf": 71}), 10).is_err());
    }

    #[test]
    fn issuers_before_any_check() {
        let token = |payload: &str| format!("h.{}.s", URL_SAFE_NO_PAD.encode(payload));
        assert_eq!(untrusted_issuer(&token(r#"{"iss":"a"}"#)), Ok("a".into()));
        let google = untrusted_issuer(&token(r#"{"iss":"accounts.google.com"}"#));
        assert_eq!(google, Ok(GOOGLE.into()));
        assert_eq!(untrusted_issuer("a.b").unwrap_err(), "malformed token");
        assert!(untrusted_issuer("a.!.c").unwrap_err().contains("byte 0"));
    }
}
