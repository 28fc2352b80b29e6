use api_types::ByteString;
use api_types::meta::v1::Condition;
use rcgen::{CertificateParams, KeyPair, SigningKey as _};

use super::*;

const NOW: &str = "2026-06-01T00:00:00Z";

fn request(key: &KeyPair) -> PodCertificateRequest {
    let mut request = PodCertificateRequest::default();
    request.metadata.name = "r".to_owned();
    request.metadata.namespace = "ns".to_owned();
    request.metadata.resource_version = "1".to_owned();
    let csr = CertificateParams::default().serialize_request(key);
    request.spec = PodCertificateRequestSpec {
        signer_name: "example.com/signer".to_owned(),
        pod_name: "p".to_owned(),
        pod_uid: "p1".to_owned(),
        service_account_name: "a".to_owned(),
        service_account_uid: "a1".to_owned(),
        node_name: "n".to_owned(),
        node_uid: "n1".to_owned(),
        max_expiration_seconds: Some(2 * HOUR),
        stub_pkcs10_request: ByteString(csr.unwrap().der().to_vec()),
        ..PodCertificateRequestSpec::default()
    };
    request
}

#[track_caller]
fn check(errors: ErrorList, want: &[&str]) {
    let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(got, want);
}

#[track_caller]
fn made(change: impl FnOnce(&mut PodCertificateRequestSpec), want: &[&str]) {
    let mut request = request(&KeyPair::generate().unwrap());
    change(&mut request.spec);
    check(validate_create(&request), want);
}

#[test]
fn who_a_certificate_is_for() {
    made(|_| {}, &[]);
    made(
        |spec| {
            spec.signer_name.clear();
            spec.pod_name = "P".to_owned();
            spec.pod_uid.clear();
            spec.node_uid = "n".repeat(129);
            spec.max_expiration_seconds = None;
        },
        &[
            "spec.signerName: Required value",
            "spec.podName: Invalid value: \"P\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.podUID: Invalid value: \"\": must not be empty",
            "spec.nodeUID: Too long: may not be more than 128 bytes",
            "spec.maxExpirationSeconds: Required value: must be set",
        ],
    );
    let day = "spec.maxExpirationSeconds: Invalid value: 86401: must be in the range [3600, 86400]";
    made(
        |spec| {
            spec.signer_name = "kubernetes.io/own".to_owned();
            spec.max_expiration_seconds = Some(86_401);
        },
        &[day],
    );
    made(
        |spec| spec.max_expiration_seconds = Some(3599),
        &["spec.maxExpirationSeconds: Invalid value: 3599: must be in the range [3600, 7862400]"],
    );
}

#[test]
fn requests_are_signed() {
    for key in [
        KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap(),
    ] {
        check(validate_create(&request(&key)), &[]);
    }
    let small = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    check(
        validate_create(&request(&small.unwrap())),
        &[
            "spec.stubPKCS10Request: Invalid value: \"2048-bit modulus\": RSA keys must have modulus size 3072 or 4096",
        ],
    );
    made(
        |spec| spec.stub_pkcs10_request = ByteString(vec![1]),
        &["spec.stubPKCS10Request: Invalid value: must be a valid PKCS#10 CSR"],
    );
    made(
        |spec| *spec.stub_pkcs10_request.0.last_mut().unwrap() ^= 1,
        &["spec.stubPKCS10Request: Invalid value: invalid signature"],
    );
    made(
        |spec| spec.stub_pkcs10_request.0.resize(10 * 1024 + 1, 0),
        &["spec.stubPKCS10Request: Too long: may not be more than 10240 bytes"],
    );
    made(
        |spec| spec.pkix_public_key = ByteString(vec![1]),
        &[
            "spec: Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set",
        ],
    );
}

#[test]
fn keys_come_with_a_proof() {
    use rcgen::PublicKeyData as _;
    let with = |key: &KeyPair, signed: &str| {
        let mut request = request(key);
        request.spec.stub_pkcs10_request = ByteString::default();
        request.spec.pkix_public_key = ByteString(key.subject_public_key_info());
        request.spec.proof_of_possession = ByteString(key.sign(signed.as_bytes()).unwrap());
        validate_create(&request)
    };
    for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P256_SHA256] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        check(with(&key, "p1"), &[]);
        check(
            with(&key, "p2"),
            &[
                "spec.proofOfPossession: Invalid value: could not verify proof-of-possession signature",
            ],
        );
    }
    made(
        |spec| {
            spec.stub_pkcs10_request = ByteString::default();
            spec.pkix_public_key = ByteString(vec![1, 2]);
            spec.proof_of_possession = ByteString(vec![1]);
        },
        &[
            "spec.pkixPublicKey: Invalid value: \"AQI=\": must be a valid PKIX-serialized public key",
        ],
    );
}

fn condition(kind: &str, status: &str) -> Condition {
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: "R".to_owned(),
        last_transition_time: time(NOW),
        ..Condition::default()
    }
}

