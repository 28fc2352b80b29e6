//! Parts of stored bytes that many objects have in common. More than half of a pod is the list of the fields that a controller has
//! set, and that is the same in all pods of a template: a watch cache holds it once.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::codec::field_sets;

/// Shorter parts stay where they are: each that is held elsewhere takes some fifty bytes.
const LEAST: usize = 256;
/// Never swept below this size.
const SWEEP_AT_LEAST: usize = 1024;

/// A value without what it has in common with others, and that.
pub(crate) struct Divided {
    own: Box<[u8]>,
    common: Common,
}

/// What a value has in common with others, in its order.
enum Common {
    /// In no memory of its own: most values that are divided have one.
    One(Part),
    More(Box<[Part]>),
}

impl Common {
    fn parts(&self) -> &[Part] {
        match self {
            Self::One(part) => std::slice::from_ref(part),
            Self::More(parts) => parts,
        }
    }
}

struct Part {
    /// How many of the value's own bytes are before it.
    at: u32,
    block: Arc<[u8]>,
}

impl Divided {
    /// The whole value in three pieces, when it has one part in common with others.
    pub(crate) fn pieces(&self) -> Option<[&[u8]; 3]> {
        let Common::One(part) = &self.common else {
            return None;
        };
        let (before, after) = self.own.split_at_checked(part.at as usize)?;
        Some([before, &part.block, after])
    }

    /// Appends the whole value.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut written = 0;
        for part in self.common.parts() {
            let at = part.at as usize;
            out.extend_from_slice(self.own.get(written..at).unwrap_or_default());
            out.extend_from_slice(&part.block);
            written = at;
        }
        out.extend_from_slice(self.own.get(written..).unwrap_or_default());
    }
}

/// The parts that values of a cache have in common.
#[derive(Default)]
pub(crate) struct Blocks {
    /// By their hash. A part that was seen once only is not held.
    seen: HashMap<u64, Option<Arc<[u8]>>, RandomState>,
    hasher: RandomState,
    sweep_at: usize,
}

impl Blocks {
    /// A value without the parts that others have too; None when there are none.
    pub(crate) fn divide(&mut self, value: &[u8]) -> Option<Divided> {
        let mut own = Vec::new();
        let mut common = Vec::new();
        let mut written = 0;
        for range in field_sets(value) {
            let Some(part) = value.get(range.clone()).filter(|part| part.len() >= LEAST) else {
                continue;
            };
            if let Some(block) = self.block(part) {
                own.extend_from_slice(value.get(written..range.start).unwrap_or_default());
                written = range.end;
                let at = u32::try_from(own.len()).ok()?;
                common.push(Part { at, block });
            }
        }
        let last = common.pop()?;
        own.extend_from_slice(value.get(written..).unwrap_or_default());
        let common = if common.is_empty() {
            Common::One(last)
        } else {
            common.push(last);
            Common::More(common.into())
        };
        Some(Divided {
            own: own.into(),
            common,
        })
    }

    /// The block that is equal to a part that comes up again.
    fn block(&mut self, part: &[u8]) -> Option<Arc<[u8]>> {
        if self.seen.len() > self.sweep_at.max(SWEEP_AT_LEAST) {
            self.seen.retain(|_, block| {
                block
                    .as_ref()
                    .is_some_and(|block| Arc::strong_count(block) > 1)
            });
            self.sweep_at = self.seen.len() * 2;
        }
        match self.seen.entry(self.hasher.hash_one(part)) {
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(None);
                None
            }
            std::collections::hash_map::Entry::Occupied(mut place) => match place.get() {
                Some(block) if **block == *part => Some(Arc::clone(block)),
                // Two parts with one hash: they are not held.
                Some(_) => None,
                None => {
                    let block: Arc<[u8]> = part.into();
                    place.insert(Some(Arc::clone(&block)));
                    Some(block)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::encode_envelope;
    use super::*;

    fn record(out: &mut Vec<u8>, tag: u32, payload: &[u8]) {
        for mut number in [u64::from(tag << 3 | 2), payload.len() as u64] {
            while number >= 0x80 {
                out.push(number as u8 | 0x80);
                number >>= 7;
            }
            out.push(number as u8);
        }
        out.extend_from_slice(payload);
    }

    /// An object of which so many managers own fields.
    fn object(name: &str, sets: &[Vec<u8>]) -> Vec<u8> {
        let mut metadata = Vec::new();
        record(&mut metadata, 1, name.as_bytes());
        for set in sets {
            let (mut raw, mut entry) = (Vec::new(), Vec::new());
            record(&mut raw, 1, set);
            record(&mut entry, 1, b"manager");
            record(&mut entry, 7, &raw);
            record(&mut metadata, 17, &entry);
        }
        let mut message = Vec::new();
        record(&mut message, 1, &metadata);
        record(&mut message, 2, b"spec");
        encode_envelope("v1", "Pod", &message)
    }

    fn whole(divided: &Divided) -> Vec<u8> {
        let mut out = Vec::new();
        divided.write(&mut out);
        out
    }

    #[test]
    fn what_comes_up_again_is_held_once() {
        let mut blocks = Blocks::default();
        let sets = [vec![1; LEAST], vec![2; LEAST - 1], vec![3; 5000]];
        assert!(blocks.divide(&object("a", &sets)).is_none());
        let divided: Vec<_> = ["b", "c", "d"]
            .map(|name| blocks.divide(&object(name, &sets)).unwrap())
            .into();
        let first = &divided[0];
        for (divided, name) in divided.iter().zip(["b", "c", "d"]) {
            assert_eq!(whole(divided), object(name, &sets));
            assert_eq!(divided.common.parts().len(), 2);
            assert!(divided.own.len() < 500);
            for (part, first) in divided.common.parts().iter().zip(first.common.parts()) {
                assert!(Arc::ptr_eq(&part.block, &first.block));
            }
        }
        let other = blocks
            .divide(&object("e", &[sets[2].clone(), vec![4; 600]]))
            .unwrap();
        assert_eq!(other.common.parts().len(), 1);
        assert_eq!(whole(&other), object("e", &[sets[2].clone(), vec![4; 600]]));
    }

    #[test]
    fn what_nobody_needs_is_given_back() {
        let mut blocks = Blocks::default();
        let set = |number: usize| {
            let mut set = vec![0; LEAST];
            set[..8].copy_from_slice(&number.to_le_bytes());
            set
        };
        blocks.divide(&object("a", &[set(0)]));
        let held = blocks.divide(&object("a", &[set(0)])).unwrap();
        for number in 1..5000 {
            for _ in 0..2 {
                blocks.divide(&object("a", &[set(number)]));
            }
        }
        assert!(
            blocks.seen.len() <= SWEEP_AT_LEAST + 1,
            "{}",
            blocks.seen.len()
        );
        let again = blocks.divide(&object("b", &[set(0)])).unwrap();
        assert!(Arc::ptr_eq(
            &held.common.parts()[0].block,
            &again.common.parts()[0].block
        ));
    }

    #[test]
    fn bytes_that_are_no_objects_stay_as_they_are() {
        let mut blocks = Blocks::default();
        let object = object("a", &[vec![1; 300]]);
        blocks.divide(&object);
        for len in 0..object.len() {
            if let Some(divided) = blocks.divide(&object[..len]) {
                assert_eq!(whole(&divided), &object[..len]);
                assert!(len > 300);
            }
        }
        assert!(blocks.divide(b"{\"kind\":\"X\"}").is_none());
    }
}
