//! FNV-1a and FNV-1 hashes of 32 bits, and the encoding that turns a hash into part of an object's name.
//!
//! Upstream: Go's hash/fnv and apimachinery/pkg/util/rand `SafeEncodeString`. The pod-template-hash label and the names of
//! controller revisions are made of these.

use crate::rand_suffix::ALPHABET;

const OFFSET: u32 = 2_166_136_261;
const PRIME: u32 = 16_777_619;

/// A running 32-bit FNV-1 hash (`fnv.New32`): multiply, then xor.
#[derive(Debug, Clone, Copy)]
pub struct Fnv32(u32);

impl Default for Fnv32 {
    fn default() -> Self {
        Self(OFFSET)
    }
}

impl Fnv32 {
    /// Adds bytes to the hash.
    pub fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(PRIME) ^ u32::from(*byte);
        }
    }

    /// The hash of everything written so far.
    pub fn sum(self) -> u32 {
        self.0
    }
}

/// A running 32-bit FNV-1a hash (`fnv.New32a`): xor, then multiply.
#[derive(Debug, Clone, Copy)]
pub struct Fnv32a(u32);

impl Default for Fnv32a {
    fn default() -> Self {
        Self(OFFSET)
    }
}

impl Fnv32a {
    /// Adds bytes to the hash.
    pub fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(PRIME);
        }
    }

    /// The hash of everything written so far.
    pub fn sum(self) -> u32 {
        self.0
    }
}

/// The 32-bit FNV-1 hash of the bytes.
pub fn fnv32(bytes: &[u8]) -> u32 {
    let mut hash = Fnv32::default();
    hash.write(bytes);
    hash.sum()
}

/// The 32-bit FNV-1a hash of the bytes.
pub fn fnv32a(bytes: &[u8]) -> u32 {
    let mut hash = Fnv32a::default();
    hash.write(bytes);
    hash.sum()
}

/// The 64-bit FNV-1a hash of the bytes (`fnv.New64a`).
pub fn fnv64a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(14_695_981_039_346_656_037, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211)
    })
}

/// Rewrites text in the alphabet of generated names, so that names made from hashes look like other generated names.
pub fn safe_encode_string(text: &str) -> String {
    text.bytes()
        .map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes() {
        // Values from Go's hash/fnv tests.
        let cases: &[(&[u8], u32, u32, u64)] = &[
            (b"", 0x811c_9dc5, 0x811c_9dc5, 0xcbf2_9ce4_8422_2325),
            (b"a", 0x050c_5d7e, 0xe40c_292c, 0xaf63_dc4c_8601_ec8c),
            (b"ab", 0x7077_2d38, 0x4d25_05ca, 0x089c_4407_b545_986a),
            (b"abc", 0x439c_2f4b, 0x1a47_e90b, 0xe71f_a219_0541_574b),
        ];
        for (bytes, one, one_a, long) in cases {
            assert_eq!(fnv32(bytes), *one);
            assert_eq!(fnv32a(bytes), *one_a);
            assert_eq!(fnv64a(bytes), *long);
        }
    }

    #[test]
    fn safe_encoding() {
        // Digits of a decimal hash, as in a ReplicaSet's name: '0' is 48, and 48 % 27 = 21.
        assert_eq!(safe_encode_string("0123456789"), "456789bcdf");
        assert_eq!(safe_encode_string(""), "");
    }
}
