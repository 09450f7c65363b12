//! Splits the content of a `.bson` file into its documents as it streams by.

use crate::error::{Error, Result};

/// Length of the smallest document: its own length and the end mark.
const SHORTEST: usize = 5;
/// Length of the largest: 16 MiB for users, and what the server keeps for itself.
pub const LONGEST: usize = 16 * 1024 * 1024 + 16 * 1024;

/// Takes a file in pieces of any size and gives its documents. Holds at most one of them.
pub struct Splitter {
    file: String,
    /// The beginning of a document whose rest is not there yet.
    pending: Vec<u8>,
    /// Where in the file the next document begins.
    offset: u64,
}

impl Splitter {
    /// For a file of this name, which errors mention.
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), pending: Vec::new(), offset: 0 }
    }

    /// Takes the next piece and calls `each` with every document that is complete.
    ///
    /// # Errors
    /// A length that no document has, a missing end mark, and whatever `each` says.
    pub fn push(&mut self, mut data: &[u8], mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while !self.pending.is_empty() && !data.is_empty() {
            let wanted = if self.pending.len() < 4 { 4 } else { self.length(&self.pending)? };
            let (now, rest) = data.split_at(data.len().min(wanted - self.pending.len()));
            self.pending.extend_from_slice(now);
            data = rest;
            if self.pending.len() >= 4 && self.pending.len() == self.length(&self.pending)? {
                let document = std::mem::take(&mut self.pending);
                self.complete(&document)?;
                each(&document)?;
                self.pending = document;
                self.pending.clear();
            }
        }
        while data.len() >= 4 {
            let length = self.length(data)?;
            let Some((document, rest)) = data.split_at_checked(length) else { break };
            self.complete(document)?;
            each(document)?;
            data = rest;
        }
        self.pending.extend_from_slice(data);
        Ok(())
    }

    /// The file ends here.
    ///
    /// # Errors
    /// It ends within a document.
    pub fn finish(self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        Err(self.broken(&format!("it ends there after {} bytes of a document", self.pending.len())))
    }

    /// Length of the document that begins with these bytes, of which there are at least four.
    fn length(&self, begin: &[u8]) -> Result<usize> {
        let told = begin.first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes));
        match usize::try_from(told) {
            Ok(length) if (SHORTEST..=LONGEST).contains(&length) => Ok(length),
            _ => Err(self.broken(&format!("a document of {told} bytes is impossible"))),
        }
    }

    fn complete(&mut self, document: &[u8]) -> Result<()> {
        if document.last() != Some(&0) {
            return Err(self.broken(&format!("a document of {} bytes has no end mark", document.len())));
        }
        self.offset += document.len() as u64;
        Ok(())
    }

    fn broken(&self, what: &str) -> Error {
        Error::failed(format!("{} is damaged at byte {}: {what}", self.file, self.offset))
            .hint("`tik-backup check --read-data-subset 100%` shows what is damaged; try an older snapshot with --at")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn document(length: usize) -> Vec<u8> {
        let mut document = vec![7; length];
        document[..4].copy_from_slice(&i32::try_from(length).unwrap().to_le_bytes());
        document[length - 1] = 0;
        document
    }

    fn split(data: &[u8], piece: usize) -> Result<Vec<Vec<u8>>> {
        let mut splitter = Splitter::new("shop/orders.bson");
        let mut documents = Vec::new();
        for piece in data.chunks(piece) {
            splitter.push(piece, |document| {
                documents.push(document.to_vec());
                Ok(())
            })?;
        }
        splitter.finish().map(|()| documents)
    }

    #[test]
    fn pieces_of_any_size_give_the_same_documents() {
        let documents: Vec<_> = [5, 6, 100, 5, 9, 1000, 7].into_iter().map(document).collect();
        let data = documents.concat();
        for piece in [1, 2, 3, 4, 5, 6, 7, 11, 100, 5000] {
            assert_eq!(split(&data, piece).unwrap(), documents, "pieces of {piece}");
        }
        assert!(split(&[], 1).unwrap().is_empty());
    }

    #[test]
    fn damage_is_told_with_file_and_offset() {
        let good = document(20);
        for (bad, said) in [
            (vec![4, 0, 0, 0, 0], "at byte 20: a document of 4 bytes is impossible"),
            (vec![0xff; 8], "at byte 20: a document of -1 bytes is impossible"),
            (
                (LONGEST as u32 + 1).to_le_bytes().to_vec(),
                "at byte 20: a document of 16793601 bytes is impossible",
            ),
            (vec![6, 0, 0, 0, 0, 1], "at byte 20: a document of 6 bytes has no end mark"),
            (vec![9, 0, 0, 0, 0], "at byte 20: it ends there after 5 bytes"),
            (vec![9, 0], "at byte 20: it ends there after 2 bytes"),
        ] {
            let data = [good.clone(), bad].concat();
            for piece in [1, 3, 100] {
                let text = split(&data, piece).unwrap_err().to_string();
                assert!(text.contains("shop/orders.bson") && text.contains(said), "{text}");
            }
        }
    }

    #[test]
    fn the_largest_document_passes() {
        let documents = split(&document(LONGEST), 1024 * 1024).unwrap();
        assert_eq!(documents.len(), 1);
    }
}
