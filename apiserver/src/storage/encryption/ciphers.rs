//! The ciphers of keys that the configuration holds. Upstream: storage/value/encrypt/aes and encrypt/secretbox.
//!
//! A sealed value is its nonce and what the cipher made of the plain one; prefixes are the chain's business.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    self, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use crypto_secretbox::aead::AeadInPlace;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};

use crate::storage::transformer::TransformError;

/// What a value belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// `resource.group`, for metrics and the log.
    pub(super) resource: &'a str,
    /// The etcd key: authenticated data of the ciphers that have such a thing.
    pub(super) key: &'a str,
}

/// Seals and opens values.
pub(super) trait Cipher: Send + Sync {
    /// Appends the sealed value to `out`, which holds the prefixes.
    fn seal(&self, place: Place<'_>, plain: &[u8], out: &mut Vec<u8>)
    -> Result<(), TransformError>;

    /// The plain value, and whether it should be written again.
    fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<(Vec<u8>, bool), TransformError>;

    /// How much longer a sealed value is at most.
    fn overhead(&self) -> usize {
        64
    }
}

const TOO_SHORT: &str = "the stored data was shorter than the required size";
/// Go's text of a sealed value that was changed or is somebody else's.
const NOT_AUTHENTIC: &str = "cipher: message authentication failed";
const NO_RANDOM: &str = "unable to read sufficient random bytes";

/// Fills a buffer with random bytes.
pub(super) fn random(bytes: &mut [u8]) -> Result<(), TransformError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| TransformError::new(NO_RANDOM))
}

/// Go's error about keys of other lengths than AES has.
fn key_size(length: usize) -> String {
    format!("crypto/aes: invalid key size {length}")
}

/// AES-GCM with random nonces.
pub(super) struct Gcm(LessSafeKey);

const NONCE: usize = aead::NONCE_LEN;
const TAG: usize = 16;

impl Gcm {
    pub(super) fn new(key: &[u8]) -> Result<Self, String> {
        let algorithm = match key.len() {
            16 => &aead::AES_128_GCM,
            24 => &aead::AES_192_GCM,
            32 => &aead::AES_256_GCM,
            length => return Err(key_size(length)),
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| key_size(key.len()))?;
        Ok(Self(LessSafeKey::new(key)))
    }
}

impl Cipher for Gcm {
    fn seal(
        &self,
        place: Place<'_>,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), TransformError> {
        let mut nonce = [0; NONCE];
        random(&mut nonce)?;
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plain);
        let tag = self.0.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place.key),
            &mut out[start..],
        );
        let tag = tag.map_err(|_| TransformError::new("AES-GCM could not seal the value"))?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<(Vec<u8>, bool), TransformError> {
        let Some((nonce, sealed)) = sealed.split_first_chunk::<NONCE>() else {
            return Err(TransformError::new(TOO_SHORT));
        };
        let Some((text, tag)) = sealed.split_last_chunk::<TAG>() else {
            return Err(TransformError::new(NOT_AUTHENTIC));
        };
        let mut plain = vec![0; text.len()];
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_separate_gather(nonce, Aad::from(place.key), text, tag, &mut plain)
            .map_err(|_| TransformError::new(NOT_AUTHENTIC))?;
        Ok((plain, false))
    }
}

/// AES-CBC with PKCS#7 padding. What is stored is not authenticated.
pub(super) struct Cbc {
    sealing: EncryptingKey,
    opening: DecryptingKey,
}

const BLOCK: usize = 16;

impl Cbc {
    pub(super) fn new(key: &[u8]) -> Result<Self, String> {
        let algorithm = match key.len() {
            16 => &cipher::AES_128,
            24 => &cipher::AES_192,
            32 => &cipher::AES_256,
            length => return Err(key_size(length)),
        };
        let unbound = || UnboundCipherKey::new(algorithm, key);
        let keys = || {
            Ok((
                EncryptingKey::cbc(unbound()?)?,
                DecryptingKey::cbc(unbound()?)?,
            ))
        };
        let (sealing, opening) =
            keys().map_err(|_: aws_lc_rs::error::Unspecified| key_size(key.len()))?;
        Ok(Self { sealing, opening })
    }
}

impl Cipher for Cbc {
    fn seal(&self, _: Place<'_>, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TransformError> {
        let mut iv = [0; BLOCK];
        random(&mut iv)?;
        out.extend_from_slice(&iv);
        let start = out.len();
        out.extend_from_slice(plain);
        let padding = BLOCK - plain.len() % BLOCK;
        out.resize(out.len() + padding, padding as u8);
        let context = EncryptionContext::Iv128(FixedLength::from(iv));
        self.sealing
            .less_safe_encrypt(&mut out[start..], context)
            .map_err(|_| TransformError::new("AES-CBC could not seal the value"))?;
        Ok(())
    }

    fn open(&self, _: Place<'_>, sealed: &[u8]) -> Result<(Vec<u8>, bool), TransformError> {
        const EMPTY: &str = "invalid PKCS7 data (empty or not padded)";
        let Some((iv, text)) = sealed.split_first_chunk::<BLOCK>() else {
            return Err(TransformError::new(TOO_SHORT));
        };
        if text.len() % BLOCK != 0 {
            return Err(TransformError::new(
                "the stored data is not a multiple of the block size",
            ));
        }
        let mut plain = text.to_vec();
        let context = DecryptionContext::Iv128(FixedLength::from(*iv));
        self.opening
            .decrypt(&mut plain, context)
            .map_err(|_| TransformError::new(EMPTY))?;
        let padding = plain.last().copied().unwrap_or(0);
        let length = plain.len().checked_sub(usize::from(padding));
        let Some(length) = length.filter(|_| padding > 0) else {
            return Err(TransformError::new(EMPTY));
        };
        if plain[length..].iter().any(|byte| *byte != padding) {
            return Err(TransformError::new("invalid padding on input"));
        }
        plain.truncate(length);
        Ok((plain, false))
    }
}

