//! Reads keys in tests as if they were those of a source.

use std::path::Path;

use super::{document::Document, reader::Reader};
use crate::error::Result;

/// The result of `read` for these keys in a file in `/etc/tik`, or an error with all problems.
pub(crate) fn read<T>(keys: &str, read: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Result<T> {
    let document = Document::new(keys, Path::new("/etc/tik/c.toml"), "/etc/tik".into());
    let value = within(&document, read);
    document.finish(value)
}

fn within<T>(document: &Document<'_>, read: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Option<T> {
    let table = document.parse()?;
    let mut reader = Reader::root(document, table.get_ref());
    let value = read(&mut reader);
    reader.finish();
    value
}
