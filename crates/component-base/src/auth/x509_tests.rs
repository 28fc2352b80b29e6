use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use super::*;

struct Ca {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

fn ca(name: &str, parent: Option<&Ca>, constraints: BasicConstraints) -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = match parent {
        Some(parent) => params.signed_by(&key, &parent.issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    Ca {
        certificate,
        issuer: Issuer::new(params, key),
    }
}

fn leaf(ca: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "system:node:a");
    params
        .distinguished_name
        .push(DnType::OrganizationName, "system:nodes");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    params.signed_by(&key, &ca.issuer).unwrap().der().to_vec()
}

fn pem(certificates: &[&Ca]) -> Vec<u8> {
    certificates
        .iter()
        .map(|ca| ca.certificate.pem())
        .collect::<String>()
        .into_bytes()
}

fn judged(bundle: &CaBundle, chain: &[Vec<u8>]) -> Result<(), String> {
    let judgement = bundle.judge(&Arc::from(chain), SystemTime::now());
    judgement.expect("the bundle is not empty").trusted.clone()
}

fn verify(roots: &[&Ca], chain: &[Vec<u8>]) -> Result<(), String> {
    judged(&CaBundle::from_pem(&pem(roots)).unwrap(), chain)
}

#[test]
fn a_judgement_lasts_no_longer_than_the_certificate() {
    let root = ca("root", None, BasicConstraints::Unconstrained);
    let bundle = CaBundle::from_pem(&pem(&[&root])).unwrap();
    let chain: Arc<[Vec<u8>]> = [leaf(&root, |params| {
        params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    })]
    .into();
    let end = UNIX_EPOCH + Duration::from_secs(4_102_444_800);
    let just_before = end - Duration::from_secs(1);
    let first = bundle.judge(&chain, just_before).unwrap();
    assert_eq!(first.trusted, Ok(()));
    assert_eq!(first.until, end);
    let again = bundle.judge(&chain, just_before).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "used again");
    let after = bundle.judge(&chain, end + Duration::from_secs(1)).unwrap();
    assert!(after.trusted.is_err());
    // Another bundle judges anew.
    let other = ca("other", None, BasicConstraints::Unconstrained);
    bundle.set_pem(&pem(&[&other])).unwrap();
    assert!(bundle.judge(&chain, just_before).unwrap().trusted.is_err());
}

#[test]
fn chains_lead_to_a_root() {
    let root = ca("root", None, BasicConstraints::Unconstrained);
    let other = ca("other", None, BasicConstraints::Unconstrained);
    let middle = ca("middle", Some(&root), BasicConstraints::Unconstrained);
    let direct = leaf(&root, |_| {});
    let below = leaf(&middle, |_| {});
    assert_eq!(verify(&[&root], std::slice::from_ref(&direct)), Ok(()));
    assert_eq!(
        verify(&[&other, &root], std::slice::from_ref(&direct)),
        Ok(())
    );
    assert_eq!(
        verify(
            &[&root],
            &[below.clone(), middle.certificate.der().to_vec()]
        ),
        Ok(())
    );
    let unknown = "x509: certificate signed by unknown authority";
    assert_eq!(
        verify(&[&root], std::slice::from_ref(&below)).unwrap_err(),
        unknown
    );
    assert_eq!(
        verify(&[&other], std::slice::from_ref(&direct)).unwrap_err(),
        unknown
    );
}

#[test]
fn a_ca_of_the_same_name_does_not_count() {
    let root = ca("root", None, BasicConstraints::Unconstrained);
    let forged = ca("root", None, BasicConstraints::Unconstrained);
    let error = verify(&[&root], &[leaf(&forged, |_| {})]).unwrap_err();
    assert!(
        error.starts_with("x509: certificate signed by unknown authority"),
        "{error}"
    );
}

#[test]
fn a_leaf_may_not_sign() {
    let root = ca("root", None, BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "bob");
    let bob = params.signed_by(&key, &root.issuer).unwrap();
    let bob = Ca {
        certificate: bob,
        issuer: Issuer::new(params, key),
    };
    let admin = leaf(&bob, |_| {});
    let error = verify(&[&root], &[admin, bob.certificate.der().to_vec()]).unwrap_err();
    assert_eq!(
        error,
        "x509: invalid certificate: certificate is not authorized to sign other certificates"
    );
}

