//! Objects of a list are much alike: the pods of one template differ in a name, an address, a time. One of them is kept with its JSON,
//! and those behind it are compared with it message by message: what is equal byte for byte is copied from its JSON, and only the
//! records that differ are read.

use std::ops::Range;

use super::super::DecodeError;
use super::super::proto_read::Records;
use super::plan::Plan;
use super::stream::{Open, Progress};
use super::{Transcoder, transcode_item};
use crate::schema::StructSchema;

/// A larger object is not kept.
const LARGEST: usize = 64 << 10;
/// At most so many objects, as a power of two, are written on their own before another one is kept.
const MOST_PATIENT: u32 = 6;
/// So many objects are written beside one before one that is nearer to them is kept.
const NEARBY: u32 = 64;
/// No message.
const NONE: u32 = u32::MAX;

/// Turns the objects of a list into JSON, one after the other. The bytes equal those of
/// [`transcode_protobuf_to_json_item`](super::transcode_protobuf_to_json_item).
pub struct ListTranscoder {
    schema: &'static StructSchema,
    reference: Reference,
    next: Next,
    /// How often in a row an object that was kept was not like the one behind it.
    failures: u32,
    /// Objects that were written beside the one that is kept.
    compared: u32,
    /// Bytes of the first of them that were not copied.
    unlike: usize,
}

/// What is done with the next object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It is written on its own, and so are others behind it.
    Alone(u32),
    /// It is kept.
    Keep,
    /// It is written beside the one that is kept.
    Compare,
}

impl ListTranscoder {
    /// For objects of one type.
    pub fn new(schema: &'static StructSchema) -> Self {
        Self {
            schema,
            reference: Reference::default(),
            // The first may be the only one.
            next: Next::Alone(0),
            failures: 0,
            compared: 0,
            unlike: 0,
        }
    }

    /// Appends the JSON of an object, without apiVersion and kind. On an error `out` may hold half an object.
    pub fn write(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let start = out.len();
        match self.next {
            Next::Alone(more) => {
                transcode_item(self.schema, raw, Transcoder::new(), Beside::Nothing, out)?;
                self.next = match more.checked_sub(1) {
                    Some(left) => Next::Alone(left),
                    None => Next::Keep,
                };
            }
            Next::Keep if raw.len() > LARGEST => {
                transcode_item(self.schema, raw, Transcoder::new(), Beside::Nothing, out)?;
            }
            Next::Keep => {
                let mut transcoder = Transcoder::new();
                transcoder.reference.begun = start;
                transcoder.reference.raw.extend_from_slice(raw);
                let beside = Beside::Kept {
                    source: 0,
                    start: 0,
                };
                let mut transcoder = transcode_item(self.schema, raw, transcoder, beside, out)?;
                transcoder.reference.json.extend_from_slice(&out[start..]);
                self.reference = transcoder.reference;
                self.next = Next::Compare;
                self.compared = 0;
            }
            Next::Compare => {
                let mut transcoder = Transcoder::new();
                transcoder.reference = std::mem::take(&mut self.reference);
                transcoder.reference.copied = 0;
                let beside = transcoder.reference.whole();
                let transcoder = transcode_item(self.schema, raw, transcoder, beside, out)?;
                self.reference = transcoder.reference;
                self.judge(out.len() - start);
            }
        }
        Ok(())
    }
}

impl ListTranscoder {
    /// After an object that became so many bytes was written beside another one.
    fn judge(&mut self, len: usize) {
        let unlike = len - self.reference.copied;
        if self.compared == 0 {
            self.unlike = unlike;
        }
        self.compared += 1;
        if unlike > len / 2 {
            self.next = match self.failures {
                0 => Next::Keep,
                failures => Next::Alone(1 << failures.min(MOST_PATIENT)),
            };
            self.failures += 1;
            return;
        }
        self.failures = 0;
        // Times change as one goes along the list.
        if self.compared >= NEARBY && unlike > self.unlike * 5 / 4 {
            self.next = Next::Keep;
        }
    }
}

