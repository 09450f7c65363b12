//! Files of our own: written atomically, private, and owned by the owner of their directory.

mod abandoned;
pub(crate) mod open;
pub(crate) mod owner;
mod write;

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

pub use self::write::write_to;
pub(crate) use self::{
    abandoned::{SETTLED, remove_abandoned},
    write::write_atomically,
};

/// Opens or creates a file that only its owner may read.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(owner::no_links())
        .open(path)?;
    if let Some(folder) = path.parent() {
        owner::adopt(&file, File::open(folder)?)?;
    }
    Ok(file)
}
