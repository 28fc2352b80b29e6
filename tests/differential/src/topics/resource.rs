//! A resource as cases see it: paths, names, a minimal object.

use std::collections::BTreeMap;

use api_types::resources::{RESOURCES, ResourceInfo};
use serde_json::{Value, json};

use super::Objects;
use crate::case::{Case, Step, change};

/// What is between the numbers of a case's first and second object.
const NEXT_OBJECT: usize = 80;

/// Sets objects of one topic apart from those of another where names are addresses.
fn topic_number(topic: &str) -> usize {
    match topic {
        "rest" => 0,
        "rich" => 1,
        "invalid" => 2,
        "decode" => 3,
        _ => 4,
    }
}

/// A resource to write cases about.
pub(crate) struct Subject {
    pub info: &'static ResourceInfo,
    /// Without `apiVersion` and `kind`.
    pub minimal: Value,
}

/// `group/resource`, the core group's without a slash.
fn key(info: &ResourceInfo) -> String {
    match info.group {
        "" => info.resource.to_owned(),
        group => format!("{group}/{}", info.resource),
    }
}

fn versioned_key(info: &ResourceInfo) -> String {
    format!("{}/{}/{}", info.group, info.version, info.resource)
}

pub(crate) fn minimal(info: &ResourceInfo, objects: &Objects) -> Option<Value> {
    objects
        .get(&versioned_key(info))
        .or_else(|| objects.get(&key(info)))
        .cloned()
}

impl Subject {
    pub(crate) fn new(info: &'static ResourceInfo, objects: &Objects) -> Self {
        Self {
            info,
            minimal: minimal(info, objects).unwrap_or_else(|| json!({})),
        }
    }

    /// By `resource`, `group/resource` (the first version that has it), or `group/version/resource`.
    pub(crate) fn find(name: &str, objects: &Objects) -> Option<Self> {
        let info = RESOURCES
            .iter()
            .find(|info| versioned_key(info) == name || key(info) == name)?;
        Some(Self::new(info, objects))
    }

    /// The shortest name that tells it from others.
    pub(crate) fn key(&self) -> String {
        let key = key(self.info);
        let first = RESOURCES.iter().find(|info| self::key(info) == key);
        match first {
            Some(first) if first.version != self.info.version => versioned_key(self.info),
            _ => key,
        }
    }

    pub(crate) fn api_version(&self) -> String {
        match self.info.group {
            "" => self.info.version.to_owned(),
            group => format!("{group}/{}", self.info.version),
        }
    }

    /// A case about this resource, or none when it lacks what the case needs. `number` makes names that hold numbers differ.
    pub(crate) fn case(
        &self,
        topic: &str,
        number: usize,
        name: &str,
        steps: &[Step],
    ) -> Option<Case> {
        let vars = self.vars(topic, number, name);
        let mut kept = Vec::new();
        for step in steps {
            let wanted = step
                .condition
                .as_deref()
                .is_none_or(|condition| self.meets(condition));
            if wanted {
                kept.push(self.with_object(step.clone()));
            } else if step.needed {
                return None;
            }
        }
        if kept.is_empty() {
            return None;
        }
        let vocabulary = self.vocabulary(&vars);
        Some(Case {
            name: name.to_owned(),
            first: false,
            vars,
            vocabulary,
            steps: kept,
        })
    }

    /// `verb`, `subresource/verb`, `namespaced`; `!` before it turns it around.
    fn meets(&self, condition: &str) -> bool {
        condition.split(" and ").all(|condition| {
            let (wanted, condition) = match condition.strip_prefix('!') {
                Some(rest) => (false, rest),
                None => (true, condition),
            };
            let met = match condition.split_once('/') {
                Some((name, verb)) => self
                    .info
                    .subresources
                    .iter()
                    .any(|sub| sub.name == name && sub.verbs.contains(&verb)),
                None if condition == "namespaced" => self.info.namespaced,
                None if condition == "core" => self.info.group.is_empty(),
                None => self.info.verbs.contains(&condition),
            };
            met == wanted
        })
    }

