//! The texts of marks. A mark is a line that a client prints, and begins with letters that no other line begins with.

use crate::{
    error::{Error, Result},
    settings::Secret,
};

/// How marks begin.
pub(super) struct Token {
    alphabet: Alphabet,
    text: String,
}

impl Token {
    /// Random letters. Passwords are replaced in what clients print, so a mark must not contain this one.
    pub(super) fn new(password: Option<&Secret>) -> Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| Error::failed("the system gives no random numbers").because(&error))?;
        let alphabet = Alphabet::without(password.map_or("", Secret::expose));
        Ok(Self { alphabet, text: alphabet.write(u64::from_be_bytes(random)) })
    }

    /// The mark with this number.
    pub(super) fn mark(&self, number: u64) -> String {
        format!("{}{}", self.text, self.alphabet.write(number))
    }

    /// The number in a line that is a mark, and what follows it.
    pub(super) fn read<'l>(&self, line: &'l str) -> Option<(u64, &'l str)> {
        let mark = line.strip_prefix(&self.text)?;
        let (number, rest) = mark.split_at_checked(self.text.len())?;
        Some((self.alphabet.read(number)?, rest))
    }
}

/// Sixteen letters that stand for digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Alphabet(u8);

impl Alphabet {
    /// Letters of which the password does not consist.
    fn without(password: &str) -> Self {
        let is_lower = password.bytes().all(|byte| (b'g'..b'g' + 16).contains(&byte));
        Self(if is_lower { b'A' } else { b'g' })
    }

    /// A number in sixteen letters.
    fn write(self, number: u64) -> String {
        let digits = number.to_be_bytes().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.map(|digit| char::from(self.0 + digit)).collect()
    }

    fn read(self, text: &str) -> Option<u64> {
        let digit = |byte: u8| byte.checked_sub(self.0).filter(|digit| *digit < 16);
        text.bytes().try_fold(0, |number, byte| Some(number << 4 | u64::from(digit(byte)?)))
    }
}
