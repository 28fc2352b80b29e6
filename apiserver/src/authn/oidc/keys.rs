//! The key sets of issuers (RFC 7517) and the signatures their keys verify. Upstream: go-jose's JSONWebKeySet and its verifiers.

use aws_lc_rs::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value as Json;

/// A public key of an issuer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Empty when it has none.
    pub(super) id: String,
    material: Material,
}

#[derive(Debug, PartialEq, Eq)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// The uncompressed point.
    Ec {
        curve: Curve,
        point: Vec<u8>,
    },
    /// A key that no algorithm here uses.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    fn bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The one algorithm that goes with the curve.
    fn verification(self, algorithm: &str) -> Option<&'static dyn VerificationAlgorithm> {
        match (self, algorithm) {
            (Self::P256, "ES256") => Some(&signature::ECDSA_P256_SHA256_FIXED),
            (Self::P384, "ES384") => Some(&signature::ECDSA_P384_SHA384_FIXED),
            (Self::P521, "ES512") => Some(&signature::ECDSA_P521_SHA512_FIXED),
            _ => None,
        }
    }
}

fn rsa_parameters(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// All keys of a set. One that cannot be read spoils the set, as upstream has it.
pub(super) fn read_key_set(json: &Json) -> Result<Vec<Key>, String> {
    match json.get("keys") {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Array(keys)) => keys.iter().map(Key::read).collect(),
        Some(other) => Err(crate::go_json::cannot_unmarshal(
            other,
            "struct field JSONWebKeySet.keys of type []jose.JSONWebKey",
        )),
    }
}

impl Key {
    fn read(json: &Json) -> Result<Key, String> {
        let text = |name: &str| json.get(name).and_then(Json::as_str).unwrap_or_default();
        let number = |name: &str| -> Result<Vec<u8>, String> {
            let bytes = URL_SAFE_NO_PAD
                .decode(text(name).trim_end_matches('='))
                .map_err(|_| format!("illegal base64 data in {name}"))?;
            Ok(bytes)
        };
        let material = match text("kty") {
            "RSA" => {
                let strip = |bytes: Vec<u8>| -> Vec<u8> {
                    bytes.into_iter().skip_while(|byte| *byte == 0).collect()
                };
                let (modulus, exponent) = (strip(number("n")?), strip(number("e")?));
                if modulus.is_empty() || exponent.is_empty() {
                    return Err("go-jose/go-jose: invalid RSA key, missing n/e values".to_owned());
                }
                Material::Rsa { modulus, exponent }
            }
            "EC" => {
                let curve = match text("crv") {
                    "P-256" => Curve::P256,
                    "P-384" => Curve::P384,
                    "P-521" => Curve::P521,
                    other => {
                        return Err(format!(
                            "go-jose/go-jose: unsupported elliptic curve '{other}'"
                        ));
                    }
                };
                let (x, y) = (number("x")?, number("y")?);
                if x.is_empty() || y.is_empty() {
                    return Err("go-jose/go-jose: invalid EC key, missing x/y values".to_owned());
                }
                for (name, part) in [("x", &x), ("y", &y)] {
                    if part.len() != curve.bytes() {
                        return Err(format!(
                            "go-jose/go-jose: invalid EC public key, wrong length for {name}"
                        ));
                    }
                }
                let mut point = vec![4];
                point.extend(x);
                point.extend(y);
                Material::Ec { curve, point }
            }
            "oct" => Material::Other,
            "OKP" if text("crv") == "Ed25519" && json.get("x").is_some() => Material::Other,
            "OKP" => return Err(format!("go-jose/go-jose: unknown curve {}'", text("crv"))),
            other => {
                return Err(format!(
                    "go-jose/go-jose: unknown json web key type '{other}'"
                ));
            }
        };
        Ok(Key {
            id: text("kid").to_owned(),
            material,
        })
    }

    /// Whether a signature is this key's. An algorithm that does not go with the key is as good as a wrong signature.
    pub(super) fn verifies(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa { modulus, exponent } => {
                rsa_parameters(algorithm).is_some_and(|parameters| {
                    let key = RsaPublicKeyComponents {
                        n: modulus,
                        e: exponent,
                    };
                    key.verify(parameters, signed, signature).is_ok()
                })
            }
            Material::Ec { curve, point } => {
                curve.verification(algorithm).is_some_and(|algorithm| {
                    UnparsedPublicKey::new(algorithm, point)
                        .verify(signed, signature)
                        .is_ok()
                })
            }
            Material::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RsaEncoding, RsaKeyPair};
    use serde_json::json;

    #[test]
    fn every_algorithm_of_rsa_keys() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()));
        let own = crate::authn::jws::PrivateKey::from_pem(pem.as_bytes()).unwrap();
        let jwk = own.public().to_jwk().unwrap();
        let keys = read_key_set(&json!({"keys": [jwk]})).unwrap();
        let algorithms: [(&str, &dyn RsaEncoding); 6] = [
            ("RS256", &signature::RSA_PKCS1_SHA256),
            ("RS384", &signature::RSA_PKCS1_SHA384),
            ("RS512", &signature::RSA_PKCS1_SHA512),
            ("PS256", &signature::RSA_PSS_SHA256),
            ("PS384", &signature::RSA_PSS_SHA384),
            ("PS512", &signature::RSA_PSS_SHA512),
        ];
        assert!(!pair.public_key().as_ref().is_empty());
        for (name, encoding) in algorithms {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &SystemRandom::new(), b"text", &mut signature)
                .unwrap();
            assert!(keys[0].verifies(name, b"text", &signature), "{name}");
            assert!(!keys[0].verifies(name, b"other", &signature), "{name}");
            for (other, _) in algorithms {
                assert_eq!(keys[0].verifies(other, b"text", &signature), other == name);
            }
            for other in ["ES256", "HS256", "none", ""] {
                assert!(!keys[0].verifies(other, b"text", &signature));
            }
        }
    }

    #[test]
    fn sets_that_cannot_be_read() {
        let read = |key: Json| read_key_set(&json!({"keys": [key]})).map(|keys| keys.len());
        assert_eq!(read_key_set(&json!({})), Ok(Vec::new()));
        assert_eq!(read(json!({"kty": "oct", "k": "AA"})), Ok(1));
        assert_eq!(
            read(json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"})),
            Ok(1)
        );
        for (key, error) in [
            (json!({"kty": "x"}), "unknown json web key type 'x'"),
            (json!({"kty": "RSA", "n": "AQ"}), "missing n/e values"),
            (
                json!({"kty": "EC", "crv": "P-1"}),
                "unsupported elliptic curve 'P-1'",
            ),
            (
                json!({"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}),
                "wrong length for x",
            ),
        ] {
            let found = read(key).unwrap_err();
            assert!(found.ends_with(error), "{found}");
        }
    }
}
