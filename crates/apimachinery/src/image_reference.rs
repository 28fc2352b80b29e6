//! Image names: `[domain/]path[:tag][@digest]`. Upstream: `pkg/util/parsers` on distribution's reference grammar.

/// An image name taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Full repository, with `docker.io/library/` where the name left it out.
    pub repository: String,
    /// Tag; `latest` when the name has neither tag nor digest.
    pub tag: String,
    /// Digest, empty without one.
    pub digest: String,
}

const LONGEST_NAME: usize = 255;
/// Algorithms of digests, and how many digits each has.
const DIGESTS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// What the grammar makes of an image name: the tag and the digest, empty ones for none.
fn tag_and_digest(image: &str) -> Option<(&str, &str)> {
    let (tagged, digest) = match image.split_once('@') {
        Some((tagged, digest)) if is_digest(digest) => (tagged, digest),
        Some(_) => return None,
        None => (image, ""),
    };
    let last = tagged.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match tagged[last..].split_once(':') {
        Some((name, tag)) if is_tag(tag) => (&tagged[..last + name.len()], tag),
        Some(_) => return None,
        None => (tagged, ""),
    };
    let path = match name.split_once('/') {
        Some((first, rest)) if is_path_component(first) || is_domain(first) => rest,
        Some(_) => return None,
        None => name,
    };
    path.split('/')
        .all(is_path_component)
        .then_some((tag, digest))
}

/// Letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_path_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_in_words = [bytes.first(), bytes.last()]
        .into_iter()
        .all(|end| end.is_some_and(|byte| is_word(*byte)));
    ends_in_words
        && bytes.split(|byte| is_word(*byte)).all(|between| {
            matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|byte| *byte == b'-')
        })
}

/// A host with or without a port; IPv6 addresses in brackets.
fn is_domain(text: &str) -> bool {
    let is_number = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if let Some(address) = text.strip_prefix('[') {
        let Some((address, port)) = address.split_once(']') else {
            return false;
        };
        return !address.is_empty()
            && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_number));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    port.is_none_or(is_number)
        && host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Names with `-`, `_`, `+` or `.` between them, a colon, and 32 hexadecimal digits or more.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else {
        return false;
    };
    digits.len() >= 32
        && digits.bytes().all(|b| b.is_ascii_hexdigit())
        && algorithm.split(['-', '_', '+', '.']).all(|name| {
            name.starts_with(|first: char| first.is_ascii_alphabetic())
                && name.bytes().all(|b| b.is_ascii_alphanumeric())
        })
}

fn split_domain(name: &str) -> (String, String) {
    let (domain, rest) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.to_lowercase() != first =>
        {
            (first, rest)
        }
        _ => ("docker.io", name),
    };
    let domain = if domain == "index.docker.io" {
        "docker.io"
    } else {
        domain
    };
    let rest = if domain == "docker.io" && !rest.contains('/') {
        format!("library/{rest}")
    } else {
        rest.to_owned()
    };
    (domain.to_owned(), rest)
}

/// Takes an image name apart.
///
/// # Errors
/// With upstream's text when the name is none.
pub fn parse(image: &str) -> Result<Reference, String> {
    let fail = |why: &str| Err(format!("couldn't parse image name {image:?}: {why}"));
    if image.len() == 64
        && image
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    {
        return fail(&format!(
            "invalid repository name ({image}), cannot specify 64-byte hexadecimal strings"
        ));
    }
    let (domain, rest) = split_domain(image);
    let without_tag = rest.split(['@']).next().unwrap_or("");
    let repository_part = match without_tag.rfind(':') {
        Some(at) if !without_tag[at..].contains('/') => &without_tag[..at],
        _ => without_tag,
    };
    let remote = rest.split(':').next().unwrap_or_default();
    if remote.to_lowercase() != remote {
        return fail(&format!(
            "invalid reference format: repository name ({remote}) must be lowercase"
        ));
    }
    let Some((tag, digest)) = tag_and_digest(image) else {
        return fail("invalid reference format");
    };
    if domain.len() + 1 + repository_part.len() > LONGEST_NAME {
        return fail(&format!(
            "repository name must not be more than {LONGEST_NAME} characters"
        ));
    }
    if let Some((algorithm, hex)) = digest.split_once(':') {
        let Some((_, length)) = DIGESTS.iter().find(|(name, _)| *name == algorithm) else {
            return fail("unsupported digest algorithm");
        };
        if hex.len() != *length {
            return fail("invalid checksum digest length");
        }
        if hex.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return fail("invalid checksum digest format");
        }
    }
    Ok(Reference {
        repository: format!("{domain}/{repository_part}"),
        tag: if tag.is_empty() && digest.is_empty() {
            "latest".to_owned()
        } else {
            tag.to_owned()
        },
        digest: digest.to_owned(),
    })
}