/// NaCl's secretbox: XSalsa20 and Poly1305. The etcd key is not authenticated.
pub(super) struct Secretbox(XSalsa20Poly1305);

const BOX_NONCE: usize = 24;

impl Secretbox {
    pub(super) fn new(key: &[u8]) -> Result<Self, String> {
        XSalsa20Poly1305::new_from_slice(key)
            .map(Self)
            .map_err(|_| {
                format!(
                    "expected key size 32 for secretbox provider, got {}",
                    key.len()
                )
            })
    }
}

impl Cipher for Secretbox {
    fn seal(&self, _: Place<'_>, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TransformError> {
        let mut nonce = [0; BOX_NONCE];
        random(&mut nonce)?;
        out.extend_from_slice(&nonce);
        // The tag comes before the text.
        let tag = out.len();
        out.resize(tag + TAG, 0);
        out.extend_from_slice(plain);
        let sealed = self
            .0
            .encrypt_in_place_detached(&nonce.into(), &[], &mut out[tag + TAG..])
            .map_err(|_| TransformError::new("secretbox could not seal the value"))?;
        out[tag..tag + TAG].copy_from_slice(&sealed);
        Ok(())
    }

    fn open(&self, _: Place<'_>, sealed: &[u8]) -> Result<(Vec<u8>, bool), TransformError> {
        let parts = sealed
            .split_first_chunk::<BOX_NONCE>()
            .and_then(|(nonce, rest)| Some((nonce, rest.split_first_chunk::<TAG>()?)));
        let Some((nonce, (tag, text))) = parts else {
            return Err(TransformError::new(TOO_SHORT));
        };
        let mut plain = text.to_vec();
        self.0
            .decrypt_in_place_detached(&(*nonce).into(), &[], &mut plain, &(*tag).into())
            // Upstream's words, whatever is wrong.
            .map_err(|_| TransformError::new("output array was not large enough for encryption"))?;
        Ok((plain, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> = Place {
        resource: "secrets",
        key: "/registry/secrets/a/b",
    };

    fn all() -> Vec<(&'static str, Box<dyn Cipher>)> {
        let key = [7; 32];
        vec![
            ("cbc", Box::new(Cbc::new(&key).unwrap())),
            ("cbc 16", Box::new(Cbc::new(&key[..16]).unwrap())),
            ("gcm", Box::new(Gcm::new(&key).unwrap())),
            ("gcm 24", Box::new(Gcm::new(&key[..24]).unwrap())),
            ("secretbox", Box::new(Secretbox::new(&key).unwrap())),
        ]
    }

    #[test]
    fn values_come_back() {
        for (name, cipher) in all() {
            for length in [0, 1, 15, 16, 17, 1000] {
                let plain = vec![3; length];
                let mut sealed = b"prefix:".to_vec();
                cipher.seal(PLACE, &plain, &mut sealed).unwrap();
                assert!(sealed.len() <= length + cipher.overhead());
                let sealed = &sealed[7..];
                assert_eq!(cipher.open(PLACE, sealed).unwrap(), (plain.clone(), false));
                let mut again = Vec::new();
                cipher.seal(PLACE, &plain, &mut again).unwrap();
                assert_ne!(again, sealed, "{name}: the nonce was used twice");
            }
        }
    }

    #[test]
    fn what_was_changed_is_refused() {
        for (name, cipher) in all() {
            let mut sealed = Vec::new();
            cipher.seal(PLACE, b"text", &mut sealed).unwrap();
            for length in 0..sealed.len() {
                assert!(
                    cipher.open(PLACE, &sealed[..length]).is_err(),
                    "{name} {length}"
                );
            }
            if name.starts_with("cbc") {
                continue;
            }
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert!(cipher.open(PLACE, &changed).is_err(), "{name} {at}");
            }
        }
    }

    #[test]
    fn gcm_binds_the_value_to_its_key() {
        let other = Place {
            key: "/registry/secrets/a/c",
            ..PLACE
        };
        for (name, cipher) in all() {
            let mut sealed = Vec::new();
            cipher.seal(PLACE, b"text", &mut sealed).unwrap();
            let opened = cipher.open(other, &sealed);
            match opened {
                Err(error) => assert_eq!(
                    (name.starts_with("gcm"), error.to_string().as_str()),
                    (true, NOT_AUTHENTIC)
                ),
                Ok(_) => assert!(!name.starts_with("gcm")),
            }
        }
    }

    /// A box that NaCl's own test has, as golang.org/x/crypto/nacl/secretbox writes it: tag first.
    #[test]
    fn secretbox_is_nacls() {
        let mut sealed = vec![2; BOX_NONCE];
        let expected = "8442bc313f4626f1359e3b50122b6ce6fe66ddfe7d39d14e637eb4fd5b45beadab55198df6ab5368439792a23c87db70acb6156dc5ef957ac04f6276cf6093b84be77ff0849cc33e34b7254d5a8f65ad";
        sealed.extend(
            (0..expected.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&expected[at..at + 2], 16).unwrap()),
        );
        let (plain, _) = Secretbox::new(&[1; 32])
            .unwrap()
            .open(PLACE, &sealed)
            .unwrap();
        assert_eq!(plain, [3; 64]);
    }

    #[test]
    fn keys_have_lengths() {
        assert_eq!(
            Gcm::new(&[0; 5]).err().unwrap(),
            "crypto/aes: invalid key size 5"
        );
        assert!(Cbc::new(&[0; 33]).is_err());
        assert!(Secretbox::new(&[0; 31]).is_err());
    }
}
