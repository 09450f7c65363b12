//! A file being written, with holes where there are long runs of zeros.

use std::{
    io::{self, Write},
    os::fd::OwnedFd,
};

use rustix::{
    fs::ftruncate,
    io::{Errno, pwrite},
};

use crate::stream::cancel::Cancel;

/// The minimum length of a run of zeros that becomes a hole, and the size of the blocks in which zeros are searched.
const BLOCK: usize = 32 * 1024;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Writes a new file from its beginning to its end.
pub(super) struct SparseWriter<'a> {
    file: OwnedFd,
    cancel: &'a Cancel,
    /// The offset of the next byte to write.
    position: u64,
    /// The number of zeros that are held back, and may become a hole.
    zeros: u64,
    failure: Option<io::Error>,
}

impl<'a> SparseWriter<'a> {
    pub(super) fn new(file: OwnedFd, cancel: &'a Cancel) -> Self {
        Self { file, cancel, position: 0, zeros: 0, failure: None }
    }

    /// The error of a failed write.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Sets the length of the file and returns it.
    pub(super) fn finish(self) -> io::Result<OwnedFd> {
        if self.zeros > 0 {
            ftruncate(&self.file, self.position + self.zeros)?;
        }
        Ok(self.file)
    }

    /// The number of bytes of `data` before the next block.
    fn to_boundary(&self, data: &[u8]) -> usize {
        let into = usize::try_from((self.position + self.zeros) % BLOCK as u64).unwrap_or(0);
        data.len().min(BLOCK - into)
    }

    fn write_out(&mut self, mut data: &[u8]) -> rustix::io::Result<()> {
        while !data.is_empty() {
            match pwrite(&self.file, data, self.position) {
                Ok(0) => return Err(Errno::IO),
                Ok(n) => {
                    self.position += n as u64;
                    data = &data[n..];
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_all_of(&mut self, data: &[u8]) -> rustix::io::Result<()> {
        let mut rest = data;
        while !rest.is_empty() {
            let mut end = self.to_boundary(rest);
            if rest[..end] == ZEROS[..end] {
                self.zeros += end as u64;
                rest = &rest[end..];
                continue;
            }
            while rest.len() - end >= BLOCK && rest[end..end + BLOCK] != ZEROS {
                end += BLOCK;
            }
            self.skip_zeros()?;
            self.write_out(&rest[..end])?;
            rest = &rest[end..];
        }
        Ok(())
    }

    /// Leaves a hole for the pending zeros, or writes them if they are few.
    fn skip_zeros(&mut self) -> rustix::io::Result<()> {
        let zeros = std::mem::take(&mut self.zeros);
        match usize::try_from(zeros) {
            Ok(few) if few < BLOCK => self.write_out(&ZEROS[..few]),
            _ => {
                self.position += zeros;
                Ok(())
            }
        }
    }
}

impl Write for SparseWriter<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.cancel.check().map_err(io::Error::other)?;
        match self.write_all_of(data) {
            Ok(()) => Ok(data.len()),
            Err(error) => {
                self.failure = Some(error.into());
                Err(error.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::MetadataExt};

    #[test]
    fn zeros_become_holes_and_every_byte_is_right_however_it_is_cut() {
        let mut content = vec![1_u8; 100_000];
        content.extend(vec![0; 1_000_000]);
        content.extend(b"x");
        content.extend(vec![0; 40_000]);
        content.extend(vec![2; 70_000]);
        content.extend(vec![0; 500_000]);
        let cancel = Cancel::new();
        for piece in [1_000, 32_768, 50_000, 1_000_000, content.len()] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let mut writer = SparseWriter::new(file.as_file().try_clone().unwrap().into(), &cancel);
            content.chunks(piece).for_each(|piece| writer.write_all(piece).unwrap());
            writer.finish().unwrap();
            assert!(fs::read(file.path()).unwrap() == content, "{piece}");
            let used = file.as_file().metadata().unwrap().blocks() * 512;
            assert!(used < 400_000, "{used} bytes used, written by {piece}");
        }
    }

    #[test]
    fn a_failure_of_the_file_is_kept() {
        let file = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let cancel = Cancel::new();
        let mut writer = SparseWriter::new(file.into(), &cancel);
        assert!(writer.write_all(b"x").is_err());
        let error = writer.take_failure().unwrap();
        assert!(super::super::place::no_space(&error), "{error}");
        cancel.cancel("test");
        assert!(writer.write_all(b"x").unwrap_err().to_string().contains("stopped: test"));
        assert!(writer.take_failure().is_none());
    }
}
