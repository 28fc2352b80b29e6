//! What is served besides the built-in documents, and changes while the server runs: custom resources and the documents
//! of aggregated servers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::aggregated::{self, Aggregated, BuiltIn, Merged};
use super::custom::{self, Custom};
use super::document::sha512_hex;
use super::pieces::Stored;
use super::relative_url;

/// The additions.
#[derive(Debug, Default)]
pub(super) struct Added {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the name of the CustomResourceDefinition.
    custom: BTreeMap<String, Arc<Custom>>,
    /// The documents of the third form that custom resources have, by name.
    third: BTreeMap<String, Arc<Third>>,
    /// Documents of the third form that others have made.
    documents: BTreeMap<String, Arc<Stored>>,
    /// Addresses of documents of the third form that other servers have, by name.
    links: BTreeMap<String, String>,
    /// Documents of the second form of other servers, by the name of the APIService.
    aggregated: BTreeMap<String, Arc<Aggregated>>,
    /// What they add, until one of them changes.
    merged: Arc<OnceLock<Merged>>,
    /// The merged documents of the second form, JSON and protobuf, until the next change.
    second: Arc<[OnceLock<Arc<Stored>>; 2]>,
}

/// What a CustomResourceDefinition changed, with upstream's reasons.
#[derive(Debug, PartialEq, Eq)]
pub struct Regenerated {
    /// Why the document of the second form is made anew.
    pub reason: &'static str,
    /// The documents of the third form, and why.
    pub third: Vec<(String, &'static str)>,
}

const ADD: &str = "add";
const UPDATE: &str = "update";
const REMOVE: &str = "remove";

/// One document of the third form.
#[derive(Debug, Default)]
struct Third {
    /// The resources of the group version.
    custom: Vec<Arc<Custom>>,
    stored: OnceLock<Arc<Stored>>,
}

impl Third {
    fn stored(&self, name: &str) -> Arc<Stored> {
        self.stored
            .get_or_init(|| Arc::new(custom::third(&self.custom, name)))
            .clone()
    }
}

impl Added {
    pub(super) fn set_custom(&self, name: &str, custom: Option<Custom>) -> Option<Regenerated> {
        let mut state = self.state.lock();
        let old = state.custom.get(name);
        match (old, &custom) {
            (None, None) => return None,
            (Some(old), Some(new)) if old.is_same(new) => return None,
            _ => {}
        }
        let mut regenerated = Regenerated {
            reason: match (old, &custom) {
                (None, _) => ADD,
                (_, Some(_)) => UPDATE,
                (_, None) => REMOVE,
            },
            third: Vec::new(),
        };
        let kept: BTreeSet<String> = custom.iter().flat_map(|custom| custom.names()).collect();
        let mut changed: Vec<String> = old.into_iter().flat_map(|old| old.names()).collect();
        match custom {
            Some(custom) => {
                changed.extend(custom.names());
                state.custom.insert(name.to_owned(), Arc::new(custom));
            }
            None => {
                state.custom.remove(name);
            }
        }
        for name in changed {
            let reason = match state.third.contains_key(&name) {
                _ if !kept.contains(&name) => REMOVE,
                true => UPDATE,
                false => ADD,
            };
            if !regenerated.third.iter().any(|(known, _)| *known == name) {
                regenerated.third.push((name.clone(), reason));
            }
            let custom: Vec<Arc<Custom>> = state
                .custom
                .values()
                .filter(|custom| custom.names().any(|known| known == name))
                .cloned()
                .collect();
            if custom.is_empty() {
                state.third.remove(&name);
            } else {
                let third = Third {
                    custom,
                    stored: OnceLock::new(),
                };
                state.third.insert(name, Arc::new(third));
            }
        }
        // Custom resources hide what an aggregated server says of the same group version.
        state.merged = Arc::default();
        state.second = Arc::default();
        Some(regenerated)
    }

    pub(super) fn set_document(&self, name: &str, document: Option<Stored>) {
        let mut state = self.state.lock();
        match document {
            Some(document) => state.documents.insert(name.to_owned(), Arc::new(document)),
            None => state.documents.remove(name),
        };
    }

