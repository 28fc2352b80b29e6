//! Levels, versions and the labels that choose them. Upstream: pod-security-admission/api.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use apimachinery::field::{self, ErrorList, Path};

/// Before the names of labels and audit annotations.
pub(super) const PREFIX: &str = "pod-security.kubernetes.io/";

/// How strict a policy is. The order is that of strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    /// What clients are told about others.
    const EXPECTED: &str = "must be one of privileged, baseline, restricted";

    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "privileged" => Ok(Self::Privileged),
            "baseline" => Ok(Self::Baseline),
            "restricted" => Ok(Self::Restricted),
            _ => Err(Self::EXPECTED),
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// The Kubernetes version whose rules count. The latest is after all others, those of the future too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// 1.x
    Minor(i64),
    Latest,
}

impl Version {
    const EXPECTED: &str = "must be \"latest\" or \"v1.x\"";

    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let minor = text.strip_prefix("v1.").filter(|minor| {
            minor.bytes().all(|byte| byte.is_ascii_digit())
                && (*minor == "0" || !minor.starts_with('0'))
        });
        minor
            .and_then(|minor| minor.parse().ok())
            .map(Self::Minor)
            .ok_or(Self::EXPECTED)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Minor(minor) => write!(f, "v1.{minor}"),
        }
    }
}

/// A level in a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LevelVersion {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl LevelVersion {
    pub(super) const PRIVILEGED: Self = Self {
        level: Level::Privileged,
        version: Version::Latest,
    };

    /// Whether both ask for the same.
    fn is_like(self, other: Self) -> bool {
        self == other || (self.level, other.level) == (Level::Privileged, Level::Privileged)
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level.as_str(), self.version)
    }
}

/// What is asked of the pods of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: LevelVersion,
    pub(super) audit: LevelVersion,
    pub(super) warn: LevelVersion,
}

impl Policy {
    pub(super) const PRIVILEGED: Self = Self {
        enforce: LevelVersion::PRIVILEGED,
        audit: LevelVersion::PRIVILEGED,
        warn: LevelVersion::PRIVILEGED,
    };

