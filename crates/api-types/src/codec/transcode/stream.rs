//! Messages whose records come in the order in which JSON has the fields, as encoders write most of them: each record is written as it
//! is read, and none is kept.

use super::super::DecodeError;
use super::super::json_write::{write_json_string, write_text};
use super::super::proto_read::{Payload, Records, read_entry};
use super::beside::{Beside, Companion};
use super::plan::{Plan, Shape};
use super::{Record, Run, Transcoder};

// What is inlined here is so only where it is optimized: without, each copy has room of its own in the frame of a function that calls
// itself for what lies deeper.

/// Where the writing of a message is.
pub(super) struct Progress<'a> {
    /// The field of the last record; none yet at first.
    pub(super) last: Option<usize>,
    pub(super) open: Open<'a>,
    /// Fields that may have something in JSON without a record, and were not come to yet.
    unrecorded: u128,
}

/// What the last record has begun.
pub(super) enum Open<'a> {
    Nothing,
    List,
    /// The key of the last entry.
    Map(std::borrow::Cow<'a, str>),
    /// Records that are kept, from this place on: the field is written when all are there.
    Kept(usize),
}

impl<'a> Progress<'a> {
    /// Records up to one of a field were written by other means.
    pub(super) fn went_to(&mut self, field: Option<usize>, open: Open<'a>) {
        self.last = field;
        self.open = open;
        if let Some(field) = field {
            self.unrecorded &= !(u128::MAX >> (127 - field));
        }
    }
}

/// The order is another: what was written has to be taken back.
struct Disordered;

type Step = Result<Result<(), Disordered>, DecodeError>;

impl<'a> Transcoder<'a> {
    /// Writes the fields of a message from the one at `from` on. False when its records come in another order; then `out`, `first` and
    /// the records that are kept have to be put back. `BESIDE` is whether there is a companion.
    #[expect(clippy::too_many_arguments, reason = "of one walk")]
    pub(super) fn stream<const BESIDE: bool>(
        &mut self,
        plan: &'static Plan,
        raw: &'a [u8],
        from: usize,
        first: &mut bool,
        depth: usize,
        mut companion: Companion,
        out: &mut Vec<u8>,
    ) -> Result<bool, DecodeError> {
        let mut progress = Progress {
            last: None,
            open: Open::Nothing,
            unrecorded: plan.schema.written_when_absent >> from << from,
        };
        let mut hint = 0;
        let mut records = Records::new(raw);
        loop {
            if BESIDE && let Companion::Walker(walker) = &mut companion {
                self.copy(plan, walker, &mut records, &mut progress, first, depth, out)?;
            }
            // Apart, since what comes in registers is much quicker than a payload that was put together in memory.
            let step = if let Some((tag, bytes)) = records.read_bytes() {
                let Some(index) = plan.field_of(tag, &mut hint).filter(|index| *index >= from)
                else {
                    companion.passed_over();
                    continue;
                };
                let mut beside = Beside::Nothing;
                if BESIDE {
                    let at = (records.position(), bytes.len());
                    beside = self.meet(
                        plan,
                        index,
                        at,
                        &mut companion,
                        &mut progress,
                        first,
                        depth,
                        out,
                    )?;
                }
                self.bytes(plan, index, bytes, &mut progress, first, depth, beside, out)?
            } else if let Some((tag, number)) = records.read_number() {
                let Some(index) = plan.field_of(tag, &mut hint).filter(|index| *index >= from)
                else {
                    companion.passed_over();
                    continue;
                };
                if BESIDE {
                    let at = (records.position(), 0);
                    self.meet(
                        plan,
                        index,
                        at,
                        &mut companion,
                        &mut progress,
                        first,
                        depth,
                        out,
                    )?;
                }
                self.number(plan, index, number, &mut progress, first, depth, out)?
            } else if let Some(record) = records.next() {
                let (tag, payload) = record?;
                let Some(index) = plan.field_of(tag, &mut hint).filter(|index| *index >= from)
                else {
                    companion.passed_over();
                    continue;
                };
                let mut beside = Beside::Nothing;
                if BESIDE {
                    let length = match payload {
                        Payload::Bytes(bytes) => bytes.len(),
                        _ => 0,
                    };
                    let at = (records.position(), length);
                    beside = self.meet(
                        plan,
                        index,
                        at,
                        &mut companion,
                        &mut progress,
                        first,
                        depth,
                        out,
                    )?;
                }
                match payload {
                    Payload::Bytes(bytes) => {
                        self.bytes(plan, index, bytes, &mut progress, first, depth, beside, out)?
                    }
                    Payload::Varint(number) => {
                        self.number(plan, index, number, &mut progress, first, depth, out)?
                    }
                    _ => self.kept(plan, index, payload, &mut progress, first, depth, out)?,
                }
            } else {
                break;
            };
            if let Err(Disordered) = step {
                return Ok(false);
            }
            if BESIDE && let Companion::Keeper(keeper) = &mut companion {
                self.keep(keeper, &progress, *first, records.position(), out);
            }
        }
        self.close(plan, &mut progress, first, depth, out)?;
        if BESIDE && let Companion::Keeper(keeper) = companion {
            self.kept_whole(plan, from, raw.len(), keeper, *first, out);
        }
        self.absent(plan, u128::MAX, &mut progress, first, depth, out)?;
        Ok(true)
    }

