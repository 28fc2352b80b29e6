//! What is served besides the built-in documents, and changes while the server runs: custom resources and the documents
//! of aggregated servers.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::custom::{self, Custom};
use super::document::sha512_hex;
use super::pieces::Stored;

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
    /// The merged documents of the second form, JSON and protobuf, until the next change.
    second: Arc<[OnceLock<Arc<Stored>>; 2]>,
}

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
    pub(super) fn set_custom(&self, name: &str, custom: Option<Custom>) {
        let mut state = self.state.lock();
        let old = state.custom.get(name);
        match (old, &custom) {
            (None, None) => return,
            (Some(old), Some(new)) if old.is_same(new) => return,
            _ => {}
        }
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
        state.second = Arc::default();
    }

    pub(super) fn set_document(&self, name: &str, document: Option<Stored>) {
        let mut state = self.state.lock();
        match document {
            Some(document) => state.documents.insert(name.to_owned(), Arc::new(document)),
            None => state.documents.remove(name),
        };
    }

    /// The document of the second form with the additions, or `None` when there are none. Takes the built-in document
    /// in JSON, and as protobuf when that is asked for.
    pub(super) fn second(&self, json: &Stored, protobuf: Option<&Stored>) -> Option<Arc<Stored>> {
        let (custom, merged) = {
            let state = self.state.lock();
            if state.custom.is_empty() {
                return None;
            }
            let custom: Vec<Arc<Custom>> = state.custom.values().cloned().collect();
            (custom, state.second.clone())
        };
        let cell = &merged[usize::from(protobuf.is_some())];
        let stored = cell.get_or_init(|| {
            let mut hash = json.hash.clone();
            for custom in &custom {
                hash.push_str(&custom.second().hash);
            }
            let hash = sha512_hex(hash.as_bytes());
            let pieces = match protobuf {
                Some(built_in) => (built_in.pieces().iter().cloned())
                    .chain(custom.iter().map(|custom| custom.second_protobuf()))
                    .collect(),
                None => {
                    let mut pieces = json.pieces().to_vec();
                    // From the back, so that positions stay: after the definitions, after the paths.
                    let definitions = custom
                        .iter()
                        .map(|custom| custom.second().definitions.clone());
                    pieces.splice(2..2, definitions);
                    let paths = custom.iter().map(|custom| custom.second().paths.clone());
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

    /// All documents of the third form.
    pub(super) fn thirds(&self) -> Vec<(String, Arc<Stored>)> {
        let (mut out, custom) = {
            let state = self.state.lock();
            (state.documents.clone(), state.third.clone())
        };
        for (name, third) in custom {
            out.entry(name.clone())
                .or_insert_with(|| third.stored(&name));
        }
        out.into_iter().collect()
    }
}
