//! Restoring its items with stock clients, for the recovery runbook.

use super::{DUMP, Detail, GLOBALS_SQL, session::quote_ident};
use crate::{
    output::shell::{unless_set, word},
    source::recovery::{Commands, Opening, Piece, into},
};

/// The preparation.
pub(super) fn opening(variables: &str) -> Opening {
    let text = format!(
        "MySQL or MariaDB: a dump of one goes into a server of the same family. Connection: an options file that only you \
         can read, `[client]` with `host`, `user` and `password`. Set `{variables}_OPTIONS` to it if it is not `~/.my.cnf`, and \
         `{variables}_CLIENT` to `mysql` if the client is Oracle's. Tables whose definition names a directory or a tablespace \
         (`DATA DIRECTORY`, `INDEX DIRECTORY`, `TABLESPACE`) need it on the target, or the clause taken out of the script."
    );
    let setup = vec![
        unless_set(&format!("{variables}_CLIENT"), "mariadb"),
        format!("export {variables}_OPTIONS=\"${{{variables}_OPTIONS:-$HOME/.my.cnf}}\""),
        format!(
            "client_{variables}() {{ \"${variables}_CLIENT\" --defaults-extra-file=\"${variables}_OPTIONS\" --binary-mode \
             --local-infile=0 --max-allowed-packet=1G \"$@\"; }}"
        ),
    ];
    Opening { text, setup }
}

/// The commands that restore one item.
pub(super) fn commands(piece: &Piece<'_>, variables: &str) -> Commands {
    let client = format!("client_{variables}");
    let mut commands = if piece.is_globals() { globals(piece, &client) } else { database(piece, &client) };
    piece.say_server(&mut commands);
    commands
}

fn globals(piece: &Piece<'_>, client: &str) -> Commands {
    Commands {
        stock: vec![
            "# Existing accounts are not changed; --force continues after an error and reports it."
                .to_owned(),
            format!("{} | {client} --force", piece.dump(GLOBALS_SQL)),
        ],
        ours: vec![
            format!("$ {}", piece.ours("--to /root/globals")),
            "$ mariadb --force < /root/globals/globals.sql; rm -r /root/globals".to_owned(),
            "# Or the accounts and all databases at once, into a server that has none of them:".to_owned(),
            format!("$ {}", piece.ours_together("--into mysql://root@SERVER")),
        ],
    }
}

/// The views in a dump, for `sed -n`.
const VIEWS: &str = "/^-- Final view structure/,/SET TIME_ZONE=@OLD/{/SET TIME_ZONE=@OLD/!p}";

fn database(piece: &Piece<'_>, client: &str) -> Commands {
    let name = piece.name();
    let detail = piece
        .manifest
        .and_then(|manifest| manifest.detail::<Detail>())
        .and_then(|detail| detail.database.as_ref());
    let with = match detail {
        Some(database) => format!(" CHARACTER SET {} COLLATE {}", database.charset, database.collation),
        None => String::new(),
    };
    let create = format!("CREATE DATABASE {}{with}", quote_ident(name));
    let others =
        piece.manifest.and_then(|manifest| manifest.detail::<Detail>()).map(|detail| &detail.refers_to);
    let others = others.filter(|others| !others.is_empty());
    let force = if others.is_some() { " --force" } else { "" };
    let mut stock = vec![
        "# Nothing is loaded where the database is already: the dump would replace its tables.".to_owned(),
        format!("{client} -e {} &&", word(&create)),
        format!("    {} | {client}{force} {}", piece.dump(DUMP), database_argument(name)),
    ];
    if let Some(others) = others {
        let list = others.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let list: String = list.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        stock.push(format!("# It reads other databases: {list}. Views fail until these exist too: then run the next line again"));
        stock.push("# for each of these databases, until it reports nothing.".to_owned());
        stock.push(format!(
            "{} | sed -n {} | {client} --force {}",
            piece.dump(DUMP),
            word(VIEWS),
            database_argument(name)
        ));
    }
    for object in piece.largest() {
        let sql = format!("SELECT COUNT(*) FROM {}.{}", quote_ident(name), quote_ident(&object.name));
        stock.push(format!("{client} -N -e {}      # {} at the time of the backup", word(&sql), object.rows));
    }
    Commands { stock, ours: vec![format!("$ {}", piece.ours(&into("mysql", name, "root@SERVER")))] }
}

/// The name of a database as an argument: it may begin like an option.
fn database_argument(name: &str) -> String {
    word(&format!("--database={name}"))
}
