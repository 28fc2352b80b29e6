//! A certificate in a line of the log. Upstream: apiserver/pkg/server/dynamiccertificates/util.go.

use std::net::IpAddr;

use apimachinery::quote::quote;
use x509_parser::extensions::GeneralName;
use x509_parser::time::ASN1Time;

/// Who it is of, what for, and how long it counts. Nothing that is secret: a certificate is shown to anybody.
pub(crate) fn certificate_detail(der: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let name_of = |name: &x509_parser::x509::X509Name<'_>| {
        let last = name.iter_common_name().last();
        let text = last.and_then(|name| name.as_str().ok());
        text.unwrap_or_default().to_owned()
    };
    let (subject, issuer) = (certificate.subject(), certificate.issuer());
    let (name, signer) = (name_of(subject), name_of(issuer));
    let signer = if signer == name {
        "<self>".to_owned()
    } else {
        signer
    };
    let mut usages = Vec::new();
    if let Ok(Some(usage)) = certificate.extended_key_usage() {
        let usage = usage.value;
        // Those without a name are numbered by Go.
        for (has, name) in [
            (usage.any, "0"),
            (usage.server_auth, "serving"),
            (usage.client_auth, "client"),
            (usage.code_signing, "3"),
            (usage.email_protection, "4"),
            (usage.time_stamping, "8"),
            (usage.ocsp_signing, "9"),
        ] {
            usages.extend(has.then_some(name));
        }
    }
    let (mut addresses, mut names) = (Vec::new(), Vec::new());
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => {
                    let address = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                    let address = address.or(<[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                    addresses.extend(address.ok().map(|address| address.to_string()));
                }
                _ => {}
            }
        }
    }
    addresses.append(&mut names);
    let groups = subject.iter_organization();
    let groups: Vec<&str> = groups.filter_map(|group| group.as_str().ok()).collect();
    let list = |what: &str, of: String| match of.as_str() {
        "" => String::new(),
        of => format!(" {what}=[{of}]"),
    };
    let validity = certificate.validity();
    Some(format!(
        "{} [{}]{}{} issuer={} ({} to {} (now={}))",
        quote(&name),
        usages.join(","),
        list("groups", groups.join(",")),
        list("validServingFor", addresses.join(",")),
        quote(&signer),
        time(validity.not_before),
        time(validity.not_after),
        jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S%.9f +0000 UTC"),
    ))
}

fn time(time: ASN1Time) -> String {
    let time = jiff::Timestamp::from_second(time.timestamp()).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::generate_self_signed;

    #[test]
    fn what_is_said_of_a_certificate() {
        let addresses = ["127.0.0.1".parse().unwrap()];
        let made = generate_self_signed("host", &addresses, &["other".to_owned()]).unwrap();
        let pem = made.certificate_pem.as_bytes();
        let mut blocks = apimachinery::pem::blocks(pem);
        let block = blocks.next().unwrap();
        let detail = certificate_detail(&block.contents).unwrap();
        assert!(detail.starts_with("\"host@"), "{detail}");
        assert!(
            detail.contains(" [serving] validServingFor=[127.0.0.1,host,other] issuer=\"host-ca@"),
            "{detail}"
        );
        assert!(detail.contains(" +0000 UTC to "), "{detail}");
        assert_eq!(certificate_detail(b"x"), None);
    }
}
