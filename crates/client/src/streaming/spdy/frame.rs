//! Frames on the wire.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::headers::{HeaderBlock, HeaderReader, HeaderWriter};

const VERSION: u16 = 3;
const FIN: u8 = 1;
const UNIDIRECTIONAL: u8 = 2;
/// A frame's length has 24 bits.
const MAX_LENGTH: usize = (1 << 24) - 1;

/// What is wrong with a frame. The connection cannot go on after any of these.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// A control frame of another version.
    #[error("unsupported SPDY version {0}")]
    Version(u16),
    /// A frame shorter than its fields.
    #[error("truncated SPDY frame")]
    Truncated,
    /// More than a frame can hold, or than is taken in.
    #[error("SPDY frame of {0} bytes is too large")]
    TooLarge(usize),
    /// A header block that cannot be read.
    #[error("SPDY header block: {0}")]
    Headers(String),
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Opens a stream.
    SynStream {
        /// The new stream; odd from clients.
        stream: u32,
        /// The stream it belongs to, or 0.
        associated: u32,
        /// 0 is the highest, 7 the lowest.
        priority: u8,
        /// The sender will send nothing on it.
        fin: bool,
        /// The receiver must send nothing on it.
        unidirectional: bool,
        /// Its headers.
        headers: HeaderBlock,
    },
    /// Accepts a stream.
    SynReply {
        /// The stream.
        stream: u32,
        /// The sender will send nothing on it.
        fin: bool,
        /// Its headers.
        headers: HeaderBlock,
    },
    /// Ends a stream in both directions.
    RstStream {
        /// The stream.
        stream: u32,
        /// Why.
        status: u32,
    },
    /// Parameters of the connection: id, flags, value.
    Settings(Vec<(u32, u8, u32)>),
    /// Asks for the same back.
    Ping(u32),
    /// No more streams will be taken.
    GoAway {
        /// The last stream that was taken.
        last_stream: u32,
        /// Why.
        status: u32,
    },
    /// More headers of a stream.
    Headers {
        /// The stream.
        stream: u32,
        /// The sender will send nothing more on it.
        fin: bool,
        /// The headers.
        headers: HeaderBlock,
    },
    /// The receiver of a stream's data can take this much more.
    WindowUpdate {
        /// The stream, or 0 for the connection.
        stream: u32,
        /// Bytes.
        delta: u32,
    },
    /// Bytes of a stream.
    Data {
        /// The stream.
        stream: u32,
        /// The last ones.
        fin: bool,
        /// The bytes.
        data: Bytes,
    },
    /// A control frame of a type that is not known; ignored.
    Unknown(u16),
}

/// Appends a frame to a buffer.
pub fn encode(
    frame: &Frame,
    headers: &mut HeaderWriter,
    out: &mut BytesMut,
) -> Result<(), FrameError> {
    let (kind, flags, body) = match frame {
        Frame::Data { stream, fin, data } => {
            if data.len() > MAX_LENGTH {
                return Err(FrameError::TooLarge(data.len()));
            }
            out.reserve(8 + data.len());
            out.put_u32(stream & 0x7fff_ffff);
            out.put_u32(u32::from(u8::from(*fin) * FIN) << 24 | data.len() as u32);
            out.put_slice(data);
            return Ok(());
        }
        Frame::SynStream {
            stream,
            associated,
            priority,
            fin,
            unidirectional,
            headers: block,
        } => {
            let mut body = BytesMut::new();
            body.put_u32(stream & 0x7fff_ffff);
            body.put_u32(associated & 0x7fff_ffff);
            body.put_u8(priority << 5);
            body.put_u8(0);
            body.put_slice(&headers.write(block)?);
            (
                1,
                (u8::from(*fin) * FIN) | (u8::from(*unidirectional) * UNIDIRECTIONAL),
                body,
            )
        }
        Frame::SynReply {
            stream,
            fin,
            headers: block,
        }
        | Frame::Headers {
            stream,
            fin,
            headers: block,
        } => {
            let mut body = BytesMut::new();
            body.put_u32(stream & 0x7fff_ffff);
            body.put_slice(&headers.write(block)?);
            (
                if matches!(frame, Frame::SynReply { .. }) {
                    2
                } else {
                    8
                },
                u8::from(*fin) * FIN,
                body,
            )
        }
        Frame::RstStream { stream, status } => (3, 0, two(*stream, *status)),
        Frame::Settings(settings) => {
            let mut body = BytesMut::new();
            body.put_u32(settings.len() as u32);
            for (id, flags, value) in settings {
                body.put_u32(u32::from(*flags) << 24 | (id & 0x00ff_ffff));
                body.put_u32(*value);
            }
            (4, 0, body)
        }
        Frame::Ping(id) => (6, 0, BytesMut::from(&id.to_be_bytes()[..])),
        Frame::GoAway {
            last_stream,
            status,
        } => (7, 0, two(*last_stream, *status)),
        Frame::WindowUpdate { stream, delta } => (9, 0, two(*stream, *delta)),
        Frame::Unknown(kind) => (*kind, 0, BytesMut::new()),
    };
    if body.len() > MAX_LENGTH {
        return Err(FrameError::TooLarge(body.len()));
    }
    out.reserve(8 + body.len());
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u32(u32::from(flags) << 24 | body.len() as u32);
    out.put_slice(&body);
    Ok(())
}

