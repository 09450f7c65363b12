//! How its items are restored with stock clients.

use crate::{
    output::shell::word,
    source::recovery::{Commands, Opening, Piece},
};

/// Prerequisites.
pub(super) fn opening() -> Opening {
    let text = "Containers and file shares of Azure. `rclone` brings them back (or `azcopy`); make a remote `azure` (for \
                shares `azure-files`) with `rclone config` first. Types and metadata of blobs stand in `blobs.jsonl`, attributes of \
                files in `files.jsonl`; names that no file system holds have `%XX` in them.";
    Opening { text: text.to_owned(), setup: Vec::new() }
}

/// How one item is restored.
pub(super) fn commands(piece: &Piece<'_>) -> Commands {
    let name = piece.name();
    let (below, target) = match name.strip_prefix("share:") {
        Some(share) => ("/files", format!("azure-files:{share}")),
        None => ("/blobs", format!("azure:{name}")),
    };
    let stock = vec![
        piece.restore(),
        format!("rclone copy --checksum {} {}", piece.folder(below), word(&target)),
        format!("rm -r {}", piece.folder("")),
    ];
    let into = format!("--into {}", word(piece.item));
    Commands { stock, ours: vec![format!("$ {}", piece.ours(&into)), piece.one_file(&into)] }
}
