//! Typed objects compare as their JSON documents do.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::schema::JsonForm;
use api_types::{
    Duration, IntOrString, MicroTime, Quantity, Struct, Time, Value as ApiValue, ViewMut,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use super::*;
use crate::gvk::GroupVersionKind;
use crate::managedfields::entries::SERVER_FIELDS;
use crate::managedfields::typed::{compare_objects, fields_of_created};

/// Changes about one in `rarity` of the parts of a value to something out of a small choice, so that keys of lists repeat
/// and meet again.
struct Changer {
    random: StdRng,
    rarity: u32,
}

impl Changer {
    fn hits(&mut self) -> bool {
        self.random.random_ratio(1, self.rarity)
    }

    fn pick(&mut self, among: u32) -> u32 {
        self.random.random_range(0..among)
    }

    fn change_struct(&mut self, target: &mut dyn Struct, depth: usize) {
        let schema = target.schema();
        let only = match schema.json_form {
            JsonForm::Object => None,
            _ => Some(self.pick(2) as usize),
        };
        let first = usize::from(depth == 0);
        for index in first..schema.fields.len() {
            if only.is_none_or(|only| only == index) {
                self.change(target.get_mut(index), depth + 1);
            }
        }
    }

    fn change(&mut self, value: &mut dyn ApiValue, depth: usize) {
        let is_container = matches!(value.view_mut(), ViewMut::Struct(_) | ViewMut::List(_));
        if depth > 7 || (!is_container && !self.hits()) {
            return;
        }
        match value.view_mut() {
            ViewMut::String(v) => *v = ["", "a", "b", "c"][self.pick(4) as usize].to_owned(),
            ViewMut::Bool(v) => *v = self.pick(2) == 0,
            ViewMut::Int32(v) => *v = self.pick(3) as i32,
            ViewMut::Int64(v) => *v = i64::from(self.pick(3)),
            ViewMut::Uint32(v) => *v = self.pick(3),
            ViewMut::Float64(v) => *v = f64::from(self.pick(3)) / 2.0,
            ViewMut::Float32(v) => *v = self.pick(3) as f32,
            ViewMut::Bytes(v) => v.0 = vec![7; self.pick(2) as usize],
            ViewMut::Quantity(v) => {
                let text = ["1", "1000m", "2Gi"][self.pick(3) as usize];
                *v = Quantity::parse(text).expect("a quantity");
            }
            ViewMut::Time(v) => *v = Time::from_unix(i64::from(self.pick(2)) + 1),
            ViewMut::MicroTime(v) => {
                *v = MicroTime::from_unix_micros(i64::from(self.pick(2)) + 1);
            }
            ViewMut::Duration(v) => *v = Duration::from_secs(i64::from(self.pick(2))),
            ViewMut::TimeOrMetaDuration(_) => {}
            ViewMut::IntOrString(v) => {
                *v = match self.pick(3) {
                    0 => IntOrString::String("a".to_owned()),
                    n => IntOrString::Int(n as i32),
                }
            }
            ViewMut::RawJson(v) => {
                let texts: [&[u8]; 4] = [b"", br#"{"a":1}"#, br#"{ "a": 1 }"#, br#"{"a":[2]}"#];
                *v = texts[self.pick(4) as usize].to_vec();
            }
            ViewMut::Struct(v) => self.change_struct(v, depth),
            ViewMut::Pointer(v) => match self.pick(4) {
                0 => v.clear(),
                _ => self.change(v.get_or_default(), depth),
            },
            ViewMut::List(v) => {
                if self.hits() {
                    match self.pick(3) {
                        0 => v.clear(),
                        _ => {
                            v.push_default();
                        }
                    }
                }
                for index in 0..v.len() {
                    self.change(v.item_mut(index), depth);
                }
            }
            ViewMut::StringMap(v) => {
                let key = ["a", "b", "c"][self.pick(3) as usize];
                match self.pick(3) {
                    0 => {
                        v.remove(key);
                    }
                    n => {
                        v.insert(key.to_owned(), n.to_string());
                    }
                }
            }
            ViewMut::Map(v) => {
                let key = ["a", "b", "c"][self.pick(3) as usize];
                match self.pick(4) {
                    0 => v.clear(),
                    _ => self.change(v.insert_default(key.to_owned()), depth),
                }
            }
        }
    }
}

fn document(object: &dyn Struct, api_version: &str, kind: &str) -> Value {
    let header = api_types::codec::Header { api_version, kind };
    serde_json::from_slice(&api_types::encode_json_as(object, header)).expect("JSON")
}

#[test]
fn as_their_documents() {
    let (mut compared, mut refused, mut differing) = (0, 0, 0);
    for info in api_types::kinds::KINDS {
        let api_version = GroupVersionKind::new(info.group, info.version, info.kind).api_version();
        let Some(ty) = built_in_type(info.group, info.version, info.kind) else {
            panic!("{} has no type", info.kind);
        };
        let typed = |object: &dyn Struct| {
            let mut document = document(object, &api_version, info.kind);
            if let Some(Value::Object(metadata)) = document.get_mut("metadata") {
                metadata.remove("managedFields");
            }
            TypedValue {
                value: document,
                ty: ty.clone(),
            }
        };
        for seed in 0..40 {
            let mut changer = Changer {
                random: StdRng::seed_from_u64(seed),
                rarity: 2 + (seed as u32 % 4) * 3,
            };
            let mut live = (info.new)();
            for _ in 0..seed % 4 {
                changer.change_struct(&mut *live, 0);
            }
            let mut new = (info.clone)(&*live).expect("a copy");
            for _ in 0..=seed % 2 {
                changer.change_struct(&mut *new, 0);
            }
            let by_json = typed(&*live).compare(&typed(&*new));
            let by_type = compare_objects(&*live, &*new);
            match (&by_json, &by_type) {
                (Ok(by_json), Ok(by_type)) => {
                    differing += usize::from(!by_json.is_same());
                    assert_eq!(
                        [&by_type.removed, &by_type.modified, &by_type.added].map(text),
                        [&by_json.removed, &by_json.modified, &by_json.added].map(text),
                        "{} {}, seed {seed}:\n{}\n{}",
                        api_version,
                        info.kind,
                        typed(&*live).value,
                        typed(&*new).value,
                    );
                }
                // Lists that are equal are not looked into, so that their bad items do not count.
                (Err(_), _) => refused += 1,
                (Ok(_), Err(errors)) => panic!("{} seed {seed}: {errors}", info.kind),
            }
            compared += 1;
        }
    }
    assert!(
        compared > 1000 && differing > compared / 2 && refused < compared / 4,
        "{compared} compared, {differing} differ, {refused} refused"
    );
}

#[test]
fn managed_fields_of_typed_objects() {
    let manager = |kind: &str, api_version: &str| {
        FieldManager::new(
            GroupVersionKind::from_api_version_and_kind(api_version, kind),
            "",
            Arc::new(BuiltInTypes::single_version(kind)),
            BTreeMap::new(),
        )
    };
    let fields = manager("Deployment", "apps/v1");
    let info = api_types::kinds::lookup("apps", "v1", "Deployment").expect("a kind");
    let now = Time::from_unix(1_700_000_000);
    for seed in 0..60 {
        let mut changer = Changer {
            random: StdRng::seed_from_u64(1000 + seed),
            rarity: 6,
        };
        let mut live = (info.new)();
        let mut object = (info.new)();
        for round in 0..4 {
            changer.change_struct(&mut *object, 0);
            let who = ["one", "two"][round % 2];
            if let Some(metadata) = object.object_meta_mut() {
                metadata.uid = "1".to_owned();
                metadata.managed_fields.clear();
            }
            let documents = || {
                (
                    document(&*live, "apps/v1", "Deployment"),
                    document(&*object, "apps/v1", "Deployment"),
                )
            };
            let (live_document, new_document) = documents();
            let expected = fields.update_no_errors(&live_document, &new_document, who, now);
            let entries = fields.update_objects(&*live, &*object, who, now, || {
                panic!("every manager is at apps/v1")
            });
            // What JSON refuses may pass where it did not change.
            if !expected.is_empty() {
                assert_eq!(entries, expected, "seed {seed} round {round}");
            }
            if let Some(metadata) = object.object_meta_mut() {
                metadata.managed_fields = entries;
            }
            live = (info.clone)(&*object).expect("a copy");
        }
    }
}

#[test]
fn what_the_creator_owns() {
    let reset: Set = [
        Path::of_fields(&["status"]),
        Path::of_fields(&["metadata", "labels"]),
        Path::of_fields(&["metadata", "annotations", "a"]),
    ]
    .into_iter()
    .collect();
    let now = Time::from_unix(1_700_000_000);
    let (mut at_once, mut at_length) = (0, 0);
    for info in api_types::kinds::KINDS {
        let kind = GroupVersionKind::new(info.group, info.version, info.kind);
        let api_version = kind.api_version();
        for seed in 0..40 {
            let mut changer = Changer {
                random: StdRng::seed_from_u64(seed),
                rarity: 2 + (seed as u32 % 4) * 3,
            };
            let reset_fields = match seed % 2 {
                0 => BTreeMap::new(),
                _ => BTreeMap::from([(api_version.clone(), Filter::Exclude(reset.clone()))]),
            };
            let types = Arc::new(BuiltInTypes::single_version(info.kind));
            let fields = FieldManager::new(kind.clone(), "", types, reset_fields);
            let zero = (info.new)();
            let mut new = (info.new)();
            for _ in 0..=seed % 4 {
                changer.change_struct(&mut *new, 0);
            }
            if let Some(metadata) = new.object_meta_mut() {
                metadata.managed_fields.clear();
            }
            let documents = || {
                (
                    document(&*zero, &api_version, info.kind),
                    document(&*new, &api_version, info.kind),
                )
            };
            let (live_document, new_document) = documents();
            let expected = fields.update_no_errors(&live_document, &new_document, "one", now);
            let reset = (seed % 2 == 1).then_some(&reset);
            match fields_of_created(&*zero, &*new, reset, &SERVER_FIELDS) {
                Some(_) => at_once += 1,
                None => at_length += 1,
            }
            let entries = fields.update_objects(&*zero, &*new, "one", now, documents);
            // What JSON refuses is not owned there.
            if !expected.is_empty() {
                assert_eq!(
                    entries, expected,
                    "{api_version} {}, seed {seed}:\n{new_document}",
                    info.kind
                );
            }
        }
    }
    assert!(
        at_once > at_length,
        "{at_once} at once, {at_length} at length"
    );
}