    /// The policy of a namespace with these labels, and what is wrong with them. With a wrong label the strictest is enforced.
    pub(super) fn of_labels(
        labels: &BTreeMap<String, String>,
        defaults: &Self,
    ) -> (Self, ErrorList) {
        let mut policy = *defaults;
        let mut errors = Vec::new();
        // Most namespaces say nothing: their labels are not gone through.
        let from = (Bound::Included(PREFIX), Bound::Unbounded);
        let mut from = labels.range::<str, _>(from);
        if !from.next().is_some_and(|(key, _)| key.starts_with(PREFIX)) {
            return (policy, ErrorList(errors));
        }
        let mut find = |mode: &str| {
            let read = |key: String| {
                let value = labels.get(&key)?;
                Some((key, value))
            };
            let level = read(format!("{PREFIX}{mode}")).map(|(key, value)| {
                Level::parse(value).map_err(|detail| errors.push(wrong(key, value, detail)))
            });
            let version = read(format!("{PREFIX}{mode}-version")).map(|(key, value)| {
                Version::parse(value)
                    .inspect_err(|detail| errors.push(wrong(key, value, detail)))
                    .unwrap_or(Version::Latest)
            });
            (level, version)
        };
        let (enforce, enforce_version) = find("enforce");
        let (audit, audit_version) = find("audit");
        let (warn, warn_version) = find("warn");
        // A wrong level is the strictest for pods, and none for what only tells.
        let level = |found: Option<Result<Level, ()>>, wrong: Level, default: Level| {
            found.map_or(default, |level| level.unwrap_or(wrong))
        };
        policy.enforce.level = level(enforce, Level::Restricted, policy.enforce.level);
        policy.audit.level = level(audit, Level::Privileged, policy.audit.level);
        policy.warn.level = level(warn, Level::Privileged, policy.warn.level);
        for (mode, version) in [
            (&mut policy.enforce, enforce_version),
            (&mut policy.audit, audit_version),
            (&mut policy.warn, warn_version),
        ] {
            mode.version = version.unwrap_or(mode.version);
        }
        // What is enforced by a label is warned about, too: in templates of pods.
        if warn.is_none()
            && matches!(enforce, Some(Ok(_)))
            && policy.enforce.level > policy.warn.level
        {
            policy.warn.level = policy.enforce.level;
            if warn_version.is_none() {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, ErrorList(errors))
    }

    pub(super) fn is_privileged(&self) -> bool {
        self.modes()
            .iter()
            .all(|(_, mode)| mode.level == Level::Privileged)
    }

    pub(super) fn is_like(&self, other: &Self) -> bool {
        let pairs = self.modes().into_iter().zip(other.modes());
        pairs.into_iter().all(|((_, a), (_, b))| a.is_like(b))
    }

    /// The modes by their labels' names.
    pub(super) fn modes(&self) -> [(&'static str, LevelVersion); 3] {
        [
            ("enforce", self.enforce),
            ("audit", self.audit),
            ("warn", self.warn),
        ]
    }
}

fn wrong(key: String, value: &str, detail: &str) -> field::Error {
    let path = Path::new("metadata").child("labels").key(key);
    field::invalid(&path, value, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(labels: &[(&str, &str)]) -> (String, String) {
        let labels = labels
            .iter()
            .map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned()))
            .collect();
        let (policy, errors) = Policy::of_labels(&labels, &Policy::PRIVILEGED);
        let text = policy.modes().map(|(_, mode)| mode.to_string()).join(" ");
        (text, errors.to_string())
    }

    #[test]
    fn labels_are_read() {
        for (labels, expected, errors) in [
            (
                &[][..],
                "privileged:latest privileged:latest privileged:latest",
                "",
            ),
            (
                &[("enforce", "baseline"), ("enforce-version", "v1.5")],
                "baseline:v1.5 privileged:latest baseline:v1.5",
                "",
            ),
            (
                &[
                    ("enforce", "baseline"),
                    ("enforce-version", "v1.5"),
                    ("warn-version", "v1.6"),
                ],
                "baseline:v1.5 privileged:latest baseline:v1.6",
                "",
            ),
            (
                &[
                    ("enforce", "restricted"),
                    ("warn", "baseline"),
                    ("audit", "baseline"),
                ],
                "restricted:latest baseline:latest baseline:latest",
                "",
            ),
            (
                &[("enforce", "x"), ("audit-version", "v1.01")],
                "restricted:latest privileged:latest privileged:latest",
                "[metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"x\": must be one of privileged, baseline, restricted, \
                 metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: \"v1.01\": must be \"latest\" or \"v1.x\"]",
            ),
            (
                &[("warn", "x"), ("audit", ""), ("enforce", "baseline")],
                "baseline:latest privileged:latest privileged:latest",
                "[metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: \"\": must be one of privileged, baseline, restricted, \
                 metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: \"x\": must be one of privileged, baseline, restricted]",
            ),
        ] {
            assert_eq!(policy(labels), (expected.to_owned(), errors.to_owned()));
        }
    }

    #[test]
    fn versions_are_read_and_ordered() {
        for (text, expected) in [
            ("latest", Ok(Version::Latest)),
            ("v1.0", Ok(Version::Minor(0))),
            ("v1.36", Ok(Version::Minor(36))),
            ("v1.999", Ok(Version::Minor(999))),
        ] {
            assert_eq!(Version::parse(text), expected);
            assert_eq!(Version::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "v1",
            "v1.",
            "v1.00",
            "v1.1.0",
            "v2.0",
            "1.1",
            "v1.-1",
            "v1.99999999999999999999",
        ] {
            assert_eq!(Version::parse(text), Err(Version::EXPECTED), "{text}");
        }
        assert!(Version::Minor(9) < Version::Minor(10) && Version::Minor(999) < Version::Latest);
    }
}
