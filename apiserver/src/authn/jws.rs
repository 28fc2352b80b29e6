//! JSON Web Signatures in compact form (RFC 7515), with RS256, ES256, ES384 and ES512: what Go signs service account tokens with.

use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RsaKeyPair, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("data does not contain any valid RSA or ECDSA {0} keys")]
    NoKey(&'static str),
    #[error("the {kind} block holds no usable key: {reason}")]
    Unusable { kind: String, reason: String },
}

/// Why a token is not valid. Token reviews show the texts, which are upstream's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VerifyError {
    #[error("the token is not a signed JSON web token")]
    Malformed,
    #[error("go-jose/go-jose: error in cryptographic primitive")]
    Signature,
    #[error("invalid signature, no keys found")]
    NoKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Es256,
    Es384,
    Es512,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }

    /// By the object identifier in a DER SubjectPublicKeyInfo.
    fn of_public_key(der: &[u8]) -> Option<Self> {
        const IDENTIFIERS: [(&[u8], Algorithm); 4] = [
            (
                &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01],
                Algorithm::Rs256,
            ),
            (
                &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
                Algorithm::Es256,
            ),
            (&[0x2b, 0x81, 0x04, 0x00, 0x22], Algorithm::Es384),
            (&[0x2b, 0x81, 0x04, 0x00, 0x23], Algorithm::Es512),
        ];
        let head = &der[..der.len().min(40)];
        IDENTIFIERS
            .iter()
            .find(|(identifier, _)| {
                head.windows(identifier.len())
                    .any(|window| window == *identifier)
            })
            .map(|(_, algorithm)| *algorithm)
    }
}

/// A key that verifies signatures.
#[derive(Clone)]
pub struct PublicKey {
    algorithm: Algorithm,
    /// DER SubjectPublicKeyInfo.
    der: Arc<[u8]>,
    /// Unpadded base64url of the SHA-256 of the DER, as upstream names keys; or as an external signer does.
    id: Arc<str>,
    excluded_from_discovery: bool,
}

impl PublicKey {
    fn from_der(der: &[u8]) -> Option<Self> {
        let algorithm = Algorithm::of_public_key(der)?;
        let id = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, der));
        Some(Self {
            algorithm,
            der: der.into(),
            id: id.into(),
            excluded_from_discovery: false,
        })
    }

    /// A key of an external signer, by the name that it gives it.
    pub fn external(der: &[u8], id: &str, excluded_from_discovery: bool) -> Result<Self, KeyError> {
        let unusable = |reason: String| KeyError::Unusable {
            kind: "PUBLIC KEY".to_owned(),
            reason,
        };
        let (rest, _) =
            SubjectPublicKeyInfo::from_der(der).map_err(|error| unusable(error.to_string()))?;
        if !rest.is_empty() {
            return Err(unusable(
                "trailing data after ASN.1 of public-key".to_owned(),
            ));
        }
        let key = Self::from_der(der).ok_or_else(|| {
            unusable("neither an RSA key nor one on the curves P-256, P-384, P-521".to_owned())
        })?;
        Ok(Self {
            id: id.into(),
            excluded_from_discovery,
            ..key
        })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Others are not told of this key: it checks tokens of earlier days.
    pub fn excluded_from_discovery(&self) -> bool {
        self.excluded_from_discovery
    }

    /// The algorithm's name in a token's header.
    pub fn algorithm_name(&self) -> &'static str {
        self.algorithm.name()
    }

    /// The key as a member of a JSON Web Key Set (RFC 7517).
    pub fn to_jwk(&self) -> Option<Jwk> {
        let mut jwk = Jwk {
            r#use: "sig",
            kty: "EC",
            kid: self.id().to_owned(),
            alg: self.algorithm.name(),
            ..Jwk::default()
        };
        let text = |number: &[u8]| Some(URL_SAFE_NO_PAD.encode(number));
        let (curve, length) = match self.algorithm {
            Algorithm::Rs256 => {
                let (modulus, exponent) = der::rsa_numbers(&self.der)?;
                jwk.kty = "RSA";
                (jwk.n, jwk.e) = (text(modulus), text(exponent));
                return Some(jwk);
            }
            Algorithm::Es256 => ("P-256", 32),
            Algorithm::Es384 => ("P-384", 48),
            Algorithm::Es512 => ("P-521", 66),
        };
        // The key ends with the uncompressed point: 04, x, y.
        let start = self.der.len().checked_sub(2 * length)?;
        let (x, y) = self.der[start..].split_at(length);
        jwk.crv = Some(curve);
        (jwk.x, jwk.y) = (text(x), text(y));
        Some(jwk)
    }
}

