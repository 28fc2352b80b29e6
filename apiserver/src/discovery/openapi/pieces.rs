//! Compressed texts that are put together without being compressed again.
//!
//! A piece is a raw deflate stream that ends at a byte boundary and has no last block, so pieces may follow each other
//! in one gzip stream. A change of one piece costs nothing for the others: the built-in documents are large, and
//! custom resources come and go.

use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use flate2::read::DeflateDecoder;
use flate2::{Compress, Compression, Crc, FlushCompress};

use super::document;

/// A compressed part of a document.
#[derive(Debug)]
pub(super) struct Piece {
    deflated: Box<[u8]>,
    check: Crc,
    length: usize,
}

/// What ends a stream of pieces: an empty last block.
const LAST_BLOCK: &[u8] = &[3, 0];
/// A gzip header that says nothing of the file.
const GZIP_HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

impl Piece {
    pub(super) fn new(text: &[u8]) -> Piece {
        let mut check = Crc::new();
        check.update(text);
        let mut deflater = Compress::new(Compression::new(4), false);
        let mut deflated = Vec::with_capacity(text.len() / 8 + 64);
        loop {
            // What was taken so far is no more than the text's length.
            let taken = usize::try_from(deflater.total_in()).unwrap_or(text.len());
            // Compressing into memory does not fail.
            let outcome = deflater.compress_vec(&text[taken..], &mut deflated, FlushCompress::Sync);
            let taken = usize::try_from(deflater.total_in()).unwrap_or(text.len());
            if outcome.is_err() || (taken == text.len() && deflated.len() < deflated.capacity()) {
                break;
            }
            deflated.reserve(deflated.capacity().max(4096));
        }
        Piece {
            deflated: deflated.into_boxed_slice(),
            check,
            length: text.len(),
        }
    }

    /// What the piece costs in memory.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        size_of::<Piece>() + self.deflated.len()
    }

    /// The text.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.length);
        self.read_into(&mut out);
        out
    }

    fn read_into(&self, out: &mut Vec<u8>) {
        // Reads what `new` wrote.
        let _ = DeflateDecoder::new(self.deflated.chain(LAST_BLOCK)).read_to_end(out);
    }
}

/// One form of a document.
#[derive(Debug)]
pub(super) struct Stored {
    pieces: Vec<Arc<Piece>>,
    pub(super) hash: String,
    pub(super) modified: SystemTime,
}

impl Stored {
    pub(super) fn new(pieces: Vec<Arc<Piece>>, hash: String) -> Stored {
        Stored {
            pieces,
            hash,
            modified: SystemTime::now(),
        }
    }

    /// A document of one piece.
    pub(super) fn whole(text: &[u8], hash: String) -> Stored {
        Stored::new(vec![Arc::new(Piece::new(text))], hash)
    }

    /// A document of one piece whose hash is that of its text.
    pub(super) fn json(text: &[u8]) -> Stored {
        Stored::whole(text, document::sha512_hex(text))
    }

    /// A document whose hash is that of its text.
    pub(super) fn hashed(pieces: Vec<Arc<Piece>>) -> Stored {
        let mut stored = Stored::new(pieces, String::new());
        stored.hash = document::sha512_hex(&stored.text());
        stored
    }

    pub(super) fn pieces(&self) -> &[Arc<Piece>] {
        &self.pieces
    }

    pub(super) fn gzip(&self) -> Vec<u8> {
        let length: usize = self.pieces.iter().map(|piece| piece.deflated.len()).sum();
        let mut out = Vec::with_capacity(length + 20);
        out.extend_from_slice(GZIP_HEADER);
        let mut check = Crc::new();
        for piece in &self.pieces {
            out.extend_from_slice(&piece.deflated);
            check.combine(&piece.check);
        }
        out.extend_from_slice(LAST_BLOCK);
        out.extend_from_slice(&check.sum().to_le_bytes());
        out.extend_from_slice(&check.amount().to_le_bytes());
        out
    }

    pub(super) fn text(&self) -> Vec<u8> {
        let length = self.pieces.iter().map(|piece| piece.length).sum();
        let mut out = Vec::with_capacity(length);
        for piece in &self.pieces {
            piece.read_into(&mut out);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn pieces_make_one_stream() {
        let long: Vec<u8> = (0..300_000_u32).flat_map(|n| n.to_le_bytes()).collect();
        for texts in [
            vec![&b""[..]],
            vec![b"{", b"", b"\"a\":1", b"}"],
            vec![b"start", &long, b"end"],
        ] {
            let stored = Stored::hashed(
                texts
                    .iter()
                    .map(|text| Arc::new(Piece::new(text)))
                    .collect(),
            );
            let whole = texts.concat();
            assert_eq!(stored.text(), whole);
            let mut read = Vec::new();
            GzDecoder::new(&stored.gzip()[..])
                .read_to_end(&mut read)
                .expect("gzip");
            assert_eq!(read, whole);
            assert_eq!(stored.hash, document::sha512_hex(&whole));
        }
    }
}