fn two(first: u32, second: u32) -> BytesMut {
    let mut body = BytesMut::with_capacity(8);
    body.put_u32(first & 0x7fff_ffff);
    body.put_u32(second);
    body
}

/// Takes the next frame out of a buffer; `None` while it is not complete.
pub fn decode(
    buffer: &mut BytesMut,
    headers: &mut HeaderReader,
) -> Result<Option<Frame>, FrameError> {
    if buffer.len() < 8 {
        return Ok(None);
    }
    let flags = buffer[4];
    let length = (&buffer[4..8]).get_u32() as usize & MAX_LENGTH;
    if buffer.len() < 8 + length {
        return Ok(None);
    }
    let first = (&buffer[..4]).get_u32();
    buffer.advance(8);
    let mut body = buffer.split_to(length).freeze();
    let fin = flags & FIN != 0;
    if first & 0x8000_0000 == 0 {
        return Ok(Some(Frame::Data {
            stream: first,
            fin,
            data: body,
        }));
    }
    let version = (first >> 16) as u16 & 0x7fff;
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let number = |body: &mut Bytes| body.try_get_u32().map_err(|_| FrameError::Truncated);
    let stream = |number: u32| number & 0x7fff_ffff;
    Ok(Some(match first as u16 {
        1 => {
            let id = stream(number(&mut body)?);
            let associated = stream(number(&mut body)?);
            let priority = body.try_get_u16().map_err(|_| FrameError::Truncated)? >> 13;
            let unidirectional = flags & UNIDIRECTIONAL != 0;
            Frame::SynStream {
                stream: id,
                associated,
                priority: priority as u8,
                fin,
                unidirectional,
                headers: headers.read(&body)?,
            }
        }
        2 => Frame::SynReply {
            stream: stream(number(&mut body)?),
            fin,
            headers: headers.read(&body)?,
        },
        3 => Frame::RstStream {
            stream: stream(number(&mut body)?),
            status: number(&mut body)?,
        },
        4 => {
            let count = number(&mut body)?;
            let mut settings = Vec::new();
            for _ in 0..count {
                let id = number(&mut body)?;
                settings.push((id & 0x00ff_ffff, (id >> 24) as u8, number(&mut body)?));
            }
            Frame::Settings(settings)
        }
        6 => Frame::Ping(number(&mut body)?),
        7 => Frame::GoAway {
            last_stream: stream(number(&mut body)?),
            status: number(&mut body)?,
        },
        8 => Frame::Headers {
            stream: stream(number(&mut body)?),
            fin,
            headers: headers.read(&body)?,
        },
        9 => Frame::WindowUpdate {
            stream: stream(number(&mut body)?),
            delta: stream(number(&mut body)?),
        },
        other => Frame::Unknown(other),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(pairs: &[(&str, &str)]) -> HeaderBlock {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn frames() -> Vec<Frame> {
        let long = "x".repeat(5000);
        vec![
            Frame::SynStream {
                stream: 1,
                associated: 0,
                priority: 0,
                fin: false,
                unidirectional: false,
                headers: block(&[("streamtype", "error")]),
            },
            Frame::SynStream {
                stream: 3,
                associated: 1,
                priority: 7,
                fin: true,
                unidirectional: true,
                headers: block(&[("streamtype", "stdin"), ("port", "80"), ("port", "81")]),
            },
            Frame::SynReply {
                stream: 1,
                fin: false,
                headers: block(&[]),
            },
            Frame::Headers {
                stream: 3,
                fin: true,
                headers: block(&[("long", &long)]),
            },
            Frame::SynReply {
                stream: 3,
                fin: true,
                headers: block(&[("streamtype", "stdin")]),
            },
            Frame::RstStream {
                stream: 3,
                status: 5,
            },
            Frame::Settings(vec![(4, 1, 100), (7, 0, 65536)]),
            Frame::Ping(7),
            Frame::GoAway {
                last_stream: 3,
                status: 0,
            },
            Frame::WindowUpdate {
                stream: 3,
                delta: 1 << 20,
            },
            Frame::Data {
                stream: 3,
                fin: false,
                data: Bytes::from_static(b"hello"),
            },
            Frame::Data {
                stream: 3,
                fin: true,
                data: Bytes::new(),
            },
        ]
    }

    #[test]
    fn frames_round_trip_however_they_arrive() {
        let mut writer = HeaderWriter::new().unwrap();
        let mut wire = BytesMut::new();
        for frame in frames() {
            encode(&frame, &mut writer, &mut wire).unwrap();
        }
        for step in [1, 3, 7, 1000, wire.len()] {
            let mut reader = HeaderReader::new();
            let mut buffer = BytesMut::new();
            let mut decoded = Vec::new();
            for part in wire.chunks(step) {
                buffer.extend_from_slice(part);
                while let Some(frame) = decode(&mut buffer, &mut reader).unwrap() {
                    decoded.push(frame);
                }
            }
            assert_eq!(decoded, frames(), "in pieces of {step}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn the_bytes_of_simple_frames() {
        let mut writer = HeaderWriter::new().unwrap();
        let mut wire = BytesMut::new();
        for (frame, expected) in [
            (Frame::Ping(1), &[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1][..]),
            (
                Frame::RstStream {
                    stream: 1,
                    status: 3,
                },
                &[0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 3],
            ),
            (
                Frame::Data {
                    stream: 5,
                    fin: true,
                    data: Bytes::from_static(b"ab"),
                },
                &[0, 0, 0, 5, 1, 0, 0, 2, b'a', b'b'],
            ),
        ] {
            wire.clear();
            encode(&frame, &mut writer, &mut wire).unwrap();
            assert_eq!(&wire[..], expected);
        }
    }

    #[test]
    fn a_block_compressed_by_another_implementation_is_read() {
        // A stored deflate block after a zlib header that names the dictionary, and a sync flush.
        let plain = [
            &1u32.to_be_bytes()[..],
            &4u32.to_be_bytes(),
            b"port",
            &2u32.to_be_bytes(),
            b"80",
        ]
        .concat();
        let mut wire = vec![0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2, 0x00];
        let length = plain.len() as u16;
        wire.extend(length.to_le_bytes());
        wire.extend((!length).to_le_bytes());
        wire.extend(&plain);
        wire.extend([0, 0, 0, 0xff, 0xff]);
        assert_eq!(
            HeaderReader::new().read(&wire).unwrap(),
            block(&[("port", "80")])
        );
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        let mut buffer = BytesMut::from(&[0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1][..]);
        assert_eq!(
            decode(&mut buffer, &mut HeaderReader::new()),
            Err(FrameError::Version(2))
        );
        let mut buffer = BytesMut::from(&[0x80, 3, 0, 3, 0, 0, 0, 2, 0, 0][..]);
        assert_eq!(
            decode(&mut buffer, &mut HeaderReader::new()),
            Err(FrameError::Truncated)
        );
        let mut buffer = BytesMut::from(&[0x80, 3, 0, 2, 0, 0, 0, 8, 0, 0, 0, 1, 9, 9, 9, 9][..]);
        assert!(decode(&mut buffer, &mut HeaderReader::new()).is_err());
        let mut buffer = BytesMut::from(&[0x80, 3, 0, 99, 0, 0, 0, 0][..]);
        assert_eq!(
            decode(&mut buffer, &mut HeaderReader::new()),
            Ok(Some(Frame::Unknown(99)))
        );
    }
}