    /// Puts the minimal object with its changes into the step's body.
    fn with_object(&self, mut step: Step) -> Step {
        let Some(changes) = &step.object else {
            return step;
        };
        let mut object = self.minimal.clone();
        if !object.is_object() {
            object = json!({});
        }
        object["apiVersion"] = "${apiVersion}".into();
        object["kind"] = "${kind}".into();
        object["metadata"]["name"] = "${name}".into();
        change(&mut object, changes);
        let text = object
            .to_string()
            .replace("$N", "${N}")
            .replace("$T", "${T}");
        let text = if step.nth > 1 {
            text.replace("${name}", &format!("${{name{}}}", step.nth))
                .replace("${N}", &format!("${{N{}}}", step.nth))
        } else {
            text
        };
        step.body = serde_json::from_str(&text).ok();
        step
    }

    fn vars(&self, topic: &str, number: usize, case: &str) -> BTreeMap<String, String> {
        let info = self.info;
        let short = case.rsplit('/').next().unwrap_or(case);
        let group = info.group.split('.').next().unwrap_or_default();
        let mut namespace = format!("{topic}-{}-{group}{}", info.resource, info.version);
        namespace.truncate(60);
        let mut base = match info.group {
            "" => format!("/api/{}", info.version),
            group => format!("/apis/{group}/{}", info.version),
        };
        let root = base.clone();
        let all = format!("{base}/{}", info.resource);
        if info.namespaced {
            base = format!("{base}/namespaces/{namespace}");
        }
        base = format!("{base}/{}", info.resource);

        let mut vars = BTreeMap::new();
        let mut put = |name: &str, value: String| drop(vars.insert(name.to_owned(), value));
        put("root", root);
        put("all", all);
        put("base", base.clone());
        put("apiVersion", self.api_version());
        put("group", info.group.to_owned());
        put("version", info.version.to_owned());
        put("resource", info.resource.to_owned());
        put("kind", info.kind.to_owned());
        put("case", short.to_owned());
        // The same object is there in each version: those of a later version have names of their own.
        let is_later = self.key() == versioned_key(info);
        let topic_number = (topic_number(topic) + if is_later { 5 } else { 0 }).to_string();
        let version = if is_later { info.version } else { "" };
        put("T", topic_number.clone());
        if info.namespaced {
            put("ns", namespace);
        }
        for nth in 1..=3 {
            let suffix = if nth == 1 {
                String::new()
            } else {
                nth.to_string()
            };
            let number = (1 + number + (nth - 1) * NEXT_OBJECT).to_string();
            let name = match self
                .minimal
                .pointer("/metadata/name")
                .and_then(Value::as_str)
            {
                Some(special) => special.replace("$N", &number).replace("$T", &topic_number),
                None => format!("{topic}-{short}{version}{suffix}"),
            };
            put(&format!("item{suffix}"), format!("{base}/{name}"));
            put(&format!("name{suffix}"), name);
            put(&format!("N{suffix}"), number);
        }
        vars
    }

    fn vocabulary(&self, vars: &BTreeMap<String, String>) -> Vec<(String, &'static str)> {
        let mut words: Vec<(String, &'static str)> = vec![
            (self.api_version(), "<apiVersion>"),
            (self.info.resource.to_owned(), "<resource>"),
            (self.info.kind.to_owned(), "<Kind>"),
            (self.info.group.to_owned(), "<group>"),
        ];
        for (name, placeholder) in [
            ("ns", "<namespace>"),
            ("name", "<name>"),
            ("name2", "<name2>"),
            ("name3", "<name3>"),
        ] {
            if let Some(value) = vars.get(name) {
                words.push((value.clone(), placeholder));
            }
        }
        // A name must not be cut up by a shorter word in it; "v1" alone says too little to be replaced.
        words.retain(|(word, _)| word.len() > 2);
        words.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        words
    }
}
