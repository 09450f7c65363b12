//! How its items are restored with stock restic.

use std::path::PathBuf;

use crate::source::recovery::{Commands, Opening, Piece};

/// Prerequisites.
pub(super) fn opening(paths: &[PathBuf]) -> Opening {
    let paths: Vec<_> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    let text = format!("Directories: {}. As root, so that owners come back.", paths.join(", "));
    Opening { text, setup: Vec::new() }
}

/// How one item is restored.
pub(super) fn commands(piece: &Piece<'_>) -> Commands {
    let stock = vec![
        piece.restore(),
        format!("ls -la {}", piece.folder("/files")),
        "# Look at it, then put it in place:  cp -a --reflink=auto … /its/place  (or mv, on the same file system)".to_owned(),
    ];
    let to = "--to /srv/restored";
    Commands { stock, ours: vec![format!("$ {}", piece.ours(to)), piece.one_file(to)] }
}
