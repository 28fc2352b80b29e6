//! What this build calls itself. Upstream: k8s.io/component-base/version, cli/flag verflag, apimachinery/pkg/version.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use apimachinery::quote::quote;
use serde::Serialize;

use crate::flags::Flags;

/// Major version of the Kubernetes release whose behaviour this is.
pub const MAJOR: u32 = 1;
/// Minor version of the Kubernetes release whose behaviour this is.
pub const MINOR: u32 = 36;
/// The version every daemon reports.
pub const GIT_VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// The version to report instead, from `--version=vX.Y.Z-something`.
static REPORTED: OnceLock<String> = OnceLock::new();

/// Whether [`set_reported`] takes a version; the error is upstream's.
pub fn check_reported(version: &str) -> Result<(), String> {
    match version.strip_prefix(GIT_VERSION) {
        Some(rest) if rest.is_empty() || rest.starts_with(['-', '+']) => Ok(()),
        _ => Err(format!(
            "version {} must match major/minor/patch of default version {}",
            quote(version),
            quote(GIT_VERSION)
        )),
    }
}

/// The oldest minor version that can be emulated.
const OLDEST_EMULATED: u32 = MINOR - 3;

/// A version without a patch, and how upstream shows it. Upstream: apimachinery/pkg/util/version and toVersionMap of compatibility.
fn minor_version(component: &str, text: &str) -> Result<((u32, u32), String), String> {
    let digits = text.strip_prefix('v').unwrap_or(text);
    let end = digits
        .find(|c: char| c != '.' && !c.is_ascii_digit())
        .unwrap_or(digits.len());
    let numbers = digits[..end].trim_end_matches('.');
    if !numbers.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("could not parse {} as version", quote(text)));
    }
    let parts: Result<Vec<u32>, _> = numbers.split('.').map(str::parse).collect();
    let (parts, major) = match parts {
        Ok(parts) => (parts, numbers.split('.').next().unwrap_or_default()),
        Err(_) => return Err(format!("could not parse {} as version", quote(text))),
    };
    if major.starts_with('0') && major != "0" {
        let (major, text) = (quote(major), quote(text));
        return Err(format!(
            "illegal zero-prefixed version component {major} in {text}"
        ));
    }
    let shown: Vec<String> = parts.iter().map(ToString::to_string).collect();
    let shown = shown.join(".");
    match parts[..] {
        [_] | [] => Err(format!("illegal version string {}", quote(text))),
        [_, _, patch, ..] if patch != 0 => Err(format!(
            "patch version not allowed, got: {component}={shown}"
        )),
        [major, minor, ..] => Ok(((major, minor), shown)),
    }
}

/// What is wrong with `--emulated-version` and `--min-compatibility-version`, in upstream's words.
pub fn validate_emulation(flags: &Flags) -> Vec<String> {
    let of_kube = |name: &str| -> Result<Option<(u32, u32)>, String> {
        let mut versions: BTreeMap<&str, ((u32, u32), String)> = BTreeMap::new();
        for element in flags.strings(name) {
            let (component, text) = element.split_once('=').unwrap_or(("kube", element));
            let (component, text) = (component.trim(), text.trim());
            let (version, shown) = minor_version(component, text)?;
            if let Some((_, before)) = versions.get(component) {
                return Err(format!(
                    "duplicate version flag, {component}={before} and {component}={shown}"
                ));
            }
            versions.insert(component, (version, shown));
        }
        match versions.keys().find(|component| **component != "kube") {
            Some(other) => Err(format!("component not registered: {other}")),
            None => Ok(versions.get("kube").map(|(version, _)| *version)),
        }
    };
    let (emulated, least) = match (
        of_kube("emulated-version"),
        of_kube("min-compatibility-version"),
    ) {
        (Ok(emulated), Ok(least)) => (emulated.unwrap_or((MAJOR, MINOR)), least),
        // What is wrong with the first hides what is wrong with the second.
        (Err(why), _) | (_, Err(why)) => return vec![why],
    };
    let oldest = (MAJOR, OLDEST_EMULATED);
    let least = least.unwrap_or_else(|| (emulated.0, emulated.1.saturating_sub(1)).max(oldest));
    let mut errors = Vec::new();
    let (low, high) = (
        format!("{MAJOR}.{OLDEST_EMULATED}"),
        format!("{}.{}", emulated.0, emulated.1),
    );
    if !(oldest..=(MAJOR, MINOR)).contains(&emulated) {
        errors.push(format!(
            "emulation version {high} is not between [{low}, {MAJOR}.{MINOR}.0]"
        ));
    }
    if least < oldest || least > emulated {
        errors.push(format!(
            "minCompatibilityVersion version {}.{} is not between [{low}, {high}]",
            least.0, least.1
        ));
    }
    errors
}

