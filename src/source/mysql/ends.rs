//! MySQL's dump tool writes the delimiter of a routine or trigger on the last line of the body. If the body ends in a comment,
//! the delimiter is part of that comment, and the script cannot be loaded. This filter inserts a line feed.

use std::io::{self, Read};

use memchr::{memchr, memchr2};

/// Number of bytes of an incomplete line that are kept: the end of a body with its delimiter.
const KEPT: usize = 8;
/// Bytes read at a time.
const PORTION: usize = 256 * 1024;
/// What the tool writes after a routine or trigger.
const NEXT: &[u8] = b"DELIMITER ;\n";

/// A dump with a line feed before each delimiter that may be in a comment.
#[derive(Debug)]
pub(super) struct Ends<R> {
    inner: R,
    /// Whether the filter is active.
    on: bool,
    /// Input that is not processed yet.
    held: Vec<u8>,
    /// Output, and the number of its bytes already returned.
    ready: Vec<u8>,
    given: usize,
    /// Whether the processed part of the current line may begin a comment.
    comment: bool,
    ended: bool,
}

impl<R> Ends<R> {
    /// Reads from `inner`; unless `on`, nothing is changed.
    pub(super) fn new(inner: R, on: bool) -> Self {
        let (held, ready) = (Vec::new(), Vec::new());
        Self { inner, on, held, ready, given: 0, comment: false, ended: false }
    }

    /// The stream inside.
    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    /// Moves processed data from `held` to `ready`.
    fn decide(&mut self) {
        let mut done = 0;
        while let Some(end) = self.held.get(done..).and_then(|rest| memchr(b'\n', rest)) {
            let (line, rest) = self.held.split_at(done + end + 1);
            let line = line.get(done..).unwrap_or_default();
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let delimiter = delimiter(text).filter(|_| self.comment || may_comment(text));
            if delimiter.is_some() && rest.len() < NEXT.len() && NEXT.starts_with(rest) && !self.ended {
                break;
            }
            match delimiter.filter(|_| rest.starts_with(NEXT)) {
                Some(at) => {
                    self.ready.extend_from_slice(line.get(..at).unwrap_or_default());
                    self.ready.push(b'\n');
                    self.ready.extend_from_slice(line.get(at..).unwrap_or_default());
                }
                None => self.ready.extend_from_slice(line),
            }
            done += end + 1;
            self.comment = false;
        }
        let rest = self.held.get(done..).unwrap_or_default();
        if memchr(b'\n', rest).is_none() {
            // A line of any length: only its end matters.
            let passed = if self.ended { rest.len() } else { rest.len().saturating_sub(KEPT) };
            let part = rest.get(..passed).unwrap_or_default();
            self.comment |= may_comment(part);
            self.ready.extend_from_slice(part);
            done += passed;
        }
        self.held.drain(..done);
    }
}

/// The offset of the delimiter after a body: ` ;;` for a routine; `*/;;` for a trigger, which is written within a conditional
/// comment.
fn delimiter(line: &[u8]) -> Option<usize> {
    let length = if line.ends_with(b"*/;;") { 4 } else { 2 };
    line.ends_with(b";;").then(|| line.len() - length)
}

/// Whether a comment that reaches to the end of the line may begin here.
fn may_comment(text: &[u8]) -> bool {
    memchr2(b'#', b'-', text).is_some()
}

impl<R: Read> Read for Ends<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.on {
            return self.inner.read(buffer);
        }
        while self.given == self.ready.len() && !(self.ended && self.held.is_empty()) {
            self.ready.clear();
            self.given = 0;
            let before = self.held.len();
            self.held.resize(before + PORTION, 0);
            let read = self.inner.read(self.held.get_mut(before..).unwrap_or_default());
            self.held.truncate(before + read.as_ref().copied().unwrap_or(0));
            self.ended |= read? == 0;
            self.decide();
        }
        let rest = self.ready.get(self.given..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        self.given += n;
        Ok(n)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Returns at most this many bytes at a time.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(buffer.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn edited(text: &str, piece: usize) -> String {
        let mut out = String::new();
        Ends::new(Pieces(text.as_bytes(), piece), true).read_to_string(&mut out).unwrap();
        out
    }

    #[test]
    fn a_delimiter_in_a_comment_gets_a_line_of_its_own() {
        let long = "x".repeat(5000);
        let dump = format!(
            "INSERT INTO `t` VALUES (1,'--;;');\nDELIMITER ;;\nCREATE FUNCTION `f`() RETURNS int\nRETURN 1 # {long} ;;\n\
             DELIMITER ;\nDELIMITER ;;\n/*!50003 CREATE*/ /*!50003 TRIGGER `t` BEFORE INSERT ON `t` FOR EACH ROW SET @a = 1 -- x \
             */;;\nDELIMITER ;\nDELIMITER ;;\nCREATE PROCEDURE `p`() SELECT 1 ;;\nDELIMITER ;\n/*!1 SET a='-' */ ;;\nEND -- ;;"
        );
        let expected =
            dump.replace(&format!("{long} ;;"), &format!("{long} \n;;")).replace("-- x */;;", "-- x \n*/;;");
        for piece in [1, 2, 3, 7, 13, 4096, 1 << 20] {
            assert_eq!(edited(&dump, piece), expected, "by {piece}");
        }
        let mut same = String::new();
        Ends::new(dump.as_bytes(), false).read_to_string(&mut same).unwrap();
        assert_eq!(same, dump);
    }
}
