//! The order-independent content digest of a table, collection or set of objects: the sum of its rows' hashes.

use std::{fmt, iter::Sum, ops::AddAssign, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use xxhash_rust::xxh3::{Xxh3, xxh3_128, xxh3_128_with_seed};

use crate::error::Error;

/// Pieces of a row are collected up to this many bytes; longer rows are hashed as they stream by.
const COLLECT_LIMIT: usize = 64 * 1024;

/// A 128-bit sum (modulo 2^128) of XXH3-128 hashes, written as 32 lower-case hex digits.
///
/// It is a sum and not an exclusive or, so that equal rows do not cancel each other out. It detects accidental changes; it does
/// not resist deliberate collisions.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest128(u128);

impl Digest128 {
    /// The digest of an empty set.
    pub const ZERO: Self = Self(0);

    /// The hash of one row or object.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes))
    }

    /// The hash of one part; the seed identifies its meaning, for example the column's name.
    #[inline]
    pub fn of_seeded(bytes: &[u8], seed: u64) -> Self {
        Self(xxh3_128_with_seed(bytes, seed))
    }

    /// The digest as a number.
    pub const fn to_bits(self) -> u128 {
        self.0
    }

    /// The digest from its number.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }
}

impl AddAssign for Digest128 {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

impl Sum for Digest128 {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::ZERO, |mut sum, part| {
            sum += part;
            sum
        })
    }
}

impl fmt::Display for Digest128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest128 {
    type Err = Error;

    /// Reads exactly 32 lower-case hex digits; anything else is an error.
    fn from_str(text: &str) -> Result<Self, Error> {
        let valid = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match u128::from_str_radix(text, 16) {
            Ok(bits) if valid => Ok(Self(bits)),
            _ => Err(Error::failed(format!("`{text}` is not a digest of 32 lower-case hex digits"))),
        }
    }
}

impl Serialize for Digest128 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest128 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(|error: Error| D::Error::custom(error.summary()))
    }
}

/// Row count, size and digest of a set of rows, independent of their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowDigest {
    /// Number of rows.
    pub rows: u64,
    /// Bytes of all rows without their separators.
    pub bytes: u64,
    /// Sum of the rows' hashes.
    pub digest: Digest128,
}

impl RowDigest {
    /// Adds a row given as one slice.
    #[inline]
    pub fn add(&mut self, row: &[u8]) {
        self.add_hashed(row.len() as u64, Digest128::of(row));
    }

    /// Adds a row of `bytes` bytes that was hashed elsewhere.
    #[inline]
    pub fn add_hashed(&mut self, bytes: u64, hash: Digest128) {
        self.rows += 1;
        self.bytes = self.bytes.wrapping_add(bytes);
        self.digest += hash;
    }
}

/// Hashes a row or object in pieces, with the same result as [`Digest128::of`] (or, with a seed,
/// [`Digest128::of_seeded`]) has for the whole. Memory is bounded.
#[derive(Default)]
pub struct PieceHasher {
    seed: u64,
    len: u64,
    collected: Vec<u8>,
    // Only for rows that outgrow `collected`: its setup costs more than hashing an ordinary row.
    streaming: Option<Box<Xxh3>>,
}

impl PieceHasher {
    /// A hasher without a seed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the seed. Must be called before the first piece of a row; it applies until changed.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Bytes added since the last finish.
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was added since the last finish.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the added bytes followed by `rest` equal `text` (a few bytes at most).
    pub fn equals(&self, rest: &[u8], text: &[u8]) -> bool {
        self.len + rest.len() as u64 == text.len() as u64
            && text.starts_with(&self.collected)
            && text.ends_with(rest)
    }

    /// Adds the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.len = self.len.wrapping_add(piece.len() as u64);
        if let Some(hasher) = &mut self.streaming {
            hasher.update(piece);
        } else if self.collected.len() + piece.len() <= COLLECT_LIMIT {
            self.collected.extend_from_slice(piece);
        } else {
            let mut hasher = Box::new(if self.seed == 0 { Xxh3::new() } else { Xxh3::with_seed(self.seed) });
            hasher.update(&self.collected);
            hasher.update(piece);
            self.collected.clear();
            self.streaming = Some(hasher);
        }
    }

    /// Ends the row with its last piece and returns its hash. The hasher is then ready for the next row.
    pub fn finish(&mut self, last: &[u8]) -> Digest128 {
        if self.len == 0 {
            return Digest128::of_seeded(last, self.seed);
        }
        self.push(last);
        self.len = 0;
        let hash = match self.streaming.take() {
            Some(hasher) => Digest128(hasher.digest128()),
            None => Digest128::of_seeded(&self.collected, self.seed),
        };
        self.collected.clear();
        hash
    }
}

impl fmt::Debug for PieceHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PieceHasher").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    #[test]
    fn pieces_hash_like_the_whole_at_every_size_class() {
        let mut hasher = PieceHasher::new();
        for seed in [0, 77] {
            hasher.set_seed(seed);
            for len in [0, 1, 3, 8, 16, 17, 128, 129, 240, 241, 1024, 65_535, 65_536, 65_537, 300_000] {
                let row = sample(len);
                for piece in [1, 7, 250, 4096, 70_000] {
                    let whole = Digest128::of_seeded(&row, seed);
                    let cut = len - len.min(piece / 2);
                    row[..cut].chunks(piece).for_each(|p| hasher.push(p));
                    assert_eq!(hasher.len(), cut as u64);
                    assert!(hasher.collected.capacity() <= 2 * COLLECT_LIMIT);
                    assert_eq!(hasher.finish(&row[cut..]), whole, "{len} bytes by {piece}");
                    assert!(hasher.is_empty());
                }
            }
        }
        assert_eq!(Digest128::of_seeded(b"row", 0), Digest128::of(b"row"));
        assert_ne!(Digest128::of_seeded(b"row", 1), Digest128::of(b"row"));
    }

    #[test]
    fn order_does_not_matter_but_repetition_does() {
        let digest = |rows: &[&str]| {
            let mut sum = RowDigest::default();
            rows.iter().for_each(|row| sum.add(row.as_bytes()));
            sum.digest
        };
        assert_eq!(digest(&["a", "b", "c"]), digest(&["c", "a", "b"]));
        assert_ne!(digest(&["a", "b", "b"]), digest(&["a", "c", "c"]));
        assert_ne!(digest(&["a", "a"]), Digest128::ZERO);
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }

    #[test]
    fn written_as_hex_and_read_back() {
        // The value published for XXH3-128 of no bytes.
        assert_eq!(Digest128::of(b"").to_string(), "99aa06d3014798d86001c324468d497f");
        let digest = Digest128::from_bits(0xab);
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, "\"000000000000000000000000000000ab\"");
        assert_eq!(serde_json::from_str::<Digest128>(&json).unwrap(), digest);
        let no_digest = |text: &str| assert!(text.parse::<Digest128>().is_err(), "{text}");
        no_digest("ab");
        no_digest("+00000000000000000000000000000ab");
        no_digest("000000000000000000000000000000AB");
    }

    #[test]
    fn equality_with_a_short_text_is_seen_across_pieces() {
        let mut hasher = PieceHasher::new();
        assert!(hasher.equals(b"\\.", b"\\."));
        hasher.push(b"\\");
        assert!(hasher.equals(b".", b"\\."));
        assert!(!hasher.equals(b"", b"\\."));
        assert!(!hasher.equals(b"..", b"\\."));
    }
}
