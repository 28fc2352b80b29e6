//! An issuer: its discovery document, its keys, and whether a token is one of its. Upstream: go-oidc's oidc.go, jwks.go and verify.go.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use http::{HeaderMap, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use apimachinery::quote::{quote, quote_list};

use super::fetch::Fetcher;
use super::keys::{Key, read_key_set};
use super::metrics::OidcMetrics;
use super::token::{Claims, Registered, Unverified, check_sources};
use crate::go_json;

const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// Keys are fetched anew this long before they get old.
const EXPIRY_DELTA: SignedDuration = SignedDuration::from_secs(30);

/// Where an issuer's discovery document is, by its own URL.
fn well_known(issuer: &str) -> String {
    format!("{}{WELL_KNOWN}", issuer.strip_suffix('/').unwrap_or(issuer))
}

/// The URL of the keys of an issuer. `discovery_url` is where the document is when it is not below the issuer.
pub(super) async fn discover(
    fetcher: &Fetcher,
    issuer: &str,
    discovery_url: Option<&str>,
) -> Result<String, String> {
    let well_known = well_known(issuer);
    let url = discovery_url.unwrap_or(&well_known);
    // As upstream, which rewrites the URL on its way out, errors name the issuer's own.
    let document = fetcher
        .get(url, "")
        .await
        .map_err(|error| error.replacen(&quote(url), &quote(&well_known), 1))?;
    if document.status != StatusCode::OK {
        return Err(format!("{}: {}", document.status_line(), document.text()));
    }
    let read = document.read(|json| {
        let text = |name: &str| match json.get(name) {
            None | Some(Json::Null) => Ok(String::new()),
            Some(Json::String(text)) => Ok(text.clone()),
            Some(other) => Err(go_json::cannot_unmarshal(
                other,
                &format!("struct field providerJSON.{name} of type string"),
            )),
        };
        Ok((text("issuer")?, text("jwks_uri")?))
    });
    let (told, keys) =
        read.map_err(|error| format!("oidc: failed to decode provider discovery object: {error}"))?;
    if told != issuer {
        return Err(format!(
            "oidc: issuer did not match the issuer returned by provider, expected {} got {}",
            quote(issuer),
            quote(&told)
        ));
    }
    if keys.is_empty() {
        return Err("provider did not return JWKS URL".to_owned());
    }
    Ok(keys)
}

/// Who is told of fetches of an issuer's keys.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) metrics: OidcMetrics,
    pub(super) issuer_hash: String,
    /// Nobody, once this is over.
    pub(super) life: CancellationToken,
}

type Fetched = Result<Arc<Vec<Key>>, String>;

/// The keys of an issuer: as they were last fetched, and fetched anew for a token that none of them has signed.
pub(super) struct RemoteKeySet {
    url: String,
    fetcher: Fetcher,
    watched: Option<Watched>,
    state: Mutex<State>,
}

struct State {
    keys: Arc<Vec<Key>>,
    /// Until when no others are expected.
    expiry: Timestamp,
    /// A fetch under way, which all who need one share.
    inflight: Option<Shared<BoxFuture<'static, Fetched>>>,
}

impl RemoteKeySet {
    pub(super) fn new(url: String, fetcher: Fetcher, watched: Option<Watched>) -> Arc<Self> {
        Arc::new(Self {
            url,
            fetcher,
            watched,
            state: Mutex::new(State {
                keys: Arc::default(),
                expiry: Timestamp::MIN,
                inflight: None,
            }),
        })
    }

    /// Whether one of the keys has signed the token.
    async fn verify(
        self: &Arc<Self>,
        token: &Unverified<'_>,
        now: Timestamp,
    ) -> Result<(), String> {
        let (keys, expiry) = {
            let state = self.state.lock();
            (state.keys.clone(), state.expiry)
        };
        // Old keys count as long as no newer ones are there: the issuer may be away.
        if signed_by(&keys, token) {
            return Ok(());
        }
        let unsigned = || Err("failed to verify id token signature".to_owned());
        if now.saturating_add(EXPIRY_DELTA).unwrap_or(now) <= expiry {
            return unsigned();
        }
        let keys = self
            .refresh()
            .await
            .map_err(|error| format!("fetching keys {error}"))?;
        if signed_by(&keys, token) {
            Ok(())
        } else {
            unsigned()
        }
    }