/// A JSON Web Key, its members in upstream's order.
#[derive(Debug, Default, Serialize)]
pub struct Jwk {
    r#use: &'static str,
    kty: &'static str,
    kid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
}

/// Every public key in a PEM file; private keys and certificates stand for their public half.
pub fn read_public_keys(text: &[u8]) -> Result<Vec<PublicKey>, KeyError> {
    let mut keys = Vec::new();
    for block in pem::parse_many(text).unwrap_or_default() {
        let der = match block.tag() {
            "PUBLIC KEY" => Some(block.contents().to_vec()),
            "CERTIFICATE" => x509_parser::parse_x509_certificate(block.contents())
                .ok()
                .map(|(_, certificate)| certificate.public_key().raw.to_vec()),
            "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "PRIVATE KEY" => PrivateKey::from_block(&block)
                .ok()
                .map(|key| key.public.der.to_vec()),
            _ => None,
        };
        keys.extend(der.and_then(|der| PublicKey::from_der(&der)));
    }
    if keys.is_empty() {
        Err(KeyError::NoKey("public"))
    } else {
        Ok(keys)
    }
}

enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
}

/// A key that signs.
pub struct PrivateKey {
    signer: Signer,
    public: PublicKey,
}

impl PrivateKey {
    /// The first private key in a PEM file (PKCS#1, SEC1 or PKCS#8).
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        for block in pem::parse_many(text).unwrap_or_default() {
            if block.tag().ends_with("PRIVATE KEY") {
                return Self::from_block(&block);
            }
        }
        Err(KeyError::NoKey("private"))
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    fn from_block(block: &pem::Pem) -> Result<Self, KeyError> {
        let unusable = |reason: String| KeyError::Unusable {
            kind: block.tag().to_owned(),
            reason,
        };
        let der = block.contents();
        let rsa = match block.tag() {
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(der).ok(),
            "PRIVATE KEY" => RsaKeyPair::from_pkcs8(der).ok(),
            _ => None,
        };
        let (signer, public) = if let Some(pair) = rsa {
            let public: PublicKeyX509Der<'_> = pair
                .public_key()
                .as_der()
                .map_err(|error| unusable(error.to_string()))?;
            (Signer::Rsa(Box::new(pair)), public)
        } else {
            const CURVES: [&EcdsaSigningAlgorithm; 3] = [
                &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
                &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
                &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
            ];
            let pair = CURVES
                .iter()
                .find_map(|curve| EcdsaKeyPair::from_private_key_der(curve, der).ok());
            let pair = pair.ok_or_else(|| {
                unusable("neither an RSA key nor one on the curves P-256, P-384, P-521".to_owned())
            })?;
            let public: PublicKeyX509Der<'_> = pair
                .public_key()
                .as_der()
                .map_err(|error| unusable(error.to_string()))?;
            (Signer::Ecdsa(Box::new(pair)), public)
        };
        let public = PublicKey::from_der(public.as_ref())
            .ok_or_else(|| unusable("its public half is of an unknown kind".to_owned()))?;
        Ok(Self { signer, public })
    }

