//! How inputs are made: seeds that were changed, words of the dictionary in any order, and bytes.

use proptest::prelude::*;
use proptest::sample::Index;

use crate::target::{Case, Target};
use crate::tree::{self, NodeEdit};

/// How an input is made of its target's seeds and dictionary. Smaller recipes come first when a failure is made small.
#[derive(Clone, Debug)]
pub struct Recipe {
    number: u32,
    base: Base,
}

#[derive(Clone, Debug)]
enum Base {
    /// The number's seed with changes: first those that need it to be JSON, then those of bytes.
    Seed(Vec<NodeEdit>, Vec<Edit>),
    Words(Vec<Piece>),
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Insert(Index, Piece),
    Cut(Index, usize),
    /// A part once more, somewhere else.
    Copy(Index, usize, Index),
    End(Index),
    /// The rest of another seed.
    Splice(u32, Index, Index),
    /// A word many times: depth, breadth, and whatever is quadratic.
    Flood(Index, Index, u16),
}

#[derive(Clone, Debug)]
enum Piece {
    Word(Index),
    Text(String),
    Byte(u8),
}

/// Longest input. Request bodies are bounded too, and what takes time in squares shows far below this.
const MAX_LEN: usize = 256 << 10;

/// Any input.
pub fn any_recipe() -> impl Strategy<Value = Recipe> {
    let seed = prop_oneof![
        3 => tree::edits().prop_map(|nodes| Base::Seed(nodes, Vec::new())),
        3 => edits().prop_map(|edits| Base::Seed(Vec::new(), edits)),
        1 => (tree::edits(), edits()).prop_map(|(nodes, edits)| Base::Seed(nodes, edits)),
    ];
    let words = prop::collection::vec(any_piece(), 0..32).prop_map(Base::Words);
    let bytes = prop::collection::vec(any::<u8>(), 0..200).prop_map(Base::Bytes);
    let base = prop_oneof![7 => seed, 3 => words, 1 => bytes];
    (any::<u32>().no_shrink(), base).prop_map(|(number, base)| Recipe { number, base })
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        4 => (any::<Index>(), any_piece()).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        3 => (any::<Index>(), 1usize..40).prop_map(|(at, len)| Edit::Cut(at, len)),
        3 => (any::<Index>(), 1usize..200, any::<Index>())
            .prop_map(|(from, len, to)| Edit::Copy(from, len, to)),
        1 => any::<Index>().prop_map(Edit::End),
        1 => (any::<u32>(), any::<Index>(), any::<Index>())
            .prop_map(|(other, at, from)| Edit::Splice(other, at, from)),
        1 => (any::<Index>(), any::<Index>(), prop_oneof![4 => 1u16..300, 1 => 300u16..5000])
            .prop_map(|(at, word, count)| Edit::Flood(at, word, count)),
    ];
    prop::collection::vec(edit, 0..5)
}

fn any_piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        6 => any::<Index>().prop_map(Piece::Word),
        1 => "\\PC{0,6}".prop_map(Piece::Text),
        1 => any::<u8>().prop_map(Piece::Byte),
    ]
}

impl Recipe {
    /// The input.
    pub fn case(&self, target: &Target) -> Case {
        let mut bytes = match &self.base {
            Base::Seed(nodes, edits) => {
                let mut bytes = (target.seed)(self.number);
                tree::apply(&mut bytes, nodes, target.tokens);
                for edit in edits {
                    edit.apply(&mut bytes, target);
                }
                bytes
            }
            Base::Words(pieces) => {
                let mut bytes = Vec::new();
                for piece in pieces {
                    piece.write(target, &mut bytes);
                }
                bytes
            }
            Base::Bytes(bytes) => bytes.clone(),
        };
        bytes.truncate(MAX_LEN);
        Case {
            number: self.number,
            bytes,
        }
    }
}

impl Piece {
    fn write(&self, target: &Target, out: &mut Vec<u8>) {
        match self {
            Self::Word(_) if target.tokens.is_empty() => {}
            Self::Word(word) => out.extend_from_slice(word.get(target.tokens).as_bytes()),
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Byte(byte) => out.push(*byte),
        }
    }
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>, target: &Target) {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        let part = |at: &Index, len: usize, bytes: &[u8]| {
            let start = place(at, bytes);
            start..(start + len).min(bytes.len())
        };
        let put = |bytes: &mut Vec<u8>, at: usize, new: &[u8]| {
            bytes.splice(at..at, new.iter().copied());
        };
        match self {
            Self::Set(at, byte) => {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            Self::Insert(at, piece) => {
                let mut new = Vec::new();
                piece.write(target, &mut new);
                put(bytes, place(at, bytes), &new);
            }
            Self::Cut(at, len) => {
                let range = part(at, *len, bytes);
                bytes.drain(range);
            }
            Self::Copy(from, len, to) => {
                let copy = bytes[part(from, *len, bytes)].to_vec();
                put(bytes, place(to, bytes), &copy);
            }
            Self::End(at) => bytes.truncate(place(at, bytes)),
            Self::Splice(other, at, from) => {
                let other = (target.seed)(*other);
                bytes.truncate(place(at, bytes));
                bytes.extend_from_slice(&other[place(from, &other)..]);
            }
            Self::Flood(at, word, count) => {
                if let Some(word) = target.tokens.get(word.index(target.tokens.len().max(1))) {
                    put(
                        bytes,
                        place(at, bytes),
                        word.repeat(usize::from(*count)).as_bytes(),
                    );
                }
            }
        }
    }
}