/// Makes the daemon report a version with a suffix of its own. The first call counts.
pub fn set_reported(version: &str) -> Result<(), String> {
    check_reported(version)?;
    let _ = REPORTED.set(version.to_owned());
    Ok(())
}

/// The version the daemon reports.
pub fn git_version() -> &'static str {
    REPORTED.get().map_or(GIT_VERSION, String::as_str)
}

/// What is built without a word about it is built from files alone; who names a commit means what is in it. Upstream:
/// hack/lib/version.sh.
const fn tree_state(commit: Option<&'static str>, state: Option<&'static str>) -> &'static str {
    match (commit, state) {
        (_, Some(state)) => state,
        (Some(_), None) => "clean",
        (None, None) => "archive",
    }
}

/// The body of `/version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    pub major: String,
    pub minor: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub emulation_major: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub emulation_minor: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub min_compatibility_major: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub min_compatibility_minor: String,
    pub git_version: String,
    pub git_commit: String,
    pub git_tree_state: String,
    pub build_date: String,
    /// Clients print this field; it names the compiler release here.
    pub go_version: String,
    pub compiler: String,
    pub platform: String,
}

impl Info {
    /// What this binary was built from.
    pub fn get() -> Self {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            major: MAJOR.to_string(),
            minor: MINOR.to_string(),
            emulation_major: String::new(),
            emulation_minor: String::new(),
            min_compatibility_major: String::new(),
            min_compatibility_minor: String::new(),
            git_version: git_version().to_owned(),
            git_commit: option_env!("PINTLE_GIT_COMMIT")
                .unwrap_or_default()
                .to_owned(),
            git_tree_state: tree_state(
                option_env!("PINTLE_GIT_COMMIT"),
                option_env!("PINTLE_GIT_TREE_STATE"),
            )
            .to_owned(),
            build_date: option_env!("PINTLE_BUILD_DATE")
                .unwrap_or("1970-01-01T00:00:00Z")
                .to_owned(),
            go_version: concat!("rustc", env!("CARGO_PKG_RUST_VERSION")).to_owned(),
            compiler: "rustc".to_owned(),
            platform: format!("{}/{arch}", std::env::consts::OS),
        }
    }

    /// [`Self::get`] with the versions the apiserver emulates and stays compatible with.
    pub fn for_apiserver() -> Self {
        Self {
            emulation_major: MAJOR.to_string(),
            emulation_minor: MINOR.to_string(),
            min_compatibility_major: MAJOR.to_string(),
            min_compatibility_minor: (MINOR - 1).to_string(),
            ..Self::get()
        }
    }

    /// Indented JSON, as `/version` has it.
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}

/// The text of `--version` and `--version=raw`.
pub fn text(asked: &str) -> String {
    match asked {
        "raw" => {
            let info = Info::get();
            let fields = [
                ("Major", &info.major),
                ("Minor", &info.minor),
                ("EmulationMajor", &info.emulation_major),
                ("EmulationMinor", &info.emulation_minor),
                ("MinCompatibilityMajor", &info.min_compatibility_major),
                ("MinCompatibilityMinor", &info.min_compatibility_minor),
                ("GitVersion", &info.git_version),
                ("GitCommit", &info.git_commit),
                ("GitTreeState", &info.git_tree_state),
                ("BuildDate", &info.build_date),
                ("GoVersion", &info.go_version),
                ("Compiler", &info.compiler),
                ("Platform", &info.platform),
            ];
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}:{}", quote(value)))
                .collect();
            format!("version.Info{{{}}}", fields.join(", "))
        }
        _ => format!("Kubernetes {}", git_version()),
    }
}