    /// A signed token with these claims.
    pub fn sign(&self, claims: &[u8]) -> Result<String, aws_lc_rs::error::Unspecified> {
        let header =
            serde_json::json!({"alg": self.public.algorithm.name(), "kid": self.public.id()});
        self.sign_with(&header, claims)
    }

    fn sign_with(
        &self,
        header: &serde_json::Value,
        claims: &[u8],
    ) -> Result<String, aws_lc_rs::error::Unspecified> {
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let random = SystemRandom::new();
        let signature = match &self.signer {
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &signature::RSA_PKCS1_SHA256,
                    &random,
                    token.as_bytes(),
                    &mut signature,
                )?;
                signature
            }
            Signer::Ecdsa(pair) => pair.sign(&random, token.as_bytes())?.as_ref().to_vec(),
        };
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

/// A token taken apart, its signature not yet checked.
pub struct Unverified<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    key_id: String,
    algorithm: String,
    /// It must be understood in a way that is not known here.
    unsupported: bool,
    pub claims: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
    crit: Option<serde_json::Value>,
    b64: Option<bool>,
}

impl Header {
    /// Extensions that a recipient has to know (RFC 7515, section 4.1.11). `b64` (RFC 7797) is known as long as it changes nothing.
    fn is_unsupported(&self) -> bool {
        let critical = self.crit.as_ref().is_some_and(|critical| {
            let names = critical.as_array();
            names.is_none_or(|names| names.iter().any(|name| name != "b64"))
        });
        critical || self.b64 == Some(false)
    }
}

impl<'a> Unverified<'a> {
    pub fn parse(token: &'a str) -> Result<Self, VerifyError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(VerifyError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(VerifyError::Malformed)?;
        let decode = |part: &str| {
            URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| VerifyError::Malformed)
        };
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| VerifyError::Malformed)?;
        Ok(Self {
            signed,
            signature: decode(signature)?,
            unsupported: header.is_unsupported(),
            key_id: header.kid,
            algorithm: header.alg,
            claims: decode(claims)?,
        })
    }

    /// The key that the token says it is signed with, or nothing.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Checks the signature: one of the keys has to have made it.
    pub fn verify(&self, keys: &[PublicKey]) -> Result<(), VerifyError> {
        if keys.is_empty() {
            return Err(VerifyError::NoKey);
        }
        if self.unsupported {
            return Err(VerifyError::Signature);
        }
        for key in keys {
            // The key decides the algorithm: a token cannot ask to be checked with another one.
            if key.algorithm.name() == self.algorithm
                && UnparsedPublicKey::new(key.algorithm.verification(), &key.der)
                    .verify(self.signed.as_bytes(), &self.signature)
                    .is_ok()
            {
                return Ok(());
            }
        }
        Err(VerifyError::Signature)
    }
}