fn time(text: &str) -> Time {
    Time::parse(text).unwrap()
}

/// A status with a certificate of two hours for this key.
fn issued_for(key: &KeyPair) -> PodCertificateRequestStatus {
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 6, 1);
    params.not_after = params.not_before + std::time::Duration::from_secs(7200);
    PodCertificateRequestStatus {
        conditions: vec![condition(ISSUED, "True")],
        certificate_chain: params.self_signed(key).unwrap().pem(),
        not_before: Some(time(NOW)),
        not_after: Some(time("2026-06-01T02:00:00Z")),
        begin_refresh_at: Some(time("2026-06-01T01:00:00Z")),
    }
}

#[track_caller]
fn updated(change: impl FnOnce(&mut PodCertificateRequest, &KeyPair), want: &[&str]) {
    let key = KeyPair::generate().unwrap();
    let old = request(&key);
    let mut new = old.clone();
    new.status = issued_for(&key);
    change(&mut new, &key);
    check(
        validate_status_update(&new, &old, time("2026-06-01T00:04:59Z")),
        want,
    );
}

#[test]
fn certificates_are_what_was_asked_for() {
    updated(|_, _| {}, &[]);
    updated(
        |new, _| {
            new.status = issued_for(&KeyPair::generate().unwrap());
            new.status.certificate_chain = String::new();
        },
        &[
            "status.certificateChain: Invalid value: \"\": issued certificate chain must contain at least one certificate",
        ],
    );
    let status = issued_for(&KeyPair::generate().unwrap());
    let detail = "leaf certificate was not issued to the requested public key";
    let shown = BadValue::String(status.certificate_chain.clone());
    let path = path(&["status", "certificateChain"]);
    let wrong = field::invalid(&path, shown, detail).to_string();
    updated(|new, _| new.status = status, &[&wrong]);
    updated(
        |new, _| {
            new.status.not_before = None;
            new.status.begin_refresh_at = None;
        },
        &[
            "status.notBefore: Required value: must be present and consistent with the issued certificate",
            "status.beginRefreshAt: Required value: must be present and in the range [notbefore+10min, notafter-10min]",
        ],
    );
    updated(
        |new, _| new.status.not_after = Some(time("2026-06-01T03:00:00Z")),
        &[
            "status.notAfter: Invalid value: 2026-06-01 03:00:00 +0000 UTC: must be set to the NotAfter time encoded in the leaf certificate",
        ],
    );
    updated(
        |new, _| new.status.begin_refresh_at = Some(time("2026-06-01T00:09:59Z")),
        &[
            "status.beginRefreshAt: Invalid value: 2026-06-01 00:09:59 +0000 UTC: must be at least 10 minutes after status.notBefore",
        ],
    );
    let key = KeyPair::generate().unwrap();
    let mut old = request(&key);
    let mut new = old.clone();
    new.status = issued_for(&key);
    check(
        validate_status_update(&new, &old, time("2026-06-01T00:05:00Z")),
        &[
            "status.notBefore: Invalid value: 2026-06-01 00:00:00 +0000 UTC: must be set to within 5 minutes of kube-apiserver's current time",
        ],
    );
    old.spec.max_expiration_seconds = Some(HOUR);
    check(
        validate_status_update(&new, &old, time(NOW)),
        &[
            "status.certificateChain: Invalid value: 2h0m0s: leaf certificate lifetime must be <= spec.maxExpirationSeconds (3600)",
        ],
    );
}

#[test]
fn a_status_has_one_end() {
    updated(
        |new, _| new.status.conditions.clear(),
        &[
            "status: Invalid value: status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"",
        ],
    );
    updated(
        |new, _| new.status.conditions = vec![condition(DENIED, "True")],
        &[
            "status: Invalid value: non-condition status fields must be empty when denying or failing the PodCertificateRequest",
        ],
    );
    updated(
        |new, _| {
            new.status.conditions = vec![
                condition(ISSUED, "True"),
                condition(FAILED, "False"),
                condition("X", "True"),
            ];
        },
        &[
            "status.conditions.[1].type: Invalid value: \"Failed\": There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"",
            "status.conditions.[1].status: Unsupported value: \"False\": supported values: \"True\"",
            "status.conditions.[2].type: Unsupported value: \"X\": supported values: \"Issued\", \"Denied\", \"Failed\"",
        ],
    );
    let key = KeyPair::generate().unwrap();
    let mut old = request(&key);
    old.status.conditions = vec![condition(FAILED, "True")];
    let mut new = old.clone();
    check(validate_status_update(&new, &old, time(NOW)), &[]);
    new.status.conditions[0].reason = "S".to_owned();
    check(
        validate_status_update(&new, &old, time(NOW)),
        &[
            "status: Invalid value: immutable after PodCertificateRequest is issued, denied, or failed",
        ],
    );
    new.spec.pod_uid = "p2".to_owned();
    assert_eq!(validate_update(&new, &old).len(), 1);
}
