//! Image names: `[domain/]path[:tag][@digest]`. Upstream: `pkg/util/parsers` on distribution's reference grammar.

use std::sync::OnceLock;

use regex::Regex;

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
const DOMAIN: &str = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[(?:[a-fA-F0-9:]+)\]";
const PATH: &str = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";

fn grammar() -> &'static Regex {
    static GRAMMAR: OnceLock<Regex> = OnceLock::new();
    GRAMMAR.get_or_init(|| {
        let text = format!(
            r"^(?P<name>(?:(?:{DOMAIN})(?::[0-9]+)?/)?{PATH}(?:/{PATH})*)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{{32,}}))?$"
        );
        Regex::new(&text).expect("a constant pattern")
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
    let Some(found) = grammar().captures(image) else {
        return fail("invalid reference format");
    };
    if domain.len() + 1 + repository_part.len() > LONGEST_NAME {
        return fail(&format!(
            "repository name must not be more than {LONGEST_NAME} characters"
        ));
    }
    let tag = found.name("tag").map_or("", |tag| tag.as_str());
    let digest = found.name("digest").map_or("", |digest| digest.as_str());
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
