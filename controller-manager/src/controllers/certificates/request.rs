//! Reads PKCS#10 requests and tells the ones of kubelets. Upstream: pkg/apis/certificates/helpers.go.

use std::collections::BTreeSet;

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

/// What matters of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The request in DER.
    pub der: Vec<u8>,
    /// Subject: common name.
    pub common_name: String,
    /// Subject: organizations.
    pub organizations: Vec<String>,
    /// Number of DNS names asked for.
    pub dns_names: usize,
    /// Number of IP addresses asked for.
    pub ip_addresses: usize,
    /// Number of email addresses asked for.
    pub emails: usize,
    /// Number of URIs asked for.
    pub uris: usize,
}

impl Request {
    /// Reads the first PEM block.
    pub fn parse(pem: &[u8]) -> Result<Self, String> {
        let block = pem::parse(pem)
            .ok()
            .filter(|block| block.tag() == "CERTIFICATE REQUEST")
            .ok_or("PEM block type must be CERTIFICATE REQUEST")?;
        let der = block.into_contents();
        let (_, parsed) =
            X509CertificationRequest::from_der(&der).map_err(|error| error.to_string())?;
        let subject = &parsed.certification_request_info.subject;
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            attribute.as_str().unwrap_or_default().to_owned()
        };
        let mut request = Self {
            // As Go, the last common name counts.
            common_name: subject
                .iter_common_name()
                .last()
                .map(text)
                .unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
            ..Default::default()
        };
        for extension in parsed.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(names) = extension else {
                continue;
            };
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(_) => request.dns_names += 1,
                    GeneralName::IPAddress(_) => request.ip_addresses += 1,
                    GeneralName::RFC822Name(_) => request.emails += 1,
                    GeneralName::URI(_) => request.uris += 1,
                    _ => {}
                }
            }
        }
        request.der = der;
        Ok(request)
    }

    fn check_usages(usages: &[String], purpose: &str) -> Result<(), String> {
        let usages: BTreeSet<&str> = usages.iter().map(String::as_str).collect();
        let with_rsa = BTreeSet::from(["digital signature", "key encipherment", purpose]);
        let without = BTreeSet::from(["digital signature", purpose]);
        if usages == with_rsa || usages == without {
            return Ok(());
        }
        let wanted: Vec<&str> = with_rsa.into_iter().collect();
        Err(format!("usages did not match [{}]", wanted.join(" ")))
    }

    fn check_subject(&self) -> Result<(), String> {
        if self.organizations != ["system:nodes"] {
            return Err("subject organization is not system:nodes".to_owned());
        }
        Ok(())
    }

    fn check_name(&self) -> Result<(), String> {
        if self.common_name.starts_with("system:node:") {
            Ok(())
        } else {
            Err("subject common name does not begin with system:node:".to_owned())
        }
    }

    /// Whether a kubelet may serve with this.
    pub fn check_kubelet_serving(&self, usages: &[String]) -> Result<(), String> {
        self.check_subject()?;
        if self.dns_names + self.ip_addresses == 0 {
            return Err("DNS or IP subjectAltName is required".to_owned());
        }
        if self.emails > 0 {
            return Err("Email subjectAltNames are not allowed".to_owned());
        }
        if self.uris > 0 {
            return Err("URI subjectAltNames are not allowed".to_owned());
        }
        Self::check_usages(usages, "server auth")?;
        self.check_name()
    }

    /// Whether a kubelet may speak to the apiserver with this.
    pub fn check_kubelet_client(&self, usages: &[String]) -> Result<(), String> {
        self.check_subject()?;
        for (count, kind) in [
            (self.dns_names, "DNS"),
            (self.emails, "Email"),
            (self.ip_addresses, "IP"),
            (self.uris, "URI"),
        ] {
            if count > 0 {
                return Err(format!("{kind} subjectAltNames are not allowed"));
            }
        }
        self.check_name()?;
        Self::check_usages(usages, "client auth")
    }
}

/// Whether these usages fit a client of the apiserver.
pub fn check_client_usages(usages: &[String]) -> Result<(), String> {
    let allowed = ["digital signature", "key encipherment", "client auth"];
    if let Some(other) = usages
        .iter()
        .find(|usage| !allowed.contains(&usage.as_str()))
    {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    if usages.iter().any(|usage| usage == "client auth") {
        Ok(())
    } else {
        Err("missing required usage for client certificate: client auth".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn usages(of: &[&str]) -> Vec<String> {
        of.iter().map(|usage| (*usage).to_owned()).collect()
    }

    fn request(organization: &str, name: &str, names: &[&str]) -> Request {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params
            .serialize_request(&KeyPair::generate().unwrap())
            .unwrap()
            .pem()
            .unwrap();
        Request::parse(pem.as_bytes()).unwrap()
    }

    #[test]
    fn kubelets_are_told_by_subject_names_and_usages() {
        let client = usages(&["digital signature", "client auth"]);
        let check = |request: &Request, usages: &[String], expected: Result<(), &str>| {
            assert_eq!(
                request.check_kubelet_client(usages),
                expected.map_err(ToOwned::to_owned)
            );
        };
        let good = request("system:nodes", "system:node:a", &[]);
        check(&good, &client, Ok(()));
        check(
            &good,
            &usages(&["client auth", "digital signature", "key encipherment"]),
            Ok(()),
        );
        check(
            &good,
            &usages(&["client auth"]),
            Err("usages did not match [client auth digital signature key encipherment]"),
        );
        check(
            &request("others", "system:node:a", &[]),
            &client,
            Err("subject organization is not system:nodes"),
        );
        check(
            &request("system:nodes", "a", &[]),
            &client,
            Err("subject common name does not begin with system:node:"),
        );
        check(
            &request("system:nodes", "system:node:a", &["a.example"]),
            &client,
            Err("DNS subjectAltNames are not allowed"),
        );
        check(
            &request("system:nodes", "system:node:a", &["10.0.0.1"]),
            &client,
            Err("IP subjectAltNames are not allowed"),
        );

        let serving = usages(&["digital signature", "server auth"]);
        assert!(
            request("system:nodes", "system:node:a", &["10.0.0.1"])
                .check_kubelet_serving(&serving)
                .is_ok()
        );
        assert!(good.check_kubelet_serving(&serving).is_err());
    }

    #[test]
    fn client_usages() {
        let check =
            |of: &[&str], ok: bool| assert_eq!(check_client_usages(&usages(of)).is_ok(), ok);
        check(&["client auth"], true);
        check(&["client auth", "key encipherment"], true);
        check(&["digital signature"], false);
        check(&["client auth", "server auth"], false);
    }

    #[test]
    fn other_blocks_are_refused() {
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE", vec![1]));
        assert_eq!(
            Request::parse(pem.as_bytes()),
            Err("PEM block type must be CERTIFICATE REQUEST".into())
        );
        assert!(Request::parse(b"nothing").is_err());
    }
}
