//! Cuts a byte stream into events. Upstream: `apimachinery/pkg/util/framer`, `.../serializer/{json,protobuf}` framers.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};

use crate::error::Error;
use crate::rest::Media;

/// The largest event, as upstream's stream decoder.
const MAX_FRAME: usize = 16 << 20;

/// The part of an event that has arrived so far.
#[derive(Debug)]
pub(super) struct Frames {
    media: Media,
    buffer: BytesMut,
    /// JSON: how far the buffer was looked at, and the state there.
    scanned: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Frames {
    pub(super) fn new(media: Media) -> Self {
        Self {
            media,
            buffer: BytesMut::new(),
            scanned: 0,
            depth: 0,
            in_string: false,
            escaped: false,
        }
    }

    /// Whether a frame has begun and not ended.
    pub(super) fn is_inside(&self) -> bool {
        self.buffer
            .iter()
            .any(|byte| !byte.is_ascii_whitespace() || self.media == Media::Protobuf)
    }

    /// Takes in bytes and gives out the frames they complete.
    pub(super) fn push(&mut self, data: &[u8], out: &mut VecDeque<Bytes>) -> Result<(), Error> {
        self.buffer.extend_from_slice(data);
        match self.media {
            Media::Protobuf => {
                while self.buffer.len() >= 4 {
                    let length = (&self.buffer[..4]).get_u32() as usize;
                    if length > MAX_FRAME {
                        return Err(too_large(length));
                    }
                    if self.buffer.len() < 4 + length {
                        break;
                    }
                    self.buffer.advance(4);
                    out.push_back(self.buffer.split_to(length).freeze());
                }
            }
            Media::Json => {
                while let Some(end) = self.json_end()? {
                    out.push_back(self.buffer.split_to(end).freeze());
                    self.scanned = 0;
                }
                if self.buffer.len() > MAX_FRAME {
                    return Err(too_large(self.buffer.len()));
                }
            }
        }
        Ok(())
    }

    /// Where the JSON object at the beginning of the buffer ends, if it does.
    fn json_end(&mut self) -> Result<Option<usize>, Error> {
        while self.scanned < self.buffer.len() {
            let byte = self.buffer[self.scanned];
            self.scanned += 1;
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' if self.depth > 0 => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Ok(Some(self.scanned));
                    }
                }
                _ if self.depth == 0 && !byte.is_ascii_whitespace() => {
                    return Err(Error::decode(
                        "watch event",
                        "the stream does not hold JSON objects",
                    ));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

fn too_large(length: usize) -> Error {
    Error::decode(
        "watch event",
        format!("object to decode was longer than maximum allowed size: {length} bytes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts the stream at every possible place: the frames must not depend on how the bytes arrive.
    #[track_caller]
    fn check(media: Media, stream: &[u8], expected: &[&[u8]]) {
        for cut in 0..=stream.len() {
            for second in cut..=stream.len() {
                let mut frames = Frames::new(media);
                let mut out = VecDeque::new();
                for part in [&stream[..cut], &stream[cut..second], &stream[second..]] {
                    frames.push(part, &mut out).unwrap();
                }
                let out: Vec<&[u8]> = out.iter().map(|frame| frame.trim_ascii()).collect();
                assert_eq!(out, expected, "cut at {cut} and {second}");
                assert!(!frames.is_inside());
            }
        }
    }

    #[test]
    fn json_objects() {
        check(
            Media::Json,
            br#"{"a":"}\"{"}{"b":[{}]}
"#,
            &[br#"{"a":"}\"{"}"#, br#"{"b":[{}]}"#],
        );
        check(Media::Json, b"\n \n", &[]);
    }

    #[test]
    fn protobuf_frames() {
        check(
            Media::Protobuf,
            b"\0\0\0\x03abc\0\0\0\x01d",
            &[b"abc", b"d"],
        );
    }

    #[test]
    fn what_is_cut_off_shows() {
        let mut out = VecDeque::new();
        let mut frames = Frames::new(Media::Protobuf);
        frames.push(b"\0\0\0\x03ab", &mut out).unwrap();
        assert!(frames.is_inside() && out.is_empty());
        let mut frames = Frames::new(Media::Json);
        frames.push(b"{\"a\":", &mut out).unwrap();
        assert!(frames.is_inside() && out.is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        let mut out = VecDeque::new();
        assert!(Frames::new(Media::Json).push(b"oops", &mut out).is_err());
        assert!(
            Frames::new(Media::Protobuf)
                .push(b"\xff\0\0\0", &mut out)
                .is_err()
        );
    }
}
