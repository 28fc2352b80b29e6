//! Bytes of text: looking for some, many at a time.

use std::borrow::Cow;

/// How many bytes are looked at together: small enough for short texts, large enough for vector registers.
const STEP: usize = 16;

/// The place of the first byte that `is` something. `is` should be made of comparisons without branches: then the compiler looks
/// at a whole step with vector instructions.
#[inline(always)]
pub(super) fn position(bytes: &[u8], is: impl Fn(u8) -> bool) -> Option<usize> {
    let (steps, rest) = bytes.as_chunks::<STEP>();
    let whole = steps
        .iter()
        .position(|step| step.iter().fold(false, |any, byte| any | is(*byte)));
    let start = whole.map_or(steps.len() * STEP, |step| step * STEP);
    let left = if whole.is_some() {
        &bytes[start..start + STEP]
    } else {
        rest
    };
    left.iter()
        .position(|byte| is(*byte))
        .map(|found| start + found)
}

/// Text; what is no UTF-8 becomes U+FFFD. Quicker than `from_utf8_lossy` where all is well.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::position;

    #[test]
    fn every_place_is_found() {
        for length in 0..70 {
            let mut bytes = vec![b'a'; length];
            assert_eq!(position(&bytes, |byte| byte == b'b'), None);
            for place in (0..length).rev() {
                bytes[place] = b'b';
                assert_eq!(position(&bytes, |byte| byte == b'b'), Some(place));
            }
        }
    }
}
