//! Header blocks: name/value pairs, compressed with one zlib stream per direction and connection.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::FrameError;

/// Names in lower case; a name may come several times.
pub type HeaderBlock = Vec<(String, String)>;

/// SPDY/3's fixed dictionary, part of the protocol.
const DICTIONARY: &[u8] = include_bytes!("dictionary.bin");
/// Largest block taken in, decompressed.
const MAX_BLOCK: usize = 1 << 20;

/// Compresses the blocks of one direction, in the order they are sent.
pub struct HeaderWriter(Compress);

impl std::fmt::Debug for HeaderWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeaderWriter").finish_non_exhaustive()
    }
}

impl HeaderWriter {
    /// The beginning of a direction.
    pub fn new() -> Result<Self, FrameError> {
        let mut compress = Compress::new(Compression::best(), true);
        compress
            .set_dictionary(DICTIONARY)
            .map_err(|error| FrameError::Headers(error.to_string()))?;
        Ok(Self(compress))
    }

    /// The next block.
    pub fn write(&mut self, headers: &[(String, String)]) -> Result<Vec<u8>, FrameError> {
        // Several values of one name are one pair, with a zero byte between them.
        let mut merged: Vec<(String, String)> = Vec::new();
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            match merged.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => {
                    values.push('\0');
                    values.push_str(value);
                }
                None => merged.push((name, value.clone())),
            }
        }
        let mut plain = Vec::new();
        let length =
            |length: usize| u32::try_from(length).map_err(|_| FrameError::TooLarge(length));
        plain.extend(length(merged.len())?.to_be_bytes());
        for text in merged.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend(length(text.len())?.to_be_bytes());
            plain.extend(text.as_bytes());
        }
        let mut out = Vec::with_capacity(plain.len() + 64);
        let start = self.0.total_in();
        loop {
            let consumed = (self.0.total_in() - start) as usize;
            out.reserve(256);
            let before = out.len();
            self.0
                .compress_vec(&plain[consumed..], &mut out, FlushCompress::Sync)
                .map_err(|error| FrameError::Headers(error.to_string()))?;
            let done = (self.0.total_in() - start) as usize == plain.len();
            // Room left over means that the flush is complete.
            if done && (out.len() < out.capacity() || out.len() == before) {
                return Ok(out);
            }
        }
    }
}

/// Decompresses the blocks of one direction, in the order they came. Every block must be read, wanted or not.
pub struct HeaderReader(Decompress);

impl std::fmt::Debug for HeaderReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeaderReader").finish_non_exhaustive()
    }
}

impl Default for HeaderReader {
    fn default() -> Self {
        Self::new()
    }
}

impl HeaderReader {
    /// The beginning of a direction.
    pub fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// The next block.
    pub fn read(&mut self, block: &[u8]) -> Result<HeaderBlock, FrameError> {
        let mut plain: Vec<u8> = Vec::with_capacity(block.len() * 4 + 256);
        let mut rest = block;
        loop {
            let (read, wrote) = (self.0.total_in(), plain.len());
            match self
                .0
                .decompress_vec(rest, &mut plain, FlushDecompress::Sync)
            {
                Ok(Status::StreamEnd) => {
                    return Err(FrameError::Headers("the compressed stream ended".into()));
                }
                Ok(Status::Ok | Status::BufError) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0
                        .set_dictionary(DICTIONARY)
                        .map_err(|error| FrameError::Headers(error.to_string()))?;
                }
                Err(error) => return Err(FrameError::Headers(error.to_string())),
            }
            rest = &rest[(self.0.total_in() - read) as usize..];
            if plain.len() > MAX_BLOCK {
                return Err(FrameError::TooLarge(plain.len()));
            }
            if rest.is_empty() && plain.len() < plain.capacity() {
                break;
            }
            if self.0.total_in() == read
                && plain.len() == wrote
                && plain.len() < plain.capacity()
                && !rest.is_empty()
            {
                return Err(FrameError::Headers(
                    "the compressed block makes no progress".into(),
                ));
            }
            plain.reserve(1024);
        }
        parse(&plain)
    }
}

fn parse(plain: &[u8]) -> Result<HeaderBlock, FrameError> {
    let mut rest = plain;
    let number = |rest: &mut &[u8]| -> Result<usize, FrameError> {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or(FrameError::Truncated)?;
        *rest = tail;
        Ok(u32::from_be_bytes(*head) as usize)
    };
    let count = number(&mut rest)?;
    let mut headers = HeaderBlock::new();
    for _ in 0..count {
        let mut text = || -> Result<String, FrameError> {
            let length = number(&mut rest)?;
            if length > rest.len() {
                return Err(FrameError::Truncated);
            }
            let (text, tail) = rest.split_at(length);
            rest = tail;
            String::from_utf8(text.to_vec()).map_err(|error| FrameError::Headers(error.to_string()))
        };
        let (name, values) = (text()?, text()?);
        headers.extend(
            values
                .split('\0')
                .map(|value| (name.clone(), value.to_owned())),
        );
    }
    Ok(headers)
}