    /// Ends what the last record has begun, and writes the fields without one that come before `index`.
    #[cfg_attr(not(debug_assertions), inline(always))]
    #[expect(clippy::too_many_arguments, reason = "of one walk")]
    fn turn(
        &mut self,
        plan: &'static Plan,
        index: usize,
        progress: &mut Progress<'a>,
        first: &mut bool,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Step {
        if progress.last.is_some_and(|last| index <= last) {
            return Ok(Err(Disordered));
        }
        if !matches!(progress.open, Open::Nothing) {
            self.close(plan, progress, first, depth, out)?;
        }
        let bit = 1_u128 << index;
        if progress.unrecorded & (bit - 1) != 0 {
            self.absent(plan, bit - 1, progress, first, depth, out)?;
        }
        progress.unrecorded &= !bit;
        progress.last = Some(index);
        Ok(Ok(()))
    }

    pub(super) fn close(
        &mut self,
        plan: &'static Plan,
        progress: &mut Progress<'a>,
        first: &mut bool,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        match std::mem::replace(&mut progress.open, Open::Nothing) {
            Open::Nothing => {}
            Open::List => out.push(b']'),
            Open::Map(_) => out.push(b'}'),
            Open::Kept(start) => {
                let run = Run {
                    start,
                    end: self.records.len(),
                };
                if let Some(index) = progress.last {
                    self.field(plan, index, run, first, depth + 1, out)?;
                }
                self.records.truncate(start);
            }
        }
        Ok(())
    }

    /// Writes those fields among `which` that JSON has without a record.
    #[inline(never)]
    fn absent(
        &mut self,
        plan: &'static Plan,
        which: u128,
        progress: &mut Progress<'a>,
        first: &mut bool,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let mut left = progress.unrecorded & which;
        progress.unrecorded &= !which;
        while left != 0 {
            let index = left.trailing_zeros() as usize;
            left &= left - 1;
            let none = Run {
                start: self.records.len(),
                end: self.records.len(),
            };
            self.field(plan, index, none, first, depth + 1, out)?;
        }
        Ok(())
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    #[expect(clippy::too_many_arguments, reason = "of one walk")]
    fn bytes(
        &mut self,
        plan: &'static Plan,
        index: usize,
        bytes: &'a [u8],
        progress: &mut Progress<'a>,
        first: &mut bool,
        depth: usize,
        beside: Beside,
        out: &mut Vec<u8>,
    ) -> Step {
        let planned = &plan.fields[index];
        let goes_on = progress.last == Some(index);
        match planned.shape {
            Shape::Text | Shape::TextOrNothing => {
                if let Err(disordered) = self.turn(plan, index, progress, first, depth, out)? {
                    return Ok(Err(disordered));
                }
                planned.write_text(bytes, first, out);
            }
            Shape::Struct => {
                if let Err(disordered) = self.turn(plan, index, progress, first, depth, out)? {
                    return Ok(Err(disordered));
                }
                planned.write_key(first, out);
                self.message(planned.of_struct()?, bytes, depth + 1, beside, out)?;
            }
            Shape::Structs | Shape::Texts => {
                if goes_on {
                    out.push(b',');
                } else {
                    if let Err(disordered) = self.turn(plan, index, progress, first, depth, out)? {
                        return Ok(Err(disordered));
                    }
                    planned.write_key(first, out);
                    out.push(b'[');
                    progress.open = Open::List;
                }
                if planned.shape == Shape::Texts {
                    write_text(bytes, out);
                } else {
                    self.message(planned.of_struct()?, bytes, depth + 1, beside, out)?;
                }
            }
            Shape::TextMap | Shape::StructMap => {
                let (key, value) = read_entry(bytes)?;
                let value = match value {
                    Some(value) => value.bytes(planned.field.go)?,
                    None => &[],
                };
                match &progress.open {
                    // Of equal keys the last one counts, and keys ascend.
                    Open::Map(last) if goes_on && *last >= key => return Ok(Err(Disordered)),
                    Open::Map(_) if goes_on => out.push(b','),
                    _ => {
                        if let Err(disordered) =
                            self.turn(plan, index, progress, first, depth, out)?
                        {
                            return Ok(Err(disordered));
                        }
                        planned.write_key(first, out);
                        out.push(b'{');
                    }
                }
                write_json_string(&key, out);
                out.push(b':');
                progress.open = Open::Map(key);
                if planned.shape == Shape::TextMap {
                    write_text(value, out);
                } else {
                    self.message(planned.of_struct()?, value, depth + 2, Beside::Nothing, out)?;
                }
            }
            Shape::Number | Shape::NumberOrNothing | Shape::Other => {
                let payload = Payload::Bytes(bytes);
                return self.kept(plan, index, payload, progress, first, depth, out);
            }
        }
        Ok(Ok(()))
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    #[expect(clippy::too_many_arguments, reason = "of one walk")]
    fn number(
        &mut self,
        plan: &'static Plan,
        index: usize,
        number: u64,
        progress: &mut Progress<'a>,
        first: &mut bool,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Step {
        let planned = &plan.fields[index];
        if !matches!(planned.shape, Shape::Number | Shape::NumberOrNothing) {
            let payload = Payload::Varint(number);
            return self.kept(plan, index, payload, progress, first, depth, out);
        }
        if let Err(disordered) = self.turn(plan, index, progress, first, depth, out)? {
            return Ok(Err(disordered));
        }
        planned.write_number(number, first, out)?;
        Ok(Ok(()))
    }

    /// A record whose field is written when all its records are there.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "of one walk")]
    fn kept(
        &mut self,
        plan: &'static Plan,
        index: usize,
        payload: Payload<'a>,
        progress: &mut Progress<'a>,
        first: &mut bool,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Step {
        let goes_on = progress.last == Some(index) && matches!(progress.open, Open::Kept(_));
        if !goes_on {
            if let Err(disordered) = self.turn(plan, index, progress, first, depth, out)? {
                return Ok(Err(disordered));
            }
            progress.open = Open::Kept(self.records.len());
        }
        self.records.push(Record {
            field: index,
            payload,
        });
        Ok(Ok(()))
    }
}
