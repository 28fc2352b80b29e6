//! What a row of the table says.

/// One input: bytes, and the number of what they meet (a kind, an object that a patch is applied to).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Also the number of the seed that the bytes were made of.
    pub number: u32,
    /// What the client or peer sent.
    pub bytes: Vec<u8>,
}

impl Case {
    /// The bytes as text, as a server has them that takes UTF-8 only.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// The form in which failures are kept: the number, a line break, the bytes.
    pub fn to_file(&self) -> Vec<u8> {
        let mut file = format!("{}\n", self.number).into_bytes();
        file.extend_from_slice(&self.bytes);
        file
    }

    /// Reads that form.
    pub fn from_file(file: &[u8]) -> Option<Self> {
        let end = file.iter().position(|byte| *byte == b'\n')?;
        Some(Self {
            number: std::str::from_utf8(&file[..end]).ok()?.parse().ok()?,
            bytes: file[end + 1..].to_vec(),
        })
    }
}

/// What became of an input that broke nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was valid, and everything that must hold for valid input holds.
    Accepted,
    /// It was refused with an error.
    Refused,
}

/// The error says which promise was broken.
pub type Outcome = Result<Verdict, String>;

/// One thing that takes input from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// `group/what`; the group is the file.
    pub name: &'static str,
    /// What must hold beyond "no panic, no hang, bounded memory".
    pub promise: &'static str,
    /// How many inputs a test run tries.
    pub cases: u32,
    /// Makes the seed of a number.
    pub seed: fn(u32) -> Vec<u8>,
    /// Words of the grammar.
    pub tokens: &'static [&'static str],
    /// Tries one input.
    pub check: fn(&Case) -> Outcome,
}

/// `Accepted` or `Refused` for a result whose error is a proper answer.
pub fn verdict<T, E>(result: &Result<T, E>) -> Verdict {
    match result {
        Ok(_) => Verdict::Accepted,
        Err(_) => Verdict::Refused,
    }
}

/// Fails with both sides unless they are equal.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, left: &T, right: &T) -> Result<(), String> {
    if left == right {
        return Ok(());
    }
    Err(format!("{what}:\n  {left:?}\n  {right:?}"))
}

/// The same for bytes that are mostly text; shows where they part.
pub fn same_text(what: &str, left: &[u8], right: &[u8]) -> Result<(), String> {
    if left == right {
        return Ok(());
    }
    let at = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let part = |bytes: &[u8]| {
        let end = (at + 80).min(bytes.len());
        String::from_utf8_lossy(&bytes[at.saturating_sub(80).min(end)..end]).into_owned()
    };
    Err(format!(
        "{what}, they part at byte {at}:\n  {}\n  {}",
        part(left),
        part(right)
    ))
}

/// One of a list of seeds written by hand.
pub fn listed(seeds: &[&str], number: u32) -> Vec<u8> {
    seeds[number as usize % seeds.len()].as_bytes().to_vec()
}

/// `open` many times, `middle`, `close` as often.
pub fn nested(open: &str, middle: &str, close: &str, depth: usize) -> Vec<u8> {
    format!("{}{middle}{}", open.repeat(depth), close.repeat(depth)).into_bytes()
}