    /// Fetches the keys, or joins a fetch under way. It goes on when a caller gives up: others may wait for it.
    fn refresh(self: &Arc<Self>) -> Shared<BoxFuture<'static, Fetched>> {
        let mut state = self.state.lock();
        if let Some(running) = &state.inflight {
            return running.clone();
        }
        let this = self.clone();
        let task = tokio::spawn(async move {
            let fetched = this.fetch().await;
            let mut state = this.state.lock();
            state.inflight = None;
            let (keys, expiry) = fetched?;
            state.keys = Arc::new(keys);
            state.expiry = expiry;
            Ok(state.keys.clone())
        });
        let shared = async move {
            task.await
                .unwrap_or_else(|error| Err(format!("oidc: get keys failed {error}")))
        }
        .boxed()
        .shared();
        state.inflight = Some(shared.clone());
        shared
    }

    async fn fetch(&self) -> Result<(Vec<Key>, Timestamp), String> {
        let tell = |key_set: Option<&[u8]>| {
            if let Some(watched) = &self.watched
                && !watched.life.is_cancelled()
            {
                watched.metrics.fetched(&watched.issuer_hash, key_set);
            }
        };
        let now = Timestamp::now();
        let document = self
            .fetcher
            .get(&self.url, "")
            .await
            .inspect_err(|_| tell(None))
            .map_err(|error| format!("oidc: get keys failed {error}"))?;
        if document.status != StatusCode::OK {
            tell(None);
            return Err(format!(
                "oidc: get keys failed: {} {}",
                document.status_line(),
                document.text()
            ));
        }
        match document.read(read_key_set) {
            Ok(keys) => {
                tell(Some(&document.body));
                Ok((keys, fresh_until(&document.headers, now)))
            }
            Err(error) => {
                tell(None);
                Err(format!(
                    "oidc: failed to decode keys: {error} {}",
                    document.text()
                ))
            }
        }
    }
}

fn signed_by(keys: &[Key], token: &Unverified<'_>) -> bool {
    if token.unsupported {
        return false;
    }
    keys.iter()
        .filter(|key| token.key_id.is_empty() || key.id == token.key_id)
        .any(|key| key.verifies(&token.algorithm, token.signed.as_bytes(), &token.signature))
}

/// Until when an answer is fresh to a cache that many share (RFC 9111); `now` for one that must not be kept.
fn fresh_until(headers: &HeaderMap, now: Timestamp) -> Timestamp {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let control = text(header::CACHE_CONTROL)
        .unwrap_or_default()
        .to_lowercase();
    let mut age = None;
    let mut shared_age = None;
    for directive in control.split(',').map(str::trim) {
        let seconds = |value: &str| value.trim_matches('"').parse::<i64>().ok();
        match directive.split_once('=') {
            None if matches!(directive, "no-store" | "no-cache" | "private") => return now,
            Some(("max-age", value)) => age = seconds(value),
            Some(("s-maxage", value)) => shared_age = seconds(value),
            _ => {}
        }
    }
    if let Some(seconds) = shared_age.or(age) {
        return now
            .saturating_add(SignedDuration::from_secs(seconds.max(0)))
            .unwrap_or(now);
    }
    text(header::EXPIRES)
        .and_then(|time| jiff::fmt::rfc2822::parse(time).ok())
        .map_or(now, |time| time.timestamp().max(now))
}

/// Says whether tokens are an issuer's and for one of some audiences.
pub(super) struct Verifier {
    pub(super) issuer: String,
    pub(super) keys: Arc<RemoteKeySet>,
    pub(super) audiences: Vec<String>,
    pub(super) algorithms: Vec<String>,
}

impl Verifier {
    /// The claims of a valid token.
    pub(super) async fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, String> {
        let token = Unverified::parse(token)?;
        if !self.algorithms.contains(&token.algorithm) {
            return Err(format!(
                "oidc: id token signed with unsupported algorithm, expected {} got {}",
                quote_list(&self.algorithms),
                quote(&token.algorithm)
            ));
        }
        self.keys
            .verify(&token, now)
            .await
            .map_err(|error| format!("failed to verify signature: {error}"))?;
        let unread = |error: String| format!("oidc: failed to unmarshal claims: {error}");
        let claims = go_json::parse_object(&token.payload).map_err(unread)?;
        let registered = Registered::of(&claims).map_err(unread)?;
        check_sources(&claims)?;
        if !registered.is_from(&self.issuer) {
            return Err(format!(
                "oidc: id token issued by a different provider, expected {} got {}",
                quote(&self.issuer),
                quote(&registered.issuer)
            ));
        }
        let for_us = self
            .audiences
            .iter()
            .any(|audience| registered.audience.contains(audience));
        if let [audience] = self.audiences.as_slice()
            && !for_us
        {
            return Err(format!(
                "oidc: expected audience {} got {}",
                quote(audience),
                quote_list(&registered.audience)
            ));
        }
        registered.check_times(now)?;
        if !for_us {
            let mut audiences = self.audiences.clone();
            audiences.sort_unstable();
            return Err(format!(
                "oidc: expected audience in {} got {}",
                quote_list(&audiences),
                quote_list(&registered.audience)
            ));
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness() {
        let now = Timestamp::from_second(1_000).unwrap();
        let until = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            fresh_until(&headers, now).as_second()
        };
        assert_eq!(until("x", ""), 1_000);
        assert_eq!(until("cache-control", "public, max-age=60"), 1_060);
        assert_eq!(until("cache-control", "max-age=60, s-maxage=10"), 1_010);
        assert_eq!(until("cache-control", "no-store, max-age=60"), 1_000);
        assert_eq!(until("expires", "Thu, 01 Jan 1970 00:20:00 GMT"), 1_200);
        assert_eq!(until("expires", "0"), 1_000);
    }

    #[test]
    fn documents_are_below_their_issuer() {
        for issuer in ["https://a/b", "https://a/b/"] {
            assert_eq!(
                well_known(issuer),
                "https://a/b/.well-known/openid-configuration"
            );
        }
    }
}
