//! Legacy ServiceAccount tokens: JSON Web Tokens without expiry, signed with RS256, ES256, ES384 or ES512. Upstream:
//! pkg/serviceaccount/{jwt,legacy}.go.

use std::collections::BTreeMap;

use api_types::core::v1::{Secret, ServiceAccount};
use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const ISSUER: &str = "kubernetes/serviceaccount";

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file has no private key block.
    #[error("data does not contain a valid RSA or ECDSA private key")]
    NoKey,
    /// There is a block that holds no key we can sign with.
    #[error("the {kind} block holds no usable key: {reason}")]
    Unusable {
        /// The block's PEM label.
        kind: String,
        /// What is wrong.
        reason: String,
    },
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
}

/// A key that signs tokens.
pub struct SigningKey {
    pair: Pair,
    algorithm: &'static str,
    /// Unpadded base64url of the SHA-256 of the public half in DER: how verifiers find it.
    id: String,
}

const CURVES: [(&str, &EcdsaSigningAlgorithm); 3] = [
    ("ES256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING),
    ("ES384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING),
    ("ES512", &signature::ECDSA_P521_SHA512_FIXED_SIGNING),
];

impl SigningKey {
    /// The first private key of a PEM file: PKCS#1, SEC1 or PKCS#8.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let blocks = pem::parse_many(text).unwrap_or_default();
        let block = blocks
            .iter()
            .find(|block| block.tag().ends_with("PRIVATE KEY"))
            .ok_or(KeyError::NoKey)?;
        let der = block.contents();
        let unusable = |reason: String| KeyError::Unusable {
            kind: block.tag().to_owned(),
            reason,
        };
        let rsa = match block.tag() {
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(der).ok(),
            "PRIVATE KEY" => RsaKeyPair::from_pkcs8(der).ok(),
            _ => None,
        };
        let described = |error: aws_lc_rs::error::Unspecified| unusable(error.to_string());
        let (pair, algorithm, public) = if let Some(pair) = rsa {
            let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(described)?;
            (Pair::Rsa(Box::new(pair)), "RS256", public)
        } else {
            let (algorithm, pair) = CURVES
                .iter()
                .find_map(|(name, curve)| {
                    let pair = EcdsaKeyPair::from_private_key_der(curve, der).ok()?;
                    Some((*name, pair))
                })
                .ok_or_else(|| {
                    unusable("neither an RSA key nor one on P-256, P-384, P-521".into())
                })?;
            let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(described)?;
            (Pair::Ecdsa(Box::new(pair)), algorithm, public)
        };
        let id = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, public.as_ref()));
        Ok(Self {
            pair,
            algorithm,
            id,
        })
    }

    /// A token with these claims, in compact form.
    pub fn sign(
        &self,
        claims: &BTreeMap<&str, String>,
    ) -> Result<String, aws_lc_rs::error::Unspecified> {
        let header = serde_json::json!({"alg": self.algorithm, "kid": self.id});
        let claims = serde_json::to_vec(claims).map_err(|_| aws_lc_rs::error::Unspecified)?;
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &signature::RSA_PKCS1_SHA256,
                    &random,
                    token.as_bytes(),
                    &mut signature,
                )?;
                signature
            }
            Pair::Ecdsa(pair) => pair.sign(&random, token.as_bytes())?.as_ref().to_vec(),
        };
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

/// What a legacy token says, in the order it is written.
pub fn legacy_claims(account: &ServiceAccount, secret: &Secret) -> BTreeMap<&'static str, String> {
    let (namespace, name) = (&account.metadata.namespace, &account.metadata.name);
    BTreeMap::from([
        ("iss", ISSUER.to_owned()),
        ("sub", format!("system:serviceaccount:{namespace}:{name}")),
        ("kubernetes.io/serviceaccount/namespace", namespace.clone()),
        (
            "kubernetes.io/serviceaccount/secret.name",
            secret.metadata.name.clone(),
        ),
        (
            "kubernetes.io/serviceaccount/service-account.name",
            name.clone(),
        ),
        (
            "kubernetes.io/serviceaccount/service-account.uid",
            account.metadata.uid.clone(),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::UnparsedPublicKey;

    use super::*;

    #[test]
    fn tokens_verify_and_carry_the_claims() {
        let pair = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let pkcs8 = pair.to_pkcs8v1().unwrap();
        let text = pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.as_ref()));
        let key = SigningKey::from_pem(text.as_bytes()).unwrap();
        let mut account = ServiceAccount::default();
        account.metadata.namespace = "ns".into();
        account.metadata.name = "robot".into();
        account.metadata.uid = "u1".into();
        let mut secret = Secret::default();
        secret.metadata.name = "robot-token".into();
        let token = key.sign(&legacy_claims(&account, &secret)).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let signed = format!("{}.{}", parts[0], parts[1]);
        UnparsedPublicKey::new(
            &signature::ECDSA_P256_SHA256_FIXED,
            pair.public_key().as_ref(),
        )
        .verify(
            signed.as_bytes(),
            &URL_SAFE_NO_PAD.decode(parts[2]).unwrap(),
        )
        .unwrap();
        let header = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
        assert!(header.starts_with(r#"{"alg":"ES256","kid":""#), "{header}");
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        assert_eq!(
            claims,
            r#"{"iss":"kubernetes/serviceaccount","kubernetes.io/serviceaccount/namespace":"ns","kubernetes.io/serviceaccount/secret.name":"robot-token","kubernetes.io/serviceaccount/service-account.name":"robot","kubernetes.io/serviceaccount/service-account.uid":"u1","sub":"system:serviceaccount:ns:robot"}"#
        );
    }

    #[test]
    fn files_without_a_key_are_refused() {
        assert!(matches!(
            SigningKey::from_pem(b"nothing"),
            Err(KeyError::NoKey)
        ));
        let text = pem::encode(&pem::Pem::new("PRIVATE KEY", vec![1, 2, 3]));
        assert!(matches!(
            SigningKey::from_pem(text.as_bytes()),
            Err(KeyError::Unusable { .. })
        ));
    }
}