/// The `User-Agent` of a daemon's clients: `kube-scheduler/v1.36.2 (linux/amd64) kubernetes/<commit>`.
pub fn user_agent(daemon: &str) -> String {
    let info = Info::get();
    let commit = info.git_commit.get(..7).unwrap_or("unknown");
    format!(
        "{daemon}/{} ({}) kubernetes/{commit}",
        info.git_version, info.platform
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reported_version_keeps_its_numbers() {
        assert_eq!(check_reported("v1.36.2-acme.1"), Ok(()));
        assert_eq!(
            check_reported("v1.35.0").unwrap_err(),
            "version \"v1.35.0\" must match major/minor/patch of default version \"v1.36.2\""
        );
        assert!(check_reported("v1.36.23").is_err());
    }

    #[test]
    fn states_of_the_tree() {
        assert_eq!(tree_state(None, None), "archive");
        assert_eq!(tree_state(Some("8e16b12"), None), "clean");
        assert_eq!(tree_state(Some("8e16b12"), Some("dirty")), "dirty");
    }

    #[test]
    fn emulated_versions() {
        #[track_caller]
        fn check(arguments: &[&str], want: &[&str]) {
            let command = crate::flags::Command {
                name: "test",
                description: "",
                flags: &[crate::flags::Group {
                    section: "Generic",
                    rows: crate::flags::common::EMULATION,
                }],
                features: &[],
                usage_style: crate::flags::UsageStyle::ErrorOnly,
            };
            let arguments = arguments.iter().map(|argument| (*argument).to_owned());
            match Flags::parse(&command, arguments) {
                Ok(crate::flags::Parsed::Run(flags)) => {
                    assert_eq!(validate_emulation(&flags), want);
                }
                other => panic!("{other:?}"),
            }
        }
        check(&[], &[]);
        check(&["--emulated-version=kube=1.34"], &[]);
        check(
            &["--emulated-version=1.20"],
            &[
                "emulation version 1.20 is not between [1.33, 1.36.0]",
                "minCompatibilityVersion version 1.33 is not between [1.33, 1.20]",
            ],
        );
        check(
            &["--emulated-version=9.9"],
            &["emulation version 9.9 is not between [1.33, 1.36.0]"],
        );
        check(
            &["--min-compatibility-version=1.37"],
            &["minCompatibilityVersion version 1.37 is not between [1.33, 1.36]"],
        );
        for (value, why) in [
            ("foo", "could not parse \"foo\" as version"),
            ("a=b=c", "could not parse \"b=c\" as version"),
            ("1", "illegal version string \"1\""),
            (
                "01.35",
                "illegal zero-prefixed version component \"01\" in \"01.35\"",
            ),
            ("kube=1.35.1", "patch version not allowed, got: kube=1.35.1"),
            (
                "1.34,kube=1.35",
                "duplicate version flag, kube=1.34 and kube=1.35",
            ),
            ("wardle=1.2", "component not registered: wardle"),
        ] {
            let flag = format!("--emulated-version={value}");
            check(&[&flag, "--min-compatibility-version=foo"], &[why]);
        }
        check(&["--emulated-version=kube=v1.35.0"], &[]);
        check(&["--emulated-version= kube = 1.35"], &[]);
    }

    #[test]
    fn texts() {
        assert_eq!(text("true"), "Kubernetes v1.36.2");
        assert!(
            text("raw").starts_with("version.Info{Major:\"1\", Minor:\"36\", EmulationMajor:\"\"")
        );
        assert!(user_agent("kubelet").starts_with("kubelet/v1.36.2 (linux/"));
        let json: serde_json::Value =
            serde_json::from_slice(&Info::for_apiserver().json()).unwrap();
        assert_eq!(json["gitVersion"], "v1.36.2");
        assert_eq!(json["minCompatibilityMinor"], "35");
    }
}
