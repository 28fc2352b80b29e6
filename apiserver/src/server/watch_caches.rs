//! Which resources have a watch cache: `--watch-cache` and `--watch-cache-sizes`. Upstream: server/options/etcd.go.

use component_base::flags::Flags;

/// What the server itself looks up for each request that it concerns. These keep their caches whatever the flags say.
const NEEDED: [(&str, &str); 8] = [
    ("", "services"),
    (ADMISSION, "mutatingadmissionpolicies"),
    (ADMISSION, "mutatingadmissionpolicybindings"),
    (ADMISSION, "mutatingwebhookconfigurations"),
    (ADMISSION, "validatingadmissionpolicies"),
    (ADMISSION, "validatingadmissionpolicybindings"),
    (ADMISSION, "validatingwebhookconfigurations"),
    ("networking.k8s.io", "ipaddresses"),
];
const ADMISSION: &str = "admissionregistration.k8s.io";

/// What the flags say.
pub struct WatchCaches {
    /// Whether there are any.
    on: bool,
    /// Group and resource of those without one.
    off: Vec<(String, String)>,
}

impl WatchCaches {
    /// The sizes were validated before.
    pub fn new(flags: &Flags) -> WatchCaches {
        let mut off = Vec::new();
        for size in flags.strings("watch-cache-sizes") {
            let (resource, size) = size.split_once('#').unwrap_or((size, ""));
            if size.trim_start_matches(['+', '-', '0']).is_empty() {
                let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
                off.push((group.to_owned(), resource.to_owned()));
            } else {
                tracing::warn!(
                    "Dropping watch-cache-size for {resource} - watchCache size is now dynamic"
                );
            }
        }
        WatchCaches {
            on: flags.bool("watch-cache"),
            off,
        }
    }

    /// Whether a built-in resource has one.
    pub fn has(&self, group: &str, resource: &str) -> bool {
        let off = || {
            let mut rows = self.off.iter();
            rows.any(|(of, name)| of == group && name == resource)
        };
        self.on && !off() || NEEDED.contains(&(group, resource))
    }

    /// Whether custom resources have them.
    pub fn of_custom_resources(&self) -> bool {
        self.on
    }
}

#[cfg(test)]
mod tests {
    use component_base::flags::Parsed;

    use super::*;
    use crate::config::flags::COMMAND;

    fn caches(flags: &[&str]) -> WatchCaches {
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        let Ok(Parsed::Run(flags)) = Flags::parse(&COMMAND, flags) else {
            panic!("flags")
        };
        WatchCaches::new(&flags)
    }

    #[test]
    fn caches_can_be_switched_off_one_by_one_or_all() {
        let all = caches(&[]);
        assert!(all.has("", "events") && all.of_custom_resources());
        let some = caches(&["--watch-cache-sizes=events#0,deployments.apps#0,pods#5"]);
        assert!(!some.has("", "events") && !some.has("apps", "deployments"));
        assert!(some.has("", "pods") && some.has("extensions", "deployments"));
        let none = caches(&["--watch-cache=false"]);
        assert!(!none.has("", "pods") && !none.of_custom_resources());
        assert!(none.has("", "services"), "the server needs it");
    }
}