/// What a message is written beside.
#[derive(Clone, Copy, Debug)]
pub(super) enum Beside {
    /// Nothing.
    Nothing,
    /// It is kept itself, from `start` on among the bytes of the reference. In the message around it, it begins at `source`.
    Kept { source: usize, start: usize },
    /// The message of the reference in the same place.
    Message {
        index: u32,
        /// How many of the first bytes of the two are equal, if that is known.
        equal: Option<usize>,
    },
}

/// An object that others are compared with.
#[derive(Default)]
pub(super) struct Reference {
    /// Its bytes, and behind them messages whose records were put in order.
    raw: Vec<u8>,
    json: Vec<u8>,
    /// Those that can be compared, inner ones before the ones around them.
    messages: Vec<Message>,
    /// Where its JSON began in the output.
    begun: usize,
    /// Bytes that were copied from its JSON.
    copied: usize,
}

/// A message of the reference.
struct Message {
    plan: &'static Plan,
    /// The first field that was written.
    from: usize,
    /// Where it begins in the message around it, as a place among the bytes of the reference.
    source: usize,
    /// Where it is, with its records in order.
    start: usize,
    len: usize,
    /// Before its first record, and behind each one with a field.
    boundaries: Vec<Boundary>,
}

/// A place between two records.
#[derive(Clone, Copy)]
struct Boundary {
    /// Bytes of the message before it.
    raw: usize,
    /// Bytes of the object's JSON.
    json: usize,
    /// The same once what the record has begun is ended; None where the next record goes on with it.
    closed: Option<usize>,
    /// Whether nothing is written then.
    first: bool,
    /// The field of the record before it.
    field: Option<usize>,
    /// What the record has begun.
    open: Shut,
    /// The message in the record before it.
    child: u32,
}

/// [`Open`], of a record that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shut {
    Nothing,
    List,
    /// A map, or records that are written together: nobody can go on in the middle.
    Whole,
}

impl Reference {
    fn whole(&self) -> Beside {
        match self.messages.len().checked_sub(1) {
            Some(last) => Beside::Message {
                index: u32::try_from(last).unwrap_or(NONE),
                equal: None,
            },
            None => Beside::Nothing,
        }
    }
}