/// The two numbers of an RSA key, out of its DER.
mod der {
    /// Splits a DER element off the front: its content and the rest.
    fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        let (&first, rest) = bytes.split_first()?;
        if first != tag {
            return None;
        }
        let (&length, mut rest) = rest.split_first()?;
        let mut length = usize::from(length);
        if length >= 0x80 {
            let count = length & 0x7f;
            if count == 0 || count > 4 || rest.len() < count {
                return None;
            }
            length = rest[..count]
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = &rest[count..];
        }
        (rest.len() >= length).then(|| rest.split_at(length))
    }

    /// Modulus and exponent, without leading zeros, of a SubjectPublicKeyInfo with an RSA key.
    pub(super) fn rsa_numbers(spki: &[u8]) -> Option<(&[u8], &[u8])> {
        let (info, _) = element(0x30, spki)?;
        let (_, rest) = element(0x30, info)?;
        let (bits, _) = element(0x03, rest)?;
        let (key, _) = element(0x30, bits.get(1..)?)?;
        let (modulus, rest) = element(0x02, key)?;
        let (exponent, _) = element(0x02, rest)?;
        Some((strip(modulus), strip(exponent)))
    }

    fn strip(number: &[u8]) -> &[u8] {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        &number[zeros..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::Pkcs8V1Der;
    use aws_lc_rs::rsa::KeySize;

    fn rsa_key() -> PrivateKey {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("DER");
        PrivateKey::from_pem(pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref())).as_bytes())
            .expect("a key")
    }

    fn ec_key(curve: &'static EcdsaSigningAlgorithm) -> PrivateKey {
        let pair = EcdsaKeyPair::generate(curve).expect("a key");
        let der = pair.to_pkcs8v1().expect("DER");
        PrivateKey::from_pem(pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref())).as_bytes())
            .expect("a key")
    }

    #[test]
    fn signed_tokens_verify_with_their_key_alone() {
        let keys = [
            rsa_key(),
            ec_key(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            ec_key(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            ec_key(&signature::ECDSA_P521_SHA512_FIXED_SIGNING),
        ];
        for key in &keys {
            let token = key.sign(br#"{"sub":"x"}"#).expect("signed");
            let parsed = Unverified::parse(&token).expect("well formed");
            assert_eq!(parsed.claims, br#"{"sub":"x"}"#);
            assert_eq!(parsed.verify(std::slice::from_ref(key.public())), Ok(()));
            let others: Vec<PublicKey> = keys
                .iter()
                .filter(|other| other.public.id != key.public.id)
                .map(|other| other.public.clone())
                .collect();
            assert_eq!(parsed.verify(&others), Err(VerifyError::Signature));
            let mut changed = token.clone();
            let claims_at = changed.find('.').expect("a dot") + 2;
            let replacement = if changed.as_bytes()[claims_at] == b'A' {
                "B"
            } else {
                "A"
            };
            changed.replace_range(claims_at..=claims_at, replacement);
            if let Ok(parsed) = Unverified::parse(&changed) {
                assert_eq!(
                    parsed.verify(std::slice::from_ref(key.public())),
                    Err(VerifyError::Signature)
                );
            }
            assert!(key.public().to_jwk().is_some());
        }
    }

    #[test]
    fn a_token_does_not_choose_its_algorithm() {
        let key = rsa_key();
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let token = format!("{header}.{}.", URL_SAFE_NO_PAD.encode("{}"));
        let parsed = Unverified::parse(&token).expect("well formed");
        assert_eq!(
            parsed.verify(std::slice::from_ref(key.public())),
            Err(VerifyError::Signature)
        );
    }

    #[test]
    fn a_token_does_not_have_extensions() {
        let key = ec_key(&signature::ECDSA_P256_SHA256_FIXED_SIGNING);
        for (extension, expected) in [
            (serde_json::json!({"crit": null}), Ok(())),
            (serde_json::json!({"crit": []}), Ok(())),
            (serde_json::json!({"crit": ["b64"], "b64": true}), Ok(())),
            (
                serde_json::json!({"b64": false}),
                Err(VerifyError::Signature),
            ),
            (
                serde_json::json!({"crit": ["b64"], "b64": false}),
                Err(VerifyError::Signature),
            ),
            (
                serde_json::json!({"crit": ["x"]}),
                Err(VerifyError::Signature),
            ),
            (
                serde_json::json!({"crit": "b64"}),
                Err(VerifyError::Signature),
            ),
        ] {
            let mut header = extension.clone();
            header["alg"] = "ES256".into();
            let token = key.sign_with(&header, b"{}").expect("signed");
            let parsed = Unverified::parse(&token).expect("well formed");
            let verdict = parsed.verify(std::slice::from_ref(key.public()));
            assert_eq!(verdict, expected, "{extension}");
        }
    }

    #[test]
    fn malformed_tokens() {
        for token in ["", "a", "a.b", "a.b.c", "..", "!.!.!"] {
            assert_eq!(
                Unverified::parse(token).err(),
                Some(VerifyError::Malformed),
                "{token:?}"
            );
        }
    }
}
