//! The literals in the rows of a dump.

use std::borrow::Cow;

use memchr::memchr2;

/// A value as written in a row.
#[derive(Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `NULL`.
    Null,
    /// The bytes of a string, or a number as written.
    Text(Cow<'a, [u8]>),
    /// The digits behind `0x`.
    Hex(&'a [u8]),
}

impl<'a> Value<'a> {
    /// Reads a literal as dump tools write it.
    pub fn of(literal: &'a [u8]) -> Self {
        if literal == b"NULL" {
            return Self::Null;
        }
        let string = literal.strip_prefix(b"_binary ").unwrap_or(literal);
        if let Some(inner) = string.strip_prefix(b"'").and_then(|rest| rest.strip_suffix(b"'")) {
            return Self::Text(unescaped(inner));
        }
        match literal.strip_prefix(b"0x") {
            Some(digits) => Self::Hex(digits),
            None => Self::Text(Cow::Borrowed(literal)),
        }
    }
}

/// The bytes of a string literal without its quotes.
fn unescaped(inner: &[u8]) -> Cow<'_, [u8]> {
    if memchr2(b'\\', b'\'', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.iter();
    while let Some(&b) = rest.next() {
        match b {
            b'\\' => bytes.extend(rest.next().map(|&b| match b {
                b'0' => 0,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 8,
                b'Z' => 0x1a,
                other => other,
            })),
            b'\'' => {
                // Doubled.
                rest.next();
                bytes.push(b'\'');
            }
            other => bytes.push(other),
        }
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read() {
        assert_eq!(Value::of(b"NULL"), Value::Null);
        assert_eq!(Value::of(b"-1.5"), Value::Text(Cow::Borrowed(b"-1.5")));
        assert_eq!(Value::of(b"0xAB"), Value::Hex(b"AB"));
        assert_eq!(Value::of(br"'it\'s ''a\n\\'"), Value::Text(Cow::Borrowed(b"it's 'a\n\\")));
        assert_eq!(Value::of(b"'NULL'"), Value::Text(Cow::Borrowed(b"NULL")));
    }
}
