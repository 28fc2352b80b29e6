//! Random name suffixes, for `metadata.generateName` and for names that controllers make up.
//!
//! Upstream: apimachinery/pkg/util/rand `String` and apiserver/pkg/storage/names.

use rand::Rng;

/// Characters of generated names: no vowels, so that few words form, and no characters that look alike.
pub const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Length of the random part of a generated name.
pub const SUFFIX_LENGTH: usize = 5;

/// Longest base that `generate_name` keeps, in bytes: a generated name has at most 63.
pub const MAX_GENERATED_NAME_LENGTH: usize = 63 - SUFFIX_LENGTH;

/// A random string of that many characters.
pub fn random_string(length: usize) -> String {
    let mut rng = rand::rng();
    (0..length)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect()
}

/// The base, cut to 58 bytes, with five random characters added.
pub fn generate_name(base: &str) -> String {
    let mut end = base.len().min(MAX_GENERATED_NAME_LENGTH);
    // Names are ASCII once validated; a base that is not must still not split a character.
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    name.push_str(&random_string(SUFFIX_LENGTH));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_have_the_right_length_and_alphabet() {
        for (base, length) in [
            ("foo-", 9),
            ("", 5),
            (&"a".repeat(58), 63),
            (&"a".repeat(200), 63),
            (&"é".repeat(40), 63),
        ] {
            let name = generate_name(base);
            assert_eq!(name.len(), length, "{base}");
            assert!(
                name.bytes()
                    .rev()
                    .take(SUFFIX_LENGTH)
                    .all(|b| ALPHABET.contains(&b)),
                "{name}"
            );
        }
    }

    #[test]
    fn suffixes_differ() {
        let names: std::collections::BTreeSet<String> =
            (0..100).map(|_| random_string(10)).collect();
        assert_eq!(names.len(), 100);
    }
}
