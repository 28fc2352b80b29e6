//! Stored bytes, in as little room as what is done with them allows.
//!
//! Objects of a cache are without the parts that others have too, see [`common`](super::common).
//!
//! A watch can be resumed from any revision of the last minute or so, so every version of an object that was replaced
//! meanwhile has to be told. Hardly anybody asks for one, and the versions of a resource are much alike: after a moment
//! they are kept as LZ4 blocks with one of them as the dictionary.

use std::cell::Cell;

use bytes::Bytes;
use parking_lot::RwLock;

use super::common::{Blocks, Divided};

/// Smaller values are left as they are: the block would save nothing worth the work.
const LEAST: usize = 512;
/// Larger ones too: LZ4 looks back 64 KiB, and the work would be felt.
const MOST: usize = 1 << 20;
/// What of the sample LZ4 can look back to.
const SAMPLE: usize = 32 << 10;

/// Room for values that are looked at which is kept, in bytes.
const MOST_SCRATCH: usize = 64 << 10;

thread_local! {
    /// Where values are put together to be looked at.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The bytes of one version of an object.
pub(crate) struct Value {
    state: RwLock<State>,
    len: usize,
}

enum State {
    Whole(Bytes),
    Divided(Divided),
    Packed(Box<Packed>),
}

struct Packed {
    block: Box<[u8]>,
    /// The dictionary.
    sample: Bytes,
}

/// Packs values of one resource.
#[derive(Default)]
pub(crate) struct Packer {
    sample: Bytes,
}

impl Value {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self {
            len: bytes.len(),
            state: RwLock::new(State::Whole(bytes)),
        }
    }

    /// Holds no longer what others hold too.
    pub(crate) fn divide(&mut self, blocks: &mut Blocks) {
        let state = self.state.get_mut();
        if let State::Whole(bytes) = state
            && let Some(divided) = blocks.divide(bytes)
        {
            *state = State::Divided(divided);
        }
    }

    /// The bytes; made again for this caller when they are not whole.
    pub(crate) fn get(&self) -> Bytes {
        match &*self.state.read() {
            State::Whole(bytes) => bytes.clone(),
            State::Divided(divided) => {
                let mut bytes = Vec::with_capacity(self.len);
                divided.write(&mut bytes);
                bytes.into()
            }
            // Nothing was packed that did not come out again, see `Packer::pack`.
            State::Packed(packed) => packed.unpack(self.len).unwrap_or_default(),
        }
    }

    /// Looks at the bytes where they are, if they are whole.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        let state = self.state.read();
        match &*state {
            State::Whole(bytes) => look(bytes),
            State::Divided(divided) => {
                let mut bytes = SCRATCH.take();
                bytes.clear();
                divided.write(&mut bytes);
                drop(state);
                let seen = look(&bytes);
                if bytes.capacity() <= MOST_SCRATCH {
                    SCRATCH.set(bytes);
                }
                seen
            }
            State::Packed(_) => {
                drop(state);
                look(&self.get())
            }
        }
    }

    /// Looks at the bytes where they are, one piece after another. `None` when they would have to be put together.
    pub(crate) fn with_pieces<R>(&self, look: impl FnOnce(&[&[u8]]) -> R) -> Option<R> {
        match &*self.state.read() {
            State::Whole(bytes) => Some(look(&[bytes])),
            State::Divided(divided) => divided.pieces().map(|pieces| look(&pieces)),
            State::Packed(_) => None,
        }
    }

    /// Number of bytes, whole or not.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Packed {
    fn new(bytes: &[u8], sample: Bytes) -> Self {
        let block = lz4_flex::block::compress_with_dict(bytes, &sample);
        Self {
            block: block.into_boxed_slice(),
            sample,
        }
    }

    fn unpack(&self, len: usize) -> Option<Bytes> {
        lz4_flex::block::decompress_with_dict(&self.block, len, &self.sample)
            .ok()
            .map(Bytes::from)
    }
}

impl Packer {
    /// Packs a value unless that saves too little.
    pub(crate) fn pack(&mut self, value: &Value) {
        if !(LEAST..=MOST).contains(&value.len) {
            return;
        }
        if matches!(&*value.state.read(), State::Packed(_)) {
            return;
        }
        let bytes = value.get();
        let mut packed = Packed::new(&bytes, self.sample.clone());
        if packed.block.len() > value.len / 2 {
            // Not alike: this one may be more like those that follow.
            self.sample = Bytes::copy_from_slice(&bytes[bytes.len().saturating_sub(SAMPLE)..]);
            packed = Packed::new(&bytes, Bytes::new());
        }
        if packed.block.len() < value.len / 4 * 3
            && packed.unpack(value.len).as_ref() == Some(&bytes)
        {
            *value.state.write() = State::Packed(Box::new(packed));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn held(value: &Value) -> usize {
        match &*value.state.read() {
            State::Whole(bytes) => bytes.len(),
            State::Divided(_) => unreachable!("nothing is divided here"),
            State::Packed(packed) => packed.block.len(),
        }
    }

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed * 2 + 1;
        let mut byte = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(|_| byte()).collect()
    }

    #[test]
    fn what_is_alike_takes_little_room() {
        let mut packer = Packer::default();
        let common = noise(1, 4096);
        let values: Vec<_> = (0..100u8)
            .map(|number| {
                let mut bytes = common.clone();
                bytes[1000..1036].fill(number);
                Value::new(bytes.into())
            })
            .collect();
        for value in &values {
            packer.pack(value);
        }
        // The first one cannot be packed, but is what the others are packed by.
        assert_eq!(held(&values[0]), 4096);
        let rest: usize = values[1..].iter().map(held).sum();
        assert!(rest < 99 * 120, "{rest}");
        for (number, value) in values.iter().enumerate() {
            assert_eq!(value.len(), 4096);
            assert_eq!(value.get()[1000..1036], [number as u8; 36]);
            assert_eq!(value.get()[1036..], common[1036..]);
        }
    }

    #[test]
    fn what_does_not_pay_stays() {
        let mut packer = Packer::default();
        for bytes in [
            vec![7; LEAST - 1],
            vec![7; MOST + 1],
            noise(2, 4096),
            noise(3, 4096),
        ] {
            let value = Value::new(bytes.clone().into());
            packer.pack(&value);
            assert_eq!(held(&value), bytes.len());
            assert_eq!(value.get(), bytes);
        }
    }

    proptest! {
        #[test]
        fn comes_out_as_it_went_in(
            parts in prop::collection::vec((0u64..4, 0usize..3000), 1..12),
            order in prop::collection::vec(0usize..12, 1..20),
        ) {
            let mut packer = Packer::default();
            for at in order {
                // Values that share runs at other places.
                let bytes: Vec<u8> = parts
                    .iter()
                    .cycle()
                    .skip(at)
                    .take(parts.len())
                    .flat_map(|(seed, len)| noise(*seed, *len))
                    .collect();
                let value = Value::new(bytes.clone().into());
                packer.pack(&value);
                packer.pack(&value);
                prop_assert_eq!(value.get(), bytes);
            }
        }
    }
}
