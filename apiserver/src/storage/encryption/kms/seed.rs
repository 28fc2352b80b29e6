//! A key for every value, derived from a seed: "extended nonce GCM". Upstream: encrypt/aes/aes_extended_nonce.go.
//!
//! Upstream keeps derived keys for ten minutes. Here a value is opened once, when it comes in: its plain form is what
//! the watch cache holds.

use aws_lc_rs::hkdf::{self, HKDF_SHA256, Prk};

use super::super::ciphers::{Cipher, Gcm, Place, random};
use crate::storage::transformer::TransformError;

/// Of seeds, derived keys and what they are derived with.
const LENGTH: usize = 32;

/// A seed, ready to derive.
pub(super) struct Seed(Prk);

struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        LENGTH
    }
}

impl Seed {
    pub(super) fn new(seed: &[u8]) -> Result<Seed, TransformError> {
        if seed.len() < LENGTH {
            let text = format!("invalid seed length {} used for key generation", seed.len());
            return Err(TransformError::new(text));
        }
        Ok(Seed(Prk::new_less_safe(HKDF_SHA256, seed)))
    }

    /// A new seed and its bytes.
    pub(super) fn generate() -> Result<(Seed, [u8; LENGTH]), TransformError> {
        let mut bytes = [0; LENGTH];
        random(&mut bytes)?;
        Ok((Seed::new(&bytes)?, bytes))
    }

    fn derive(&self, info: &[u8]) -> Result<Gcm, TransformError> {
        let mut key = [0; LENGTH];
        self.0
            .expand(&[info], Length)
            .and_then(|derived| derived.fill(&mut key))
            .map_err(|_| TransformError::new("failed to KDF expand seed with info"))?;
        Gcm::new(&key).map_err(TransformError::new)
    }
}

impl Cipher for Seed {
    fn seal(
        &self,
        place: Place<'_>,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), TransformError> {
        let mut info = [0; LENGTH];
        random(&mut info)?;
        out.extend_from_slice(&info);
        self.derive(&info)?.seal(place, plain, out)
    }

    fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<(Vec<u8>, bool), TransformError> {
        let Some((info, sealed)) = sealed.split_first_chunk::<LENGTH>() else {
            return Err(TransformError::new(
                "the stored data was shorter than the required size",
            ));
        };
        self.derive(info)?.open(place, sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> = Place {
        resource: "secrets",
        key: "/registry/secrets/a/b",
    };

    #[test]
    fn values_come_back() {
        let (seed, bytes) = Seed::generate().unwrap();
        let mut sealed = Vec::new();
        seed.seal(PLACE, b"text", &mut sealed).unwrap();
        assert_eq!(sealed.len(), LENGTH + 12 + 4 + 16);
        let again = Seed::new(&bytes).unwrap();
        assert_eq!(again.open(PLACE, &sealed).unwrap().0, b"text");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(again.open(PLACE, &changed).is_err());
            assert!(again.open(PLACE, &sealed[..at]).is_err());
        }
        assert!(Seed::new(&bytes[1..]).is_err());
    }

    /// RFC 5869's third step with the values of its first case: what is stored depends on it.
    #[test]
    fn keys_are_derived_as_by_hkdf_expand() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
                .collect()
        };
        let seed = hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
        let key = hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
        let mut derived = [0; LENGTH];
        Seed::new(&seed)
            .unwrap()
            .0
            .expand(&[&hex("f0f1f2f3f4f5f6f7f8f9")], Length)
            .unwrap()
            .fill(&mut derived)
            .unwrap();
        assert_eq!(derived.as_slice(), key);
    }
}
