//! Adapts the settings in the head of a dump, so that all its rows can be loaded.

use std::io::{self, Read};

/// Maximum length of the head.
const LONGEST: usize = 16 * 1024;
/// What dump tools set.
const MODE: &[u8] = b"SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;\n";
/// Dates such as 31 February are loaded unchanged, and not as zeros.
const LENIENT: &[u8] = b"SQL_MODE='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES' */;\n";
/// MariaDB does not check loaded rows against constraints, because stored rows may violate them.
const UNCHECKED: &[u8] =
    b"/*M!100201 SET @OLD_CHECK_CONSTRAINT_CHECKS=@@CHECK_CONSTRAINT_CHECKS, CHECK_CONSTRAINT_CHECKS=0 */;\n";

/// A dump whose head accepts everything that the server had accepted. An unknown head is not changed.
pub struct Head<R> {
    inner: R,
    mariadb: bool,
    buf: Vec<u8>,
    at: usize,
    passed: bool,
}

impl<R: Read> Head<R> {
    /// Reads `inner`, the dump of a server of MariaDB or not.
    pub fn new(inner: R, mariadb: bool) -> Self {
        Self { inner, mariadb, buf: Vec::new(), at: 0, passed: false }
    }

    /// Returns the reader.
    pub fn into_inner(self) -> R {
        self.inner
    }

    fn read_head(&mut self) -> io::Result<()> {
        while self.buf.len() < LONGEST {
            let filled = self.buf.len();
            self.buf.resize(filled + LONGEST, 0);
            let read = self.inner.read(&mut self.buf[filled..]);
            self.buf.truncate(filled + *read.as_ref().unwrap_or(&0));
            if let Some(at) = memchr::memmem::find(&self.buf, MODE) {
                let unchecked = if self.mariadb { UNCHECKED } else { b"" };
                self.buf.splice(at..at + MODE.len(), [LENIENT, unchecked].concat());
                break;
            }
            if read? == 0 {
                break;
            }
        }
        self.passed = true;
        Ok(())
    }
}

impl<R: Read> Read for Head<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.passed {
            self.read_head()?;
        }
        let rest = &self.buf[self.at..];
        if rest.is_empty() {
            return self.inner.read(buffer);
        }
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn through(text: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        Head::new(text, true).read_to_end(&mut all).unwrap();
        all
    }

    #[test]
    fn what_the_server_let_in_is_let_in_again() {
        let dump = b"-- MySQL dump\n/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;\nCREATE";
        let text = String::from_utf8(through(dump)).unwrap();
        assert!(
            text.contains("SQL_MODE='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES' */;\n/*M!100201 "),
            "{text}"
        );
        assert!(text.starts_with("-- MySQL dump\n") && text.ends_with("=0 */;\nCREATE"), "{text}");
    }

    #[test]
    fn anything_else_stays_as_it_is() {
        for text in [&b""[..], b"short", &vec![b'x'; 3 * LONGEST]] {
            assert_eq!(through(text), text);
        }
    }
}
