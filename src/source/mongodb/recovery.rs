//! How its items are restored with stock clients.

use crate::source::recovery::{Commands, Opening, Piece, into};

/// Prerequisites and setup.
pub(super) fn opening(variables: &str) -> Opening {
    let text = format!(
        "MongoDB. Its Database Tools are needed (`mongorestore`, 100.5 or newer). Where to: in a file that only you can read, \
         one line `uri: mongodb://…`. Set `{variables}_CONFIG` to it if it is not `~/mongorestore.yaml`. Users and roles are not \
         part of the backup: make them anew."
    );
    let setup = format!("export {variables}_CONFIG=\"${{{variables}_CONFIG:-$HOME/mongorestore.yaml}}\"");
    Opening { text, setup: vec![setup] }
}

/// How one item is restored.
pub(super) fn commands(piece: &Piece<'_>, variables: &str) -> Commands {
    let stock = vec![
        "# Its exit code is 0 even if documents failed to restore: read the line that counts them."
            .to_owned(),
        piece.restore(),
        format!(
            "mongorestore --config \"${variables}_CONFIG\" --bypassDocumentValidation {}",
            piece.folder("")
        ),
        format!("rm -r {}", piece.folder("")),
    ];
    Commands { stock, ours: vec![format!("$ {}", piece.ours(&into("mongodb", piece.name(), "SERVER")))] }
}
