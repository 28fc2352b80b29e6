//! Why no connection came about, in the words users know and search for. Upstream: Go's packages net, crypto/tls and crypto/x509.

use std::io;

use apimachinery::os_error;
use jiff::Timestamp;
use rustls::{AlertDescription, CertificateError, InvalidMessage};
use rustls_pki_types::UnixTime;

/// A failed `connect` to `address`, which is `host:port` or a socket's path; `network` is `tcp` or `unix`.
pub fn dial_error(network: &str, address: &str, error: &io::Error) -> String {
    let text = os_error::text(error);
    if error.raw_os_error().is_some() {
        return format!("dial {network} {address}: connect: {text}");
    }
    if error.kind() == io::ErrorKind::TimedOut {
        return format!("dial {network} {address}: i/o timeout");
    }
    match text.strip_prefix("failed to lookup address information: ") {
        Some(why) => {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            let why = match why {
                "Name or service not known" | "No address associated with hostname" => {
                    "no such host"
                }
                other => other,
            };
            format!("dial {network}: lookup {host}: {why}")
        }
        None => format!("dial {network} {address}: {text}"),
    }
}

/// A failed TLS handshake.
pub fn handshake_error(error: &io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (inner, error.kind()) {
        (Some(inner), _) => tls_error(inner),
        (None, io::ErrorKind::TimedOut) => "net/http: TLS handshake timeout".to_owned(),
        (None, io::ErrorKind::UnexpectedEof) => "EOF".to_owned(),
        (None, _) => os_error::text(error),
    }
}

fn tls_error(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => {
            format!(
                "tls: failed to verify certificate: {}",
                certificate_error(why)
            )
        }
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "tls: first record does not look like a TLS handshake".to_owned()
        }
        rustls::Error::AlertReceived(alert) => format!("remote error: tls: {}", alert_text(*alert)),
        other => format!("tls: {other}"),
    }
}

fn certificate_error(error: &CertificateError) -> String {
    let expired = "x509: certificate has expired or is not yet valid";
    let shown = |time: &UnixTime| {
        i64::try_from(time.as_secs())
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .map_or_else(String::new, |time| time.to_string())
    };
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "x509: certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired | CertificateError::NotValidYet => expired.to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!(
                "{expired}: current time {} is after {}",
                shown(time),
                shown(not_after)
            )
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!(
                "{expired}: current time {} is before {}",
                shown(time),
                shown(not_before)
            )
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            // rustls shows names as `DnsName("a")` and `IpAddress(1.2.3.4)`.
            let plain = |name: &str| {
                name.split_once('(')
                    .map_or(name, |(_, rest)| rest.trim_end_matches(')'))
                    .trim_matches('"')
                    .to_owned()
            };
            let names: Vec<String> = presented.iter().map(|name| plain(name)).collect();
            format!(
                "x509: certificate is valid for {}, not {}",
                names.join(", "),
                expected.to_str()
            )
        }
        CertificateError::NotValidForName => {
            "x509: certificate is not valid for any names".to_owned()
        }
        CertificateError::BadEncoding => "x509: malformed certificate".to_owned(),
        other => format!("x509: {other}"),
    }
}

fn alert_text(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::BadCertificate => "bad certificate".to_owned(),
        AlertDescription::CertificateRequired => "certificate required".to_owned(),
        AlertDescription::CertificateExpired => "expired certificate".to_owned(),
        AlertDescription::CertificateUnknown => "unknown certificate".to_owned(),
        AlertDescription::UnknownCA => "unknown certificate authority".to_owned(),
        AlertDescription::HandshakeFailure => "handshake failure".to_owned(),
        AlertDescription::ProtocolVersion => "protocol version not supported".to_owned(),
        AlertDescription::InternalError => "internal error".to_owned(),
        AlertDescription::UnrecognisedName => "unrecognized name".to_owned(),
        AlertDescription::NoApplicationProtocol => "no application protocol".to_owned(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_go_says() {
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(
            dial_error("tcp", "127.0.0.1:1", &refused),
            "dial tcp 127.0.0.1:1: connect: connection refused"
        );
        let missing = io::Error::from_raw_os_error(2);
        assert_eq!(
            dial_error("unix", "/run/x.sock", &missing),
            "dial unix /run/x.sock: connect: no such file or directory"
        );
        let late = io::Error::from(io::ErrorKind::TimedOut);
        assert_eq!(dial_error("tcp", "h:1", &late), "dial tcp h:1: i/o timeout");
        let unknown =
            io::Error::other("failed to lookup address information: Name or service not known");
        assert_eq!(
            dial_error("tcp", "h:1", &unknown),
            "dial tcp: lookup h: no such host"
        );
    }

    #[test]
    fn handshakes() {
        let check = |error: rustls::Error, want: &str| {
            assert_eq!(handshake_error(&io::Error::other(error)), want);
        };
        check(
            CertificateError::UnknownIssuer.into(),
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
        );
        let at = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        check(
            CertificateError::ExpiredContext {
                time: at(86_400),
                not_after: at(0),
            }
            .into(),
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 1970-01-02T00:00:00Z is after 1970-01-01T00:00:00Z",
        );
        check(
            CertificateError::NotValidForNameContext {
                expected: rustls_pki_types::ServerName::try_from("c")
                    .expect("a name")
                    .to_owned(),
                presented: vec!["DnsName(\"a\")".to_owned(), "IpAddress(1.2.3.4)".to_owned()],
            }
            .into(),
            "tls: failed to verify certificate: x509: certificate is valid for a, 1.2.3.4, not c",
        );
        check(
            rustls::Error::AlertReceived(AlertDescription::BadCertificate),
            "remote error: tls: bad certificate",
        );
        let closed = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(handshake_error(&closed), "EOF");
    }
}
