//! Where cases come from. Everything below `cases/` is data:
//!
//! - `objects.yaml`: the least that each resource's kind demands. `$N` in a text is a number that differs between objects.
//! - `rest.yaml`: what is asked of every resource; written once, applied to each row of `api_types::resources`.
//! - `requests/*.yaml`: requests that are about no resource in particular, or about one alone.
//! - `rich/*.yaml`: objects with much in them, for defaults.
//! - `invalid/*.yaml`: small changes to good objects that make them bad, or that updates must refuse.
//!
//! [`decode`] needs no file: it gives each field of each kind a value of another type.

mod decode;
mod resource;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api_types::resources::RESOURCES;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Error;
use crate::case::{Case, Changes, Step, merge};
use resource::Subject;

/// Minimal objects by `group/resource`, the core group's by the resource alone, and by `group/version/resource` where versions differ.
pub(crate) type Objects = BTreeMap<String, Value>;

/// A step as a map, or as the text of its target.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Value")]
struct StepRow(Result<Step, String>);

impl From<Value> for StepRow {
    fn from(value: Value) -> Self {
        Self(match value {
            Value::String(target) => Ok(Step::send(target)),
            other => {
                serde_json::from_value(other.clone()).map_err(|error| format!("{error} in {other}"))
            }
        })
    }
}

