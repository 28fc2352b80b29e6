//! EventRateLimit: not too many events at once. Upstream: plugin/pkg/admission/eventratelimit.

use std::collections::HashMap;
use std::time::Instant;

use api_types::core::v1::Event;
use apimachinery::field::{self, ErrorList, Path};
use apimachinery::status;
use component_base::auth::BoxFuture;
use component_base::config::Document;
use parking_lot::Mutex;
use serde::Deserialize;

use crate::admission::{Attributes, Cluster, Operation, Plugin, Steps, Verdict};

const GROUP_VERSION: &str = "eventratelimit.admission.k8s.io/v1alpha1";
const DEFAULT_CACHE_SIZE: usize = 4096;
const TYPES: [&str; 4] = ["Namespace", "Server", "SourceAndObject", "User"];

#[derive(Debug, Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    limits: Vec<Limit>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limit {
    #[serde(default)]
    r#type: String,
    /// Events a second in the long run.
    #[serde(default)]
    qps: i32,
    /// Events at once.
    #[serde(default)]
    burst: i32,
    #[serde(default)]
    cache_size: i32,
}

pub(super) struct EventRateLimit {
    limits: Vec<Enforcer>,
}

/// One limit, kept apart for every key.
struct Enforcer {
    kind: String,
    qps: f64,
    burst: f64,
    size: usize,
    buckets: Mutex<HashMap<String, Bucket>>,
}

struct Bucket {
    tokens: f64,
    /// When the tokens were so many, which is when it was last used.
    at: Instant,
}

impl EventRateLimit {
    pub(super) fn new(text: Option<&[u8]>) -> Result<Self, String> {
        let configuration = text.map(read).transpose()?.unwrap_or_default();
        let errors = validate(&configuration);
        if let Some(problems) = errors.aggregate() {
            return Err(problems);
        }
        let size = |limit: &Limit| match usize::try_from(limit.cache_size).unwrap_or(0) {
            0 => DEFAULT_CACHE_SIZE,
            size => size,
        };
        let limits = configuration.limits.into_iter().map(|limit| Enforcer {
            qps: f64::from(limit.qps),
            burst: f64::from(limit.burst),
            size: size(&limit),
            kind: limit.r#type,
            buckets: Mutex::default(),
        });
        Ok(Self {
            limits: limits.collect(),
        })
    }
}

fn read(text: &[u8]) -> Result<Configuration, String> {
    let document = Document::parse(text).map_err(|error| error.to_string())?;
    if (&*document.api_version, &*document.kind) != (GROUP_VERSION, "Configuration") {
        return Err(document.unknown().to_string());
    }
    serde_json::from_slice(document.json()).map_err(|error| error.to_string())
}

fn validate(configuration: &Configuration) -> ErrorList {
    let path = Path::new("limits");
    let mut errors = ErrorList::new();
    if configuration.limits.is_empty() {
        errors.push(field::invalid(
            &path,
            serde_json::Value::Null,
            "must not be empty",
        ));
    }
    for (index, limit) in configuration.limits.iter().enumerate() {
        let path = path.index(index);
        if !TYPES.contains(&&*limit.r#type) {
            let given = limit.r#type.as_str();
            errors.push(field::not_supported(&path.child("type"), given, &TYPES));
        }
        for (name, value) in [("burst", limit.burst), ("qps", limit.qps)] {
            if value <= 0 {
                errors.push(field::invalid(&path.child(name), value, "must be positive"));
            }
        }
        if limit.r#type != "Server" && limit.cache_size < 0 {
            let path = path.child("cacheSize");
            errors.push(field::invalid(
                &path,
                limit.cache_size,
                "must not be negative",
            ));
        }
    }
    errors
}

impl Plugin for EventRateLimit {
    fn name(&self) -> &'static str {
        "EventRateLimit"
    }

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let kind = &attributes.kind;
            if !kind.group.is_empty() || kind.kind != "Event" || attributes.dry_run {
                return Ok(());
            }
            let now = Instant::now();
            let refusals = self.limits.iter().filter_map(|limit| {
                let key = limit.key(attributes);
                let refused = !limit.take(&key, now);
                refused.then(|| format!("limit reached on type {} for key {key}", limit.kind))
            });
            match field::aggregate(refusals) {
                None => Ok(()),
                Some(text) => Err(status::too_many_requests_error(text)),
            }
        })
    }
}

impl Enforcer {
    fn key(&self, attributes: &Attributes) -> String {
        match self.kind.as_str() {
            "Namespace" => attributes.namespace.clone(),
            "User" => attributes.user.name.clone(),
            "SourceAndObject" => match attributes.object::<Event>() {
                Some(event) => {
                    let object = &event.involved_object;
                    let source = &event.source;
                    [
                        &source.component,
                        &source.host,
                        &object.kind,
                        &object.namespace,
                        &object.name,
                        &object.uid,
                        &object.api_version,
                    ]
                    .map(String::as_str)
                    .concat()
                }
                None => String::new(),
            },
            _ => String::new(),
        }
    }

    /// Takes a token, if there is one.
    fn take(&self, key: &str, now: Instant) -> bool {
        let mut buckets = self.buckets.lock();
        if !buckets.contains_key(key) && buckets.len() >= self.size {
            let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                buckets.remove(&oldest);
            }
        }
        let bucket = buckets.entry(key.to_owned()).or_insert(Bucket {
            tokens: self.burst,
            at: now,
        });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.qps).min(self.burst);
        bucket.at = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn new(limits: &str) -> Result<EventRateLimit, String> {
        let text = format!("apiVersion: {GROUP_VERSION}\nkind: Configuration\nlimits: {limits}\n");
        EventRateLimit::new(Some(text.as_bytes()))
    }

    #[test]
    fn tokens_come_back() {
        let plugin = new("[{type: Namespace, qps: 2, burst: 3, cacheSize: 2}]").expect("a limit");
        let limit = &plugin.limits[0];
        let start = Instant::now();
        let taken = |key: &str, milliseconds: u64, count: usize| {
            let now = start + Duration::from_millis(milliseconds);
            (0..count).filter(|_| limit.take(key, now)).count()
        };
        assert_eq!(taken("a", 0, 5), 3);
        assert_eq!(taken("b", 0, 5), 3);
        assert_eq!(taken("a", 1000, 5), 2);
        assert_eq!(taken("a", 9000, 5), 3);
        // The third key takes the place of the one that was not used for longest.
        assert_eq!(taken("c", 9000, 1), 1);
        assert_eq!(taken("b", 9000, 5), 3);
    }

    #[test]
    fn configurations_are_checked() {
        let why = new("[{type: X, qps: 1}, {type: User, burst: 1, qps: 1, cacheSize: -1}]").err();
        assert_eq!(
            why.as_deref(),
            Some(
                "[limits[0].type: Unsupported value: \"X\": supported values: \"Namespace\", \"Server\", \"SourceAndObject\", \"User\", \
                  limits[0].burst: Invalid value: 0: must be positive, limits[1].cacheSize: Invalid value: -1: must not be negative]"
            )
        );
        let why = EventRateLimit::new(None).err();
        assert_eq!(
            why.as_deref(),
            Some("limits: Invalid value: null: must not be empty")
        );
    }
}
