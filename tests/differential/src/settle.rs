//! Waiting for what a server itself writes into an object that was just written.
//!
//! Controllers inside the servers give definitions, APIServices and flow schemas their conditions, and take deleted
//! definitions away. When they do is luck, and how many writes they need is nobody's business; so both sides wait, after each
//! write of such an object, until nothing more is to come, and what a case asks next has one answer.

use std::time::{Duration, Instant};

use serde_json::Value;

/// How often is looked, and how long nothing may change.
const INTERVAL: Duration = Duration::from_millis(50);
const QUIET: Duration = Duration::from_millis(300);
/// What has not come by then is not waited for.
const LIMIT: Duration = Duration::from_secs(10);

/// A resource whose objects are written by the server too.
struct Settling {
    collection: &'static str,
    /// Whether an object has what the server gives it.
    complete: fn(&Value) -> bool,
}

const RESOURCES: [Settling; 3] = [
    Settling {
        collection: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        complete: |object| {
            let refused = condition(object, "NamesAccepted") == Some("False");
            refused || condition(object, "Established") == Some("True")
        },
    },
    Settling {
        collection: "/apis/apiregistration.k8s.io/v1/apiservices",
        complete: |object| condition(object, "Available").is_some(),
    },
    Settling {
        collection: "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
        complete: |object| condition(object, "Dangling").is_some(),
    },
];

fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    let mut conditions = object["status"]["conditions"].as_array()?.iter();
    let found = conditions.find(|condition| condition["type"] == name)?;
    found["status"].as_str()
}

/// What is looked at after a write: an object, or a selection of a collection.
pub(crate) struct Settle {
    pub path: String,
    complete: fn(&Value) -> bool,
    deadline: Instant,
    last: Value,
    /// Since when what is seen is the same.
    since: Instant,
}

impl Settle {
    /// For a request that succeeded with this answer, if it wrote such an object.
    pub(crate) fn after(verb: &str, target: &str, answer: &Value) -> Option<Self> {
        if matches!(verb, "GET" | "HEAD") || target.contains("dryRun") {
            return None;
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let row = RESOURCES
            .iter()
            .find(|row| path.starts_with(row.collection))?;
        let named = path[row.collection.len()..].trim_start_matches('/');
        let named = named.split('/').next().unwrap_or_default();
        let name = match (named, answer["metadata"]["name"].as_str()) {
            ("", name) => name.filter(|_| verb == "POST"),
            (name, _) => Some(name),
        };
        let path = match name {
            Some(name) => format!("{}/{name}", row.collection),
            None => format!("{}?{query}", row.collection),
        };
        let now = Instant::now();
        Some(Self {
            path,
            complete: row.complete,
            deadline: now + LIMIT,
            last: Value::Null,
            since: now,
        })
    }

    /// How long to wait before looking again; `None` when `seen` is what stays. What is gone, or is to go and is held back,
    /// stays so.
    pub(crate) fn wait(&mut self, is_there: bool, seen: &Value) -> Option<Duration> {
        let now = Instant::now();
        if !is_there || now > self.deadline {
            return None;
        }
        // The revision of a list is that of the whole cluster.
        let seen = seen.get("items").unwrap_or(seen);
        if self.last != *seen {
            self.last = seen.clone();
            self.since = now;
        }
        let going = !seen["metadata"]["deletionTimestamp"].is_null();
        let complete = match seen.as_array() {
            Some(items) => items.iter().all(self.complete),
            None => going || (self.complete)(seen),
        };
        (!complete || now - self.since < QUIET).then_some(INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn path(verb: &str, target: &str, answer: Value) -> Option<String> {
        Settle::after(verb, target, &answer).map(|settle| settle.path)
    }

    #[test]
    fn what_is_looked_at() {
        let schemas = RESOURCES[2].collection;
        let object = json!({"metadata": {"name": "a"}});
        assert_eq!(
            path("POST", schemas, object.clone()),
            Some(format!("{schemas}/a"))
        );
        assert_eq!(
            path("PUT", &format!("{schemas}/b/status?x=1"), json!({})),
            Some(format!("{schemas}/b"))
        );
        assert_eq!(
            path("DELETE", &format!("{schemas}?labelSelector=a"), json!({})),
            Some(format!("{schemas}?labelSelector=a"))
        );
        for (verb, target) in [
            ("GET", schemas.to_owned()),
            ("POST", format!("{schemas}?dryRun=All")),
            ("POST", "/api/v1/namespaces".to_owned()),
        ] {
            assert_eq!(path(verb, &target, object.clone()), None, "{verb} {target}");
        }
    }

    #[test]
    fn until_all_is_there_and_stays() {
        let target = RESOURCES[2].collection;
        let settle = || Settle::after("POST", target, &json!({"metadata": {"name": "a"}})).unwrap();
        let complete = json!({"status": {"conditions": [{"type": "Dangling", "status": "True"}]}});
        assert!(settle().wait(false, &Value::Null).is_none());
        assert!(settle().wait(true, &json!({})).is_some());
        let mut waiting = settle();
        assert!(waiting.wait(true, &complete).is_some(), "it may change");
        waiting.since -= QUIET;
        assert!(waiting.wait(true, &complete).is_none());
        let mut changed = settle();
        changed.since -= QUIET;
        assert!(changed.wait(true, &complete).is_some());
        let mut late = settle();
        late.deadline = late.since - QUIET;
        assert!(late.wait(true, &json!({})).is_none());
    }
}