/// The name with `:latest` where it has neither tag nor digest; otherwise as it was written.
///
/// # Errors
/// As [`parse`].
pub fn with_default_tag(image: &str) -> Result<String, String> {
    let reference = parse(image)?;
    if reference.digest.is_empty()
        && !reference.tag.is_empty()
        && !image.ends_with(&format!(":{}", reference.tag))
    {
        return Ok(format!("{image}:{}", reference.tag));
    }
    Ok(image.to_owned())
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use regex::Regex;

    use super::*;

    #[track_caller]
    fn check(image: &str, repository: &str, tag: &str, digest: &str) {
        let got = parse(image).expect(image);
        assert_eq!(
            (
                got.repository.as_str(),
                got.tag.as_str(),
                got.digest.as_str()
            ),
            (repository, tag, digest),
            "{image}"
        );
    }

    #[test]
    fn upstream_cases() {
        let digest = "sha256:f4d1f7a1b1b1f7c8b2a3d1f7a1b1b1f7c8b2a3d1f7a1b1b1f7c8b2a3d1f7a1b1";
        check("root", "docker.io/library/root", "latest", "");
        check("root:tag", "docker.io/library/root", "tag", "");
        check(
            &format!("root@{digest}"),
            "docker.io/library/root",
            "",
            digest,
        );
        check("user/repo", "docker.io/user/repo", "latest", "");
        check("user/repo:tag", "docker.io/user/repo", "tag", "");
        check("url:5000/repo", "url:5000/repo", "latest", "");
        check("url:5000/repo:tag", "url:5000/repo", "tag", "");
        check(
            &format!("url:5000/repo:tag@{digest}"),
            "url:5000/repo",
            "tag",
            digest,
        );
        check(
            "index.docker.io/library/x",
            "docker.io/library/x",
            "latest",
            "",
        );
        check("localhost/x", "localhost/x", "latest", "");
    }

    #[test]
    fn bad_names() {
        assert_eq!(
            parse("ROOT").expect_err("upper case"),
            "couldn't parse image name \"ROOT\": invalid reference format: repository name (library/ROOT) must be lowercase"
        );
        assert_eq!(
            parse("http://root").expect_err("scheme"),
            "couldn't parse image name \"http://root\": invalid reference format"
        );
        for bad in ["", "a b", "a@sha256:12", "a:", "-a", "INVALID_IMAGE"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        let of = |algorithm: &str, digit: &str, digits| {
            let image = format!("a@{algorithm}:{}", digit.repeat(digits));
            parse(&image).err().and_then(|error| {
                let reason = error.rsplit(": ").next().map(str::to_owned);
                reason.filter(|reason| !reason.is_empty())
            })
        };
        assert_eq!(of("sha256", "0", 64), None);
        let wrong = [
            (of("sha256", "0", 40), "invalid checksum digest length"),
            (of("sha256", "A", 64), "invalid checksum digest format"),
            (of("md5", "0", 32), "unsupported digest algorithm"),
        ];
        for (got, want) in wrong {
            assert_eq!(got.as_deref(), Some(want));
        }
        let long = "a".repeat(255);
        assert!(parse(&long).is_err() && parse(&long[..200]).is_ok());
    }

    /// The grammar as distribution has it.
    fn grammar() -> Regex {
        const DOMAIN: &str = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[(?:[a-fA-F0-9:]+)\]";
        const PATH: &str = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
        let text = format!(
            r"^(?P<name>(?:(?:{DOMAIN})(?::[0-9]+)?/)?{PATH}(?:/{PATH})*)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{{32,}}))?$"
        );
        Regex::new(&text).expect("a pattern")
    }

    #[test]
    fn names_are_what_the_grammar_says() {
        let grammar = grammar();
        let mut random = StdRng::seed_from_u64(1);
        let pieces = [
            "a",
            "b1",
            "A",
            "é",
            ".",
            "_",
            "__",
            "-",
            "--",
            ":",
            "/",
            "@",
            "[",
            "]",
            "5000",
            "host.io",
            "[::1]",
            "[fe]",
            "localhost",
            "sha256:",
            "md5",
            "@sha256:00000000000000000000000000000000",
            "@a+b:",
            "+",
            "\n",
            "",
            "00000000000000000000000000000000",
        ];
        let (mut names, mut tags, mut digests) = (0, 0, 0);
        for _ in 0..300_000 {
            let count = random.random_range(1..8);
            let image: String = (0..count)
                .map(|_| pieces[random.random_range(0..pieces.len())])
                .collect();
            let expected = grammar.captures(&image).map(|found| {
                let part = |name| found.name(name).map_or("", |part| part.as_str()).to_owned();
                (part("tag"), part("digest"))
            });
            let got =
                tag_and_digest(&image).map(|(tag, digest)| (tag.to_owned(), digest.to_owned()));
            assert_eq!(got, expected, "{image:?}");
            names += usize::from(expected.is_some());
            tags += usize::from(expected.as_ref().is_some_and(|(tag, _)| !tag.is_empty()));
            digests += usize::from(expected.is_some_and(|(_, digest)| !digest.is_empty()));
        }
        assert!(
            names > 10_000 && tags > 1_000 && digests > 100,
            "{names} {tags} {digests}"
        );
    }

    #[test]
    fn default_tags() {
        for (image, want) in [
            ("busybox", "busybox:latest"),
            ("busybox:1", "busybox:1"),
            ("r.io:5/a", "r.io:5/a:latest"),
            ("latest", "latest:latest"),
        ] {
            assert_eq!(with_default_tag(image).expect(image), want);
        }
    }
}