    /// The document of the second form with the additions, or `None` when there are none. Takes the built-in document
    /// in JSON, the one as protobuf when that is asked for, and where to look up what is built in.
    pub(super) fn second(
        &self,
        json: &Stored,
        protobuf: Option<&Stored>,
        built_in: &dyn Fn(&BTreeSet<String>) -> BuiltIn,
    ) -> Option<Arc<Stored>> {
        let (custom, servers, merged, second) = {
            let state = self.state.lock();
            if state.custom.is_empty() && state.aggregated.is_empty() {
                return None;
            }
            let custom: Vec<Arc<Custom>> = state.custom.values().cloned().collect();
            let servers: Vec<Arc<Aggregated>> = state
                .aggregated
                .values()
                .filter(|server| !state.third.contains_key(&server.name))
                .cloned()
                .collect();
            (custom, servers, state.merged.clone(), state.second.clone())
        };
        let stored = second[usize::from(protobuf.is_some())].get_or_init(|| {
            let merged = (!servers.is_empty())
                .then(|| merged.get_or_init(|| aggregated::merge(&servers, built_in)));
            let mut hash = json.hash.clone();
            for custom in &custom {
                hash.push_str(&custom.second().hash);
            }
            hash.extend(merged.map(|merged| merged.hash.as_str()));
            let hash = sha512_hex(hash.as_bytes());
            let pieces = match protobuf {
                Some(built_in) => (built_in.pieces().iter().cloned())
                    .chain(custom.iter().map(|custom| custom.second_protobuf()))
                    .chain(merged.map(|merged| merged.protobuf.clone()))
                    .collect(),
                None => {
                    let mut pieces = json.pieces().to_vec();
                    // From the back, so that positions stay: after the parameters, the definitions, the paths.
                    pieces.splice(3..3, merged.map(|merged| merged.parameters.clone()));
                    let definitions = custom
                        .iter()
                        .map(|custom| custom.second().definitions.clone())
                        .chain(merged.map(|merged| merged.definitions.clone()));
                    pieces.splice(2..2, definitions);
                    let paths = custom
                        .iter()
                        .map(|custom| custom.second().paths.clone())
                        .chain(merged.map(|merged| merged.paths.clone()));
                    pieces.splice(1..1, paths);
                    pieces
                }
            };
            Arc::new(Stored::new(pieces, hash))
        });
        Some(stored.clone())
    }

    /// The document of the third form of this name.
    pub(super) fn third(&self, name: &str) -> Option<Arc<Stored>> {
        let third = {
            let state = self.state.lock();
            if let Some(document) = state.documents.get(name) {
                return Some(document.clone());
            }
            state.third.get(name)?.clone()
        };
        Some(third.stored(name))
    }

    /// The names and addresses of all documents of the third form.
    pub(super) fn addresses(&self) -> BTreeMap<String, String> {
        let (mut out, documents, custom) = {
            let state = self.state.lock();
            let (documents, custom) = (state.documents.clone(), state.third.clone());
            (state.links.clone(), documents, custom)
        };
        for (name, third) in custom {
            let url = relative_url(&name, &third.stored(&name).hash);
            out.insert(name, url);
        }
        for (name, document) in documents {
            let url = relative_url(&name, &document.hash);
            out.insert(name, url);
        }
        out
    }

    pub(super) fn link(&self, name: &str, url: Option<&str>) {
        let mut state = self.state.lock();
        match url {
            Some(url) => state.links.insert(name.to_owned(), url.to_owned()),
            None => state.links.remove(name),
        };
    }

    pub(super) fn is_linked(&self, name: &str) -> bool {
        self.state.lock().links.contains_key(name)
    }

    pub(super) fn set_aggregated(&self, api_service: &str, aggregated: Option<Aggregated>) {
        let mut state = self.state.lock();
        let old = state.aggregated.get(api_service);
        match (old, aggregated) {
            (None, None) => return,
            (Some(old), Some(new)) if old.is_same(&new) => return,
            (_, Some(new)) => {
                state
                    .aggregated
                    .insert(api_service.to_owned(), Arc::new(new));
            }
            (_, None) => {
                state.aggregated.remove(api_service);
            }
        }
        state.merged = Arc::default();
        state.second = Arc::default();
    }
}