impl Message {
    fn range(&self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

/// Keeps what is written of one message.
pub(super) struct Keeper {
    boundaries: Vec<Boundary>,
    source: usize,
    start: usize,
    /// Where the payload of the record being written begins.
    payload: usize,
    /// How many messages there were before the record's.
    messages: usize,
}

impl Keeper {
    /// What the last record has begun is ended.
    fn closed(&mut self, first: bool, json: usize) {
        if let Some(last) = self.boundaries.last_mut() {
            last.closed = Some(json);
            last.first = first;
        }
    }
}

/// Goes through a message and that of the reference beside it.
pub(super) struct Walker {
    index: usize,
    /// The boundary of the reference that stands where we stand.
    at: usize,
    equal: Option<usize>,
}

/// What [`Transcoder::stream`] does besides reading.
pub(super) enum Companion {
    Nobody,
    Keeper(Keeper),
    Walker(Walker),
}

impl<'a> Transcoder<'a> {
    /// Writes the fields of a message beside another one, or keeps it. False when that is not how it can be written; then nothing is
    /// written.
    #[expect(clippy::too_many_arguments, reason = "of one walk")]
    pub(super) fn fields_beside(
        &mut self,
        plan: &'static Plan,
        raw: &'a [u8],
        from: usize,
        first: &mut bool,
        depth: usize,
        mut beside: Beside,
        out: &mut Vec<u8>,
    ) -> bool {
        let (start, was_first, records) = (out.len(), *first, self.records.len());
        let arranged = if self.is_in_order(beside) {
            None
        } else {
            plan.arranged(raw)
        };
        let written = match arranged {
            None => {
                let companion = self.companion(plan, from, *first, beside, out);
                self.stream::<true>(plan, raw, from, first, depth, companion, out)
            }
            Some(arranged) => {
                if let Beside::Kept { start, .. } = &mut beside {
                    *start = self.reference.raw.len();
                    self.reference.raw.extend_from_slice(&arranged);
                }
                // What is put in order does not live as long as what we read.
                let mut inner = Transcoder {
                    records: Vec::new(),
                    reference: std::mem::take(&mut self.reference),
                };
                let companion = inner.companion(plan, from, *first, beside, out);
                let written =
                    inner.stream::<true>(plan, &arranged, from, first, depth, companion, out);
                self.reference = inner.reference;
                written
            }
        };
        // What is broken is left to whoever writes it on its own: of a field that comes twice only the last one counts.
        let written = written.unwrap_or(false);
        if !written {
            out.truncate(start);
            *first = was_first;
            self.records.truncate(records);
        }
        written
    }

    /// Whether the reference's message came in the order of its fields, as then this one most likely does.
    fn is_in_order(&self, beside: Beside) -> bool {
        let Beside::Message { index, .. } = beside else {
            return false;
        };
        let message = self.reference.messages.get(index as usize);
        message.is_some_and(|message| message.source == message.start)
    }

    fn companion(
        &self,
        plan: &'static Plan,
        from: usize,
        first: bool,
        beside: Beside,
        out: &[u8],
    ) -> Companion {
        match beside {
            Beside::Nothing => Companion::Nobody,
            Beside::Kept { source, start } => {
                let json = out.len() - self.reference.begun;
                let beginning = Boundary {
                    raw: 0,
                    json,
                    closed: Some(json),
                    first,
                    field: None,
                    open: Shut::Nothing,
                    child: NONE,
                };
                Companion::Keeper(Keeper {
                    boundaries: vec![beginning],
                    source,
                    start,
                    payload: start,
                    messages: self.reference.messages.len(),
                })
            }
            Beside::Message { index, equal } => {
                let index = index as usize;
                match self.reference.messages.get(index) {
                    Some(message) if std::ptr::eq(message.plan, plan) && message.from == from => {
                        Companion::Walker(Walker {
                            index,
                            at: 0,
                            equal,
                        })
                    }
                    _ => Companion::Nobody,
                }
            }
        }
    }

    /// Before the record of a field is written, of which `at` is where it ends and how long its payload is: what its message is
    /// written beside.
    #[expect(clippy::too_many_arguments, reason = "of one walk")]
    pub(super) fn meet(
        &mut self,
        plan: &'static Plan,
        field: usize,
        at: (usize, usize),
        companion: &mut Companion,
        progress: &mut Progress<'a>,
        first: &mut bool,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<Beside, DecodeError> {
        let keeper = match companion {
            Companion::Nobody => return Ok(Beside::Nothing),
            Companion::Walker(walker) => return Ok(self.child(walker, field)),
            Companion::Keeper(keeper) => keeper,
        };
        if progress.last != Some(field) {
            // What the last one has begun is ended here, to see where that leaves the JSON.
            self.close(plan, progress, first, depth, out)?;
            keeper.closed(*first, out.len() - self.reference.begun);
        }
        keeper.messages = self.reference.messages.len();
        keeper.payload = keeper.start + at.0 - at.1;
        Ok(Beside::Kept {
            source: keeper.payload,
            start: keeper.payload,
        })
    }

    /// Behind a record: where it left everything is noted.
    pub(super) fn keep(
        &self,
        keeper: &mut Keeper,
        progress: &Progress<'a>,
        first: bool,
        raw: usize,
        out: &[u8],
    ) {
        // The record's message is the last one that came to an end since; not so where it came in another order.
        let child = match self.reference.messages.split_last() {
            Some((message, before))
                if before.len() >= keeper.messages && message.source == keeper.payload =>
            {
                u32::try_from(before.len()).unwrap_or(NONE)
            }
            _ => NONE,
        };
        keeper.boundaries.push(Boundary {
            raw,
            json: out.len() - self.reference.begun,
            closed: None,
            first,
            field: progress.last,
            open: match progress.open {
                Open::Nothing => Shut::Nothing,
                Open::List => Shut::List,
                Open::Map(_) | Open::Kept(_) => Shut::Whole,
            },
            child,
        });
    }

    /// At the end of a message that was written in order, once what the last record has begun is ended.
    pub(super) fn kept_whole(
        &mut self,
        plan: &'static Plan,
        from: usize,
        len: usize,
        mut keeper: Keeper,
        first: bool,
        out: &[u8],
    ) {
        keeper.closed(first, out.len() - self.reference.begun);
        self.reference.messages.push(Message {
            plan,
            from,
            source: keeper.source,
            start: keeper.start,
            len,
            boundaries: keeper.boundaries,
        });
    }

    /// Copies the JSON of records that are equal to the reference's.
    #[expect(clippy::too_many_arguments, reason = "of one walk")]
    pub(super) fn copy(
        &mut self,
        plan: &'static Plan,
        walker: &mut Walker,
        records: &mut Records<'a>,
        progress: &mut Progress<'a>,
        first: &mut bool,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let message = &self.reference.messages[walker.index];
        let (from, behind) = match &message.boundaries[walker.at..] {
            [from, behind @ ..] if from.field == progress.last => (*from, behind),
            _ => return Ok(()),
        };
        let equal = match walker.equal {
            Some(equal) => equal,
            None => {
                let theirs = &self.reference.raw[message.range()];
                from.raw + common_prefix(records.rest(), &theirs[from.raw..])
            }
        };
        walker.equal = Some(equal);
        let Some(next) = behind.first().filter(|next| next.raw <= equal) else {
            return Ok(());
        };
        let goes_on = next.field == from.field;
        if goes_on && !(from.open == Shut::List && matches!(progress.open, Open::List)) {
            return Ok(());
        }
        let mut count = behind.partition_point(|boundary| boundary.raw <= equal);
        let (to, end, rest) = loop {
            let Some(to) = count.checked_sub(1).and_then(|last| behind.get(last)) else {
                return Ok(());
            };
            let rest = records.skipped(to.raw - from.raw);
            match (to.open, to.closed) {
                (Shut::Nothing | Shut::List, _) => break (*to, to.json, rest),
                // What is written together can be copied if here too nothing more of it comes.
                (Shut::Whole, Some(closed)) if next_field(plan, &rest) != to.field => {
                    break (*to, closed, rest);
                }
                (Shut::Whole, _) => count -= 1,
            }
        };
        let start = if goes_on {
            from.json
        } else {
            self.close(plan, progress, first, depth, out)?;
            match from.closed {
                Some(closed) if *first == from.first => closed,
                _ => return Ok(()),
            }
        };
        let json = &self.reference.json[start..end];
        out.extend_from_slice(json);
        self.reference.copied += json.len();
        walker.at += count;
        *records = rest;
        *first = to.first;
        progress.went_to(
            to.field,
            if to.open == Shut::List {
                Open::List
            } else {
                Open::Nothing
            },
        );
        Ok(())
    }

    /// What the message in the next record, of a field, is written beside.
    fn child(&self, walker: &mut Walker, field: usize) -> Beside {
        let message = &self.reference.messages[walker.index];
        let behind = &message.boundaries[walker.at + 1..];
        // Fields that only the reference has.
        let missing = behind
            .iter()
            .take_while(|boundary| boundary.field < Some(field))
            .count();
        walker.at += missing;
        let equal = walker.equal.take().filter(|_| missing == 0);
        let Some(theirs) = behind
            .get(missing)
            .filter(|boundary| boundary.field == Some(field))
        else {
            return Beside::Nothing;
        };
        walker.at += 1;
        walker.equal = equal.filter(|equal| theirs.raw <= *equal);
        match self.reference.messages.get(theirs.child as usize) {
            Some(child) => Beside::Message {
                index: theirs.child,
                // Where its records were put in order, nothing is known of them.
                equal: equal
                    .filter(|_| child.source == child.start)
                    .and_then(|equal| equal.checked_sub(child.source - message.start)),
            },
            None => Beside::Nothing,
        }
    }
}

impl Companion {
    /// A record was passed over that JSON knows nothing of.
    pub(super) fn passed_over(&mut self) {
        if let Companion::Walker(walker) = self {
            walker.equal = None;
        }
    }
}

/// The field of the next record; None where there is none, or one that is unknown.
fn next_field(plan: &'static Plan, records: &Records<'_>) -> Option<usize> {
    plan.field_of(records.next_tag()?, &mut 0)
}

/// How many bytes are equal at the beginning.
fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    const STEP: usize = 32;
    let steps = one
        .chunks_exact(STEP)
        .zip(other.chunks_exact(STEP))
        .take_while(|(one, other)| one == other)
        .count();
    let same = steps * STEP;
    same + one[same..]
        .iter()
        .zip(&other[same..])
        .take_while(|(one, other)| one == other)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::v1::Pod;
    use crate::value::Described;
    use crate::{decode_json, encode_protobuf};

    const POD: &str = include_str!("../../../benches/pod.json");

    fn named(name: &str, node: &str) -> Vec<u8> {
        let mut pod: Pod = decode_json(POD.as_bytes()).expect("a pod");
        pod.metadata.name = name.into();
        pod.spec.node_name = node.into();
        encode_protobuf(&pod)
    }

    #[test]
    fn what_is_equal_is_copied() {
        let mut list = ListTranscoder::new(Pod::SCHEMA);
        let mut out = Vec::new();
        for number in 0..5 {
            out.clear();
            list.write(
                &named(&format!("pod-{number}"), &"n".repeat(number)),
                &mut out,
            )
            .expect("valid");
        }
        let read = out.len() - list.reference.copied;
        assert!(read < 300, "{read} bytes of {} were read", out.len());
    }

    #[test]
    fn what_changes_along_the_list_is_kept_anew() {
        let mut list = ListTranscoder::new(Pod::SCHEMA);
        let mut kept = 0;
        for number in 0..1000 {
            let time = format!("2026-01-02T03:{:02}:05Z", number / 200);
            let pod = POD.replace("2026-11-29T02:16:09Z", &time);
            let pod: Pod = decode_json(pod.as_bytes()).expect("a pod");
            kept += usize::from(list.next == Next::Keep);
            list.write(&encode_protobuf(&pod), &mut Vec::new())
                .expect("valid");
        }
        assert_eq!(kept, 5);
    }

    #[test]
    fn an_object_unlike_the_others_is_not_compared_with_for_long() {
        let mut list = ListTranscoder::new(Pod::SCHEMA);
        let mut kept = 0;
        for number in 0..200 {
            let mut pod = Pod::default();
            pod.metadata.name = format!("{number}").repeat(20);
            kept += usize::from(list.next == Next::Keep);
            list.write(&encode_protobuf(&pod), &mut Vec::new())
                .expect("valid");
        }
        assert!((5..12).contains(&kept), "{kept}");
        // Nor is it forgotten that they may be.
        for _ in 0..80 {
            list.write(&named("a", ""), &mut Vec::new()).expect("valid");
        }
        assert_eq!((list.next, list.failures), (Next::Compare, 0));
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let mut list = ListTranscoder::new(Pod::SCHEMA);
        for _ in 0..5 {
            list.write(&named("a", &"n".repeat(LARGEST)), &mut Vec::new())
                .expect("valid");
        }
        assert!(list.reference.raw.is_empty());
    }

    #[test]
    fn prefixes() {
        for len in [0, 1, 31, 32, 33, 64, 100] {
            for differs in 0..=len {
                let one = vec![1; len];
                let mut other = [&one[..], &[1, 2]].concat();
                other[differs] = 3;
                assert_eq!(common_prefix(&one, &other), differs.min(len));
                assert_eq!(common_prefix(&other, &one), differs.min(len));
            }
        }
    }
}