/// Named lists of steps.
type Steps = BTreeMap<String, Vec<StepRow>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Requests {
    /// Before all else, on an untouched cluster.
    #[serde(default)]
    first: bool,
    /// The resource whose variables the steps use.
    #[serde(default)]
    of: Option<String>,
    cases: Steps,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rich {
    of: String,
    /// Merged into the minimal object unless `alone`.
    object: Value,
    #[serde(default)]
    alone: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Invalid {
    of: String,
    /// Merged into the minimal object before it is changed.
    #[serde(default)]
    with: Value,
    /// Changes to what is created.
    #[serde(default)]
    create: Vec<Changes>,
    /// Changes to what was created.
    #[serde(default)]
    update: Vec<Changes>,
    /// The same through the status subresource.
    #[serde(default)]
    status: Vec<Changes>,
    /// The same through other subresources.
    #[serde(default)]
    subresources: BTreeMap<String, Vec<Changes>>,
}

pub(crate) fn load(folder: &Path, all_resources: bool) -> Result<Vec<Case>, Error> {
    let objects: Objects = read(&folder.join("objects.yaml"))?;
    let rest_path = folder.join("rest.yaml");
    let rest: Steps = read(&rest_path)?;
    let mut cases = Vec::new();

    for (path, requests) in read_folder::<Requests>(&folder.join("requests"))? {
        let topic = stem(&path);
        for (name, rows) in requests.cases {
            let steps = steps(&path, rows)?;
            let name = format!("{topic}/{name}");
            let mut case = match &requests.of {
                Some(of) => subject(&path, of, &objects)?.case(&topic, 0, &name, &steps),
                None => Some(Case {
                    name,
                    steps,
                    ..Case::default()
                }),
            };
            if let Some(case) = &mut case {
                case.first = requests.first;
            }
            cases.extend(case);
        }
    }

    let served: Vec<Subject> = RESOURCES
        .iter()
        .filter(|info| info.storage.is_some() && (info.default_on || all_resources))
        .map(|info| Subject::new(info, &objects))
        .collect();
    for subject in &served {
        for (number, (name, rows)) in rest.iter().enumerate() {
            let name = format!("rest/{}/{name}", subject.key());
            let steps = steps(&rest_path, rows.clone())?;
            cases.extend(subject.case("rest", number, &name, &steps));
        }
    }

    for (path, rows) in read_folder::<Vec<Rich>>(&folder.join("rich"))? {
        for (number, rich) in rows.into_iter().enumerate() {
            let mut subject = subject(&path, &rich.of, &objects)?;
            if rich.alone {
                let metadata = subject.minimal["metadata"].clone();
                subject.minimal = Value::Null;
                merge(
                    &mut subject.minimal,
                    &serde_json::json!({ "metadata": metadata }),
                );
            }
            merge(&mut subject.minimal, &rich.object);
            let name = format!("rich/{}/{}-{number}", subject.key(), stem(&path));
            cases.extend(subject.case("rich", number, &name, &rich_steps()));
        }
    }

    for (path, rows) in read_folder::<Vec<Invalid>>(&folder.join("invalid"))? {
        for (number, invalid) in rows.into_iter().enumerate() {
            let mut subject = subject(&path, &invalid.of, &objects)?;
            if !invalid.with.is_null() {
                merge(&mut subject.minimal, &invalid.with);
            }
            let name = format!("invalid/{}/{}-{number}", subject.key(), stem(&path));
            cases.extend(subject.case("invalid", number, &name, &invalid_steps(&invalid)));
        }
    }

    cases.extend(decode::cases(&served));
    Ok(cases)
}

/// Created, read back in each form, updated without a change.
fn rich_steps() -> Vec<Step> {
    let created = Step {
        object: Some(Changes::new()),
        needed: true,
        ..Step::send("POST ${base}")
    };
    let accepting = |accept: &str| Step {
        accept: Some(accept.to_owned()),
        ..Step::send("GET ${item}")
    };
    vec![
        created,
        accepting("application/json;as=Table;v=v1;g=meta.k8s.io"),
        accepting("application/vnd.kubernetes.protobuf"),
        Step {
            object: Some(resource_version()),
            ..Step::send("PUT ${item}")
        },
        Step::send("DELETE ${item}?gracePeriodSeconds=0"),
    ]
}

fn resource_version() -> Changes {
    Changes::from([("/metadata/resourceVersion".to_owned(), "${rv}".into())])
}

/// Nothing is kept but what updates start from.
fn invalid_steps(invalid: &Invalid) -> Vec<Step> {
    let mut steps: Vec<Step> = invalid
        .create
        .iter()
        .map(|changes| Step {
            object: Some(changes.clone()),
            ..Step::send("POST ${base}?dryRun=All")
        })
        .collect();
    let subresources = invalid
        .subresources
        .iter()
        .map(|(name, rows)| (format!("/{name}"), rows));
    let updates: Vec<(String, &Vec<Changes>)> = [
        (String::new(), &invalid.update),
        ("/status".to_owned(), &invalid.status),
    ]
    .into_iter()
    .chain(subresources)
    .filter(|(_, rows)| !rows.is_empty())
    .collect();
    if updates.is_empty() {
        return steps;
    }
    steps.push(Step {
        object: Some(Changes::new()),
        needed: true,
        ..Step::send("POST ${base}")
    });
    for (subresource, rows) in updates {
        steps.extend(rows.iter().map(|changes| {
            let mut changes = changes.clone();
            for (pointer, value) in resource_version() {
                changes.entry(pointer).or_insert(value);
            }
            Step {
                object: Some(changes),
                ..Step::send(format!("PUT ${{item}}{subresource}?dryRun=All"))
            }
        }));
    }
    steps.push(Step::send("DELETE ${item}?gracePeriodSeconds=0"));
    steps
}

fn subject(path: &Path, key: &str, objects: &Objects) -> Result<Subject, Error> {
    Subject::find(key, objects).ok_or_else(|| Error::Cases {
        path: path.to_owned(),
        reason: format!("no resource is called {key}"),
    })
}

fn steps(path: &Path, rows: Vec<StepRow>) -> Result<Vec<Step>, Error> {
    rows.into_iter()
        .map(|row| {
            row.0.map_err(|reason| Error::Cases {
                path: path.to_owned(),
                reason,
            })
        })
        .collect()
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_saphyr::from_str(&text).map_err(|error| Error::Cases {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// All files of a folder, by name.
fn read_folder<T: DeserializeOwned>(folder: &Path) -> Result<Vec<(PathBuf, T)>, Error> {
    let unreadable = |source| Error::Read {
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| Ok((path.clone(), read(&path)?)))
        .collect()
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
    }

    #[test]
    fn the_files_can_be_read_and_names_are_unique() {
        let cases = load(&folder(), true).expect("the case files are well formed");
        let mut names = BTreeSet::new();
        for case in &cases {
            assert!(
                names.insert(&case.name),
                "two cases are called {}",
                case.name
            );
            assert!(!case.steps.is_empty(), "{} has no steps", case.name);
        }
    }

    #[test]
    fn every_stored_resource_has_a_minimal_object() {
        let objects: Objects =
            read(&folder().join("objects.yaml")).expect("the objects are well formed");
        for info in RESOURCES.iter().filter(|info| info.storage.is_some()) {
            assert!(
                resource::minimal(info, &objects).is_some(),
                "objects.yaml has no {} of {}",
                info.resource,
                info.group
            );
        }
    }
}
