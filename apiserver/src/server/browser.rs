//! What browsers are told: that they are to use TLS only, and which sites may ask. Upstream: server/filters/hsts.go and cors.go.

use component_base::serving::{Body, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ORIGIN, STRICT_TRANSPORT_SECURITY,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use regex::Regex;

/// `--strict-transport-security-directives`: the header of every answer.
pub fn strict_transport_security(directives: &[String]) -> Option<HeaderValue> {
    if directives.is_empty() {
        return None;
    }
    HeaderValue::try_from(directives.join("; ")).ok()
}

/// Sets the header, unless the answer has one.
pub fn set_strict_transport_security(response: &mut Response, value: &HeaderValue) {
    response
        .headers_mut()
        .entry(STRICT_TRANSPORT_SECURITY)
        .or_insert_with(|| value.clone());
}

/// `--cors-allowed-origins`.
pub struct Cors {
    origins: Vec<Regex>,
}

impl Cors {
    /// None when no origin is allowed. The expressions were validated before.
    pub fn new(origins: &[String]) -> Option<Cors> {
        let origins: Vec<Regex> = origins
            .iter()
            .filter_map(|origin| Regex::new(origin).ok())
            .collect();
        (!origins.is_empty()).then_some(Cors { origins })
    }

    /// The origin of a request, if it is one of those that may ask.
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        let text = origin.to_str().ok().filter(|text| !text.is_empty())?;
        let allowed = self.origins.iter().any(|pattern| pattern.is_match(text));
        allowed.then(|| origin.clone())
    }

    /// The answer to a browser that asks whether it may ask.
    pub fn preflight(origin: HeaderValue) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Cors::allow(&mut response, origin);
        response
    }

    /// Lets the browser hand on the answer.
    pub fn allow(response: &mut Response, origin: HeaderValue) {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        for (name, value) in [
            (
                ACCESS_CONTROL_ALLOW_METHODS,
                "POST, GET, OPTIONS, PUT, DELETE, PATCH",
            ),
            (
                ACCESS_CONTROL_ALLOW_HEADERS,
                "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With, If-Modified-Since",
            ),
            (ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
            (ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_those_that_match() {
        assert!(Cors::new(&[]).is_none());
        let cors = Cors::new(&[r"//example\.com(:|$)".to_owned()]).unwrap();
        let origin = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ORIGIN, HeaderValue::from_static(text));
            cors.origin(&headers).is_some()
        };
        assert!(origin("https://example.com:8080"));
        assert!(!origin("https://example.com.evil.org"));
        assert!(!origin(""));
        assert!(cors.origin(&HeaderMap::new()).is_none());
    }
}
