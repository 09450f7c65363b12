//! A test extension with configuration tables: rows that a dump must hold although the table itself is only
//! "CREATE EXTENSION".

use std::{fs, path::Path, process::Command};

use crate::{PgServer, process::run_ok, skip};

/// The extension's name.
pub const NAME: &str = "tik_test_settings";

const CONTROL: &str = "comment = 'configuration tables, for tests'\ndefault_version = '1.0'\nrelocatable = false\n\
                       schema = tik_test_settings\ntrusted = false\n";

/// Its own rows are not configuration; rows that the operator has added are, in both tables and the sequence.
const SCRIPT: &str = "\
CREATE TABLE entry (name text PRIMARY KEY, value text, shipped boolean NOT NULL DEFAULT false);
CREATE TABLE kept_whole (id serial PRIMARY KEY, note text);
CREATE TABLE not_configuration (id int);
INSERT INTO entry VALUES ('built in', 'default', true);
INSERT INTO not_configuration VALUES (1);
SELECT pg_catalog.pg_extension_config_dump('entry', 'WHERE NOT shipped');
SELECT pg_catalog.pg_extension_config_dump('kept_whole', '');
SELECT pg_catalog.pg_extension_config_dump('kept_whole_id_seq', '');
";

/// Puts the extension's two files into the directory where this server, and every other of the same installation,
/// looks for extensions. `false`, with a visible skip, if that directory cannot be written to.
#[must_use]
pub fn install_test_extension(server: &PgServer) -> bool {
    let share = run_ok(Command::new(server.bin("pg_config")).arg("--sharedir"), b"");
    let folder = Path::new(String::from_utf8(share).unwrap().trim()).join("extension");
    let files = [(format!("{NAME}--1.0.sql"), SCRIPT), (format!("{NAME}.control"), CONTROL)];
    for (name, content) in files {
        let path = folder.join(name);
        if fs::read_to_string(&path).is_ok_and(|there| there == content) {
            continue;
        }
        if let Err(error) = write_at_once(&folder, &path, content) {
            skip(&format!("to write into {} ({error})", folder.display()));
            return false;
        }
    }
    true
}

/// Creates the extension in a database and adds rows to its configuration.
pub fn create_test_extension(server: &PgServer, database: &str) {
    server.psql(
        database,
        "CREATE SCHEMA tik_test_settings;
         CREATE EXTENSION tik_test_settings;
         INSERT INTO tik_test_settings.entry VALUES ('mine', 'set by the operator'), ('also mine', E'a\\tb\\n');
         INSERT INTO tik_test_settings.kept_whole (note) VALUES ('one'), ('two'), (NULL);",
    );
}

/// Other tests may install it, and other servers read it, at the same time: they see all of a file or none.
fn write_at_once(folder: &Path, path: &Path, content: &str) -> std::io::Result<()> {
    let file = tempfile::NamedTempFile::new_in(folder)?;
    fs::write(file.path(), content)?;
    fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}