#[test]
fn path_length_is_kept() {
    let root = ca("root", None, BasicConstraints::Constrained(0));
    let middle = ca("middle", Some(&root), BasicConstraints::Unconstrained);
    assert_eq!(verify(&[&root], &[leaf(&root, |_| {})]), Ok(()));
    let error = verify(
        &[&root],
        &[leaf(&middle, |_| {}), middle.certificate.der().to_vec()],
    )
    .unwrap_err();
    assert_eq!(
        error,
        "x509: too many intermediates for path length constraint"
    );
}

#[test]
fn time_and_usage_count() {
    let root = ca("root", None, BasicConstraints::Unconstrained);
    let expired = leaf(&root, |params| {
        params.not_after = rcgen::date_time_ymd(2001, 2, 3)
    });
    let error = verify(&[&root], &[expired]).unwrap_err();
    assert!(error.contains("is after 2001-02-03T00:00:00Z"), "{error}");
    let future = leaf(&root, |params| {
        params.not_before = rcgen::date_time_ymd(2900, 1, 1)
    });
    assert!(
        verify(&[&root], &[future])
            .unwrap_err()
            .contains("is before 2900-01-01T00:00:00Z")
    );
    let server = leaf(&root, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
    });
    assert_eq!(
        verify(&[&root], &[server]).unwrap_err(),
        "x509: certificate specifies an incompatible key usage"
    );
    let any = leaf(&root, |params| params.extended_key_usages = Vec::new());
    assert_eq!(verify(&[&root], &[any]), Ok(()));
}

#[test]
fn a_pinned_leaf_counts() {
    let root = ca("root", None, BasicConstraints::Unconstrained);
    let pinned = leaf(&root, |_| {});
    let text = ::pem::encode(&::pem::Pem::new("CERTIFICATE", pinned.clone()));
    let bundle = CaBundle::from_pem(text.as_bytes()).unwrap();
    assert_eq!(judged(&bundle, &[pinned]), Ok(()));
    assert!(judged(&bundle, &[leaf(&root, |_| {})]).is_err());
}

/// Turns a certificate into one of version 1, which rcgen cannot make: no version, no extensions, signed anew.
fn version_1(ca: &Ca, ca_key: &KeyPair) -> Vec<u8> {
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match content.len() {
            length @ 0..=0x7f => out.push(length as u8),
            length => out.extend([0x82, (length >> 8) as u8, length as u8]),
        }
        out.extend(content);
        out
    }
    let full = leaf(ca, |_| {});
    let (_, parsed) = x509_parser::parse_x509_certificate(&full).unwrap();
    let tbs = &parsed.tbs_certificate;
    let algorithm = [
        0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
    ];
    let validity = {
        let time = |text: &[u8]| der(0x17, text);
        der(
            0x30,
            &[time(b"200101000000Z"), time(b"491231235959Z")].concat(),
        )
    };
    let content = [
        der(0x02, &[7]),
        algorithm.to_vec(),
        tbs.issuer.as_raw().to_vec(),
        validity,
        tbs.subject.as_raw().to_vec(),
        tbs.subject_pki.raw.to_vec(),
    ]
    .concat();
    let signed = der(0x30, &content);
    use rcgen::SigningKey as _;
    let signature = ca_key.sign(&signed).unwrap();
    let bits = der(0x03, &[vec![0], signature].concat());
    der(0x30, &[signed, algorithm.to_vec(), bits].concat())
}

#[test]
fn version_1_certificates_count() {
    let root = ca("root", None, BasicConstraints::Unconstrained);
    let old = version_1(&root, root.issuer.key());
    let (_, parsed) = x509_parser::parse_x509_certificate(&old).unwrap();
    assert_eq!(parsed.version(), X509Version::V1);
    assert_eq!(verify(&[&root], std::slice::from_ref(&old)), Ok(()));
    assert_eq!(user_of(&old).unwrap().unwrap().name, "system:node:a");
}

#[test]
fn users_have_name_groups_uid_and_credential() {
    let root = ca("root", None, BasicConstraints::Unconstrained);
    let uid = DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2]);
    let certificate = leaf(&root, |params| params.distinguished_name.push(uid, "u-1"));
    let user = user_of(&certificate).unwrap().unwrap();
    assert_eq!(
        (user.name.as_str(), uid_of(&certificate)),
        ("system:node:a", Ok("u-1".to_owned()))
    );
    assert_eq!(user.groups, ["system:nodes"]);
    let credential = &user.extra[CREDENTIAL_ID][0];
    assert!(
        credential.starts_with("X509SHA256=") && credential.len() == 11 + 64,
        "{credential}"
    );
    let nameless = leaf(&root, |params| {
        params.distinguished_name = rcgen::DistinguishedName::new()
    });
    assert_eq!(user_of(&nameless).unwrap(), None);
}

