//! The archive's elementary encodings: bytes, sign-and-magnitude integers and counted strings.

/// Why a value cannot be read now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Too few bytes: at least this many, counted from the start of the buffer, are needed to continue.
    More(usize),
    /// The bytes are not an archive, or a damaged one; the text says why.
    Bad(String),
    /// The bytes may be an intact archive in an unknown format; the text says why.
    Unknown(String),
}

/// Largest supported width of an integer; `pg_dump` writes 4 everywhere.
pub(super) const MAX_INT_SIZE: usize = 8;

/// Decodes an integer of the archive: a sign byte and the magnitude in little-endian order.
/// Object identifiers above 2^31 come out negative, as they were written.
#[inline]
pub(super) fn decode_int(bytes: &[u8]) -> Option<i32> {
    if let [sign @ (0 | 1), a, b, c, d] = *bytes {
        let magnitude = i64::from(u32::from_le_bytes([a, b, c, d]));
        return i32::try_from(if sign == 0 { magnitude } else { -magnitude }).ok();
    }
    let (sign @ (0 | 1), magnitude) = bytes.split_first()? else { return None };
    let mut wide = [0u8; MAX_INT_SIZE];
    wide.get_mut(..magnitude.len())?.copy_from_slice(magnitude);
    let magnitude = i64::try_from(u64::from_le_bytes(wide)).ok()?;
    i32::try_from(if *sign == 0 { magnitude } else { -magnitude }).ok()
}

/// A text as encoded in archives: its length as a signed integer of this width, then its bytes.
pub(super) fn counted(text: &str, int_size: usize) -> Vec<u8> {
    let length = (text.len() as u64).to_le_bytes();
    let mut bytes = vec![0];
    bytes.extend(length.iter().take(int_size));
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// Reads values from a buffer that may end anywhere.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pos: usize,
    int_size: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], int_size: usize) -> Self {
        Self { bytes, pos: 0, int_size }
    }

    /// Bytes read so far.
    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    /// The width of integers, known only once a part of the header was read.
    pub(super) fn set_int_size(&mut self, int_size: usize) {
        self.int_size = int_size;
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Stop> {
        let end = self.pos.checked_add(len).ok_or_else(|| Stop::Bad("a length overflows".into()))?;
        let taken = self.bytes.get(self.pos..end).ok_or(Stop::More(end))?;
        self.pos = end;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Stop> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    pub(super) fn int(&mut self) -> Result<i32, Stop> {
        let bytes = self.take(1 + self.int_size)?;
        decode_int(bytes).ok_or_else(|| Stop::Bad("an integer is out of range".into()))
    }

    /// A string, or `None` where a null was written.
    pub(super) fn optional(&mut self) -> Result<Option<&'a [u8]>, Stop> {
        match usize::try_from(self.int()?) {
            Ok(len) => self.take(len).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// A string as text; a null is the empty string.
    pub(super) fn text(&mut self) -> Result<String, Stop> {
        Ok(self.optional_text()?.unwrap_or_default())
    }

    /// A string as text; invalid UTF-8 is replaced, because names are in the database's encoding.
    pub(super) fn optional_text(&mut self) -> Result<Option<String>, Stop> {
        Ok(self.optional()?.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    }

    /// A number that is written as a decimal string.
    pub(super) fn decimal<T: std::str::FromStr>(&mut self) -> Result<Option<T>, Stop> {
        let Some(bytes) = self.optional()? else { return Ok(None) };
        let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| Stop::Bad("a number in the table of contents is none".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_width_and_sign() {
        assert_eq!(decode_int(&[0, 5, 0, 0, 0]), Some(5));
        assert_eq!(decode_int(&[1, 1, 0, 0, 0]), Some(-1));
        assert_eq!(decode_int(&[1, 0, 0, 0, 0x80]), Some(i32::MIN));
        assert_eq!(decode_int(&[0, 0, 0, 0, 0x80]), None);
        assert_eq!(decode_int(&[2, 0, 0, 0, 0]), None);
        assert_eq!(decode_int(&[1, 7, 0]), Some(-7));
        assert_eq!(decode_int(&[0, 9, 0, 0, 0, 0, 0, 0, 0]), Some(9));
        assert_eq!(decode_int(&[0, 0, 0, 0, 0, 0, 0, 0, 0x80]), None);
        assert_eq!(decode_int(&[0; 10]), None);
        assert_eq!(decode_int(&[]), None);
    }

    #[test]
    fn a_short_buffer_says_how_much_is_missing() {
        let mut cursor = Cursor::new(&[0, 3, 0, 0, 0, b'a'], 4);
        assert_eq!(cursor.text(), Err(Stop::More(8)));
        let mut cursor = Cursor::new(&[1, 1, 0, 0, 0, 0, 1, 0, 0, 0, b'x'], 4);
        assert_eq!(cursor.optional_text(), Ok(None));
        assert_eq!(cursor.text(), Ok("x".into()));
        assert_eq!(cursor.pos(), 11);
    }
}