#[tokio::test]
async fn the_authenticator_judges_connections() {
    let root = ca("root", None, BasicConstraints::Unconstrained);
    let other = ca("other", None, BasicConstraints::Unconstrained);
    let bundle = CaBundle::from_pem(&pem(&[&root])).unwrap();
    let metrics = Metrics::default();
    let authenticator = CertificateAuthenticator::with_metrics(bundle.clone(), &metrics);
    let with = |der: Vec<u8>| Credentials {
        peer_certificates: Arc::from([der]),
        ..Credentials::default()
    };
    let known = authenticator
        .authenticate(&with(leaf(&root, |_| {})))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(known.user.name, "system:node:a");
    let error = authenticator
        .authenticate(&with(leaf(&other, |_| {})))
        .await
        .unwrap_err();
    assert!(error.0.starts_with("verifying certificate SN="), "{error}");
    assert_eq!(
        authenticator
            .authenticate(&Credentials::default())
            .await
            .unwrap(),
        None
    );
    // The bundle changes under the authenticator.
    bundle.set_pem(&pem(&[&other])).unwrap();
    assert!(
        authenticator
            .authenticate(&with(leaf(&other, |_| {})))
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        authenticator
            .authenticate(&with(leaf(&root, |_| {})))
            .await
            .is_err()
    );
    let text = String::from_utf8(metrics.text()).unwrap();
    assert!(
        text.contains("apiserver_client_certificate_expiration_seconds_count 4"),
        "{text}"
    );
}

#[tokio::test]
async fn the_front_proxys_word_counts_with_its_certificate_only() {
    use super::super::request_header::{RequestHeaderAuthenticator, RequestHeaderConfig};
    let root = ca("front-proxy-ca", None, BasicConstraints::Unconstrained);
    let config = RequestHeaderConfig {
        username_headers: vec!["X-Remote-User".to_owned()],
        allowed_names: vec!["front-proxy-client".to_owned()],
        ..RequestHeaderConfig::default()
    };
    let authenticator =
        RequestHeaderAuthenticator::new(CaBundle::from_pem(&pem(&[&root])).unwrap(), config);
    let ask = async |name: &str, certificate: bool| {
        let mut credentials = Credentials::default();
        credentials
            .headers
            .insert("x-remote-user", "alice".parse().unwrap());
        if certificate {
            let der = leaf(&root, |params| {
                params.distinguished_name = rcgen::DistinguishedName::new();
                params.distinguished_name.push(DnType::CommonName, name);
            });
            credentials.peer_certificates = Arc::from([der]);
        }
        let verdict = authenticator.authenticate(&credentials).await;
        verdict
            .map(|found| found.map(|found| found.user.name))
            .map_err(|error| error.0)
    };
    assert_eq!(
        ask("front-proxy-client", true).await,
        Ok(Some("alice".to_owned()))
    );
    assert_eq!(
        ask("mallory", true).await,
        Err("x509: subject with cn=mallory is not in the allowed list".to_owned())
    );
    assert_eq!(ask("", false).await, Ok(None));
}

#[tokio::test]
async fn a_bundle_file_is_followed() {
    let root = ca("root", None, BasicConstraints::Unconstrained);
    let other = ca("other", None, BasicConstraints::Unconstrained);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.crt");
    std::fs::write(&file, pem(&[&root])).unwrap();
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    let bundle = CaBundle::from_file(CLIENT_CA, &file, &stop).unwrap();
    let chain = [leaf(&other, |_| {})];
    assert!(judged(&bundle, &chain).is_err());
    let next = folder.path().join("next");
    std::fs::write(&next, pem(&[&other])).unwrap();
    std::fs::rename(&next, &file).unwrap();
    let changed = async {
        while judged(&bundle, &chain).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), changed)
        .await
        .expect("the new bundle is not read");
    assert!(CaBundle::from_file(CLIENT_CA, &folder.path().join("none"), &stop).is_err());
}
