//! Why something is not proven, and whose fault that is: NOT PROVEN is what was restored and differs, and what the vendor's own
//! tools cannot load into a server that is prepared as the source was. All else says nothing about the backup.

use std::collections::BTreeSet;

use crate::error::{Error, Passing};

/// Why something is not proven.
#[derive(Debug)]
pub(in crate::drill) enum Fault {
    /// What was restored is not what was backed up; each sentence is a difference.
    Differs(Vec<String>),
    /// It cannot be restored.
    Failed(Error),
    /// That says nothing about the backup: no server to restore into, no space, stopped.
    Cannot(Error),
    /// The server refused the statement of a self-test.
    Refused(Error),
    /// It refers to these databases of the same server, and must be tried once more with them and alone on the scratch server.
    Alone(BTreeSet<String>),
}

const CRASHED: &str =
    "a process of the scratch server ended by itself: see the kernel's log (out of memory?), and drill again";
const MEMORY: &str = "see that this machine has more memory free, and drill again";
const ROOM: &str = "name a folder with more room in `drill.dir`";
const LIMIT: &str = "raise the limit that the message names in `[drill.postgres] settings`";
const LOCKS: &str = "raise `max_locks_per_transaction` in `[drill.postgres] settings`";
const SETTINGS: &str = "the source has settings that the scratch server lacks: give it those in `[drill.postgres] settings`, \
                        and install the libraries that they belong to on this machine";
const PACKAGE: &str = "install the extension's package for this version of PostgreSQL on this machine";
const VERSION: &str = "install the version of the extension that the source has on this machine";
const LOCALE: &str =
    "generate the locale on this machine (`dpkg-reconfigure locales`, `i18n.supportedLocales` on NixOS)";
const BUILD: &str = "the scratch server lacks a feature or an extension that the source has: install a build of PostgreSQL \
                     with it, and the extension's package";
const STOPPED: &str = "something ended the session in the scratch server: drill again";
const OUTSIDE: &str =
    "what the dump brings wants something outside of the scratch server's own folder, which is closed to it";
const PLUGIN: &str = "the scratch server lacks a plugin that the source has";
const KEYRING: &str = "the scratch server has no keyring for encrypted tables";

/// A text that a tool or server says, and what to do about it.
type Sign = (&'static str, &'static str);

/// SQLSTATEs of PostgreSQL, whole or their class, that say nothing about the dump. The first that fits counts.
///
/// `0A` is "not supported": extensions that are not installed and features that were left out when the server was built; a
/// dump of a server of the same version asks for nothing else that is not supported. `53` is a lack of resources, `57` an
/// intervention, `58` an error of the system: files of extensions and disks.
const STATES: [Sign; 10] = [
    ("0A", BUILD),
    ("08", CRASHED),
    ("53100", ROOM),
    ("53200", MEMORY),
    ("53", LIMIT),
    ("57P", CRASHED),
    ("57", STOPPED),
    ("58P01", PACKAGE),
    ("58", ROOM),
    ("F0", SETTINGS),
];

/// What PostgreSQL and its extensions say where the SQLSTATE says too little: most of these come as "undefined object" or
/// without a state. In English, which scratch servers always speak.
const POSTGRES: [Sign; 28] = [
    ("You might need to increase \"max_locks_per_transaction\"", LOCKS),
    ("You might need to increase max_locks_per_transaction", LOCKS),
    ("out of shared memory", LOCKS),
    ("server closed the connection unexpectedly", CRASHED),
    ("crash of another server process", CRASHED),
    ("the database system is in recovery mode", CRASHED),
    ("connection to server on socket", CRASHED),
    ("via shared_preload_libraries", SETTINGS),
    ("must be preloaded", SETTINGS),
    ("must be loaded via", SETTINGS),
    ("unrecognized configuration parameter", SETTINGS),
    ("invalid configuration parameter name", SETTINGS),
    ("can only create extension in database", SETTINGS),
    ("could not access file", PACKAGE),
    ("could not load library", PACKAGE),
    ("incompatible library", PACKAGE),
    ("could not open extension control file", PACKAGE),
    ("has no installation script nor update path", VERSION),
    ("has no update path from version", VERSION),
    ("could not find function \"", VERSION),
    ("locale name", LOCALE),
    ("could not create locale", LOCALE),
    ("could not open collator for locale", LOCALE),
    ("\" for encoding \"", LOCALE),
    ("ICU is not supported in this build", "install a build of PostgreSQL with ICU"),
    ("requires the server to be built with", BUILD),
    (": Permission denied", OUTSIDE),
    (": Operation not permitted", OUTSIDE),
];

/// Numbers of MySQL's and MariaDB's errors that say nothing about the script: full disks and tables in memory, a lack of
/// memory, what is not installed, and a server that went away.
const MYSQL_NUMBERS: [(u32, &str); 13] = [
    (1021, ROOM),
    (1037, MEMORY),
    (1038, MEMORY),
    (1041, MEMORY),
    (1114, ROOM),
    (1126, PLUGIN),
    (1286, PLUGIN),
    (1524, PLUGIN),
    (2002, CRASHED),
    (2003, CRASHED),
    (2006, CRASHED),
    (2013, CRASHED),
    (3185, KEYRING),
];

/// What MySQL and MariaDB say where the number says too little.
const MYSQL: [Sign; 6] = [
    ("Lost connection to ", CRASHED),
    ("Can't connect to ", CRASHED),
    ("Unknown storage engine", PLUGIN),
    ("master key from keyring", KEYRING),
    ("Plugin '", PLUGIN),
    ("Got error 28", ROOM),
];

/// By what all of them, and the system, say that there is no room.
const SYSTEM: [Sign; 5] = [
    ("No space left on device", ROOM),
    ("no space left on device", ROOM),
    ("Disk quota exceeded", ROOM),
    ("errno: 28", ROOM),
    ("out of memory", MEMORY),
];

impl From<Error> for Fault {
    /// An error says that the restore failed, unless the storage did not answer or the text says that this machine is to blame.
    fn from(error: Error) -> Self {
        if error.passing() == Some(Passing::Storage) {
            return Self::Cannot(error);
        }
        let text = error.summary();
        let said = without_rows(&text);
        if let Some(number) = mysql_number(&said)
            && let Some((_, hint)) = MYSQL_NUMBERS.iter().find(|(known, _)| *known == number)
        {
            return cannot(text, hint);
        }
        // MySQL's word for a table in memory or on a full disk, and PostgreSQL's for an extension: a name stands in between.
        if said.contains("The table '") && said.contains("' is full") {
            return cannot(text, ROOM);
        }
        let extension = said.contains("extension \"") && said.contains("\" is not available");
        let mut signs = POSTGRES.iter().chain(&MYSQL).chain(&SYSTEM);
        let found = signs.find(|(sign, _)| said.contains(sign)).map(|(_, hint)| *hint);
        match found {
            Some(hint) => cannot(text, hint),
            None if extension => cannot(text, PACKAGE),
            None => Self::Failed(error),
        }
    }
}

impl Fault {
    /// Judges a failure by what the server said that it refused: `refused` are SQLSTATEs and messages. `unlike` says, if it is
    /// so, in what the server is not prepared as the source was: then the statements that it refuses say nothing either.
    pub(super) fn by_state(self, refused: &[(String, String)], unlike: Option<&str>) -> Self {
        let error = match self {
            Self::Failed(error) => error,
            other => return other,
        };
        let text = error.summary();
        // The last counts: a restore stops there.
        let said = |(_, message): &&(String, String)| !message.is_empty() && text.contains(message.as_str());
        let Some((state, _)) = refused.iter().rev().find(said) else { return Self::Failed(error) };
        let known = STATES.iter().find(|(sign, _)| state.starts_with(sign)).map(|(_, hint)| *hint);
        match known.or(unlike) {
            Some(hint) => cannot(text, hint),
            None => Self::Failed(error),
        }
    }
}

/// What was said without what was backed up: details quote rows, and after the command comes its text, both with any number of
/// lines. What a server says first, and its hints, come before and between them.
fn without_rows(text: &str) -> String {
    const QUOTING: [&str; 6] = ["DETAIL:", "CONTEXT:", "LINE ", "QUERY:", "STATEMENT:", "Command was:"];
    const SAYING: [&str; 6] = ["HINT:", "pg_restore:", "psql:", "ERROR", "mysql:", "mariadb:"];
    let mut quoted = false;
    let mut said = String::new();
    for line in text.lines() {
        let start = line.trim_start();
        if QUOTING.iter().any(|word| start.starts_with(word)) {
            quoted = true;
        } else if SAYING.iter().any(|word| start.starts_with(word)) {
            quoted = false;
        }
        if !quoted {
            said.push_str(line);
            said.push('\n');
        }
    }
    said
}

fn cannot(text: String, hint: &str) -> Fault {
    let error = if hint == ROOM {
        Error::failed("the scratch server had no room left").because_text(text)
    } else {
        Error::failed(text)
    };
    Fault::Cannot(error.hint(hint))
}

/// The number in `ERROR 1114 (HY000) at line 3: …`.
fn mysql_number(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("ERROR ")?;
    let (number, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
    rest.starts_with(" (").then(|| number.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_not_held_against_the_backup() {
        for text in [
            "pg_restore: error: could not extend file: No space left on device",
            "ERROR 1114 (HY000) at line 3: The table 'orders' is full",
            "ERROR 1286 (42000) at line 7: Unknown storage engine 'rocksdb'",
            "ERROR:  extension \"postgis\" is not available",
            "ERROR:  collation \"de_DE.utf8\" for encoding \"UTF8\" does not exist",
            "ERROR:  invalid LC_COLLATE locale name: \"xx\"",
            "ERROR:  out of shared memory\nHINT:  You might need to increase max_locks_per_transaction.",
            "ERROR:  unrecognized configuration parameter \"cron.database_name\"",
            "ERROR:  pgaudit must be loaded via shared_preload_libraries",
            "ERROR:  can only create extension in database postgres",
        ] {
            assert!(matches!(Fault::from(Error::failed(text)), Fault::Cannot(_)), "{text}");
        }
        for text in [
            "relation already exists",
            "ERROR:  new row violates check\nDETAIL:  Failing row contains (cp: No space left on device\n out of memory).",
            "the moon is full",
            "a value is not available",
            "ERROR 1062 (23000) at line 9: Duplicate entry '1' for key 'PRIMARY'",
        ] {
            assert!(matches!(Fault::from(Error::failed(text)), Fault::Failed(_)), "{text}");
        }
    }

    #[test]
    fn the_state_of_what_was_refused_decides() {
        let error = || {
            Error::failed("pg_restore: error: could not execute query: ERROR:  no such thing\nCommand was: x")
        };
        let refused = |state: &str, message: &str| vec![(state.to_owned(), message.to_owned())];
        let by = |refused: &[(String, String)], unlike| Fault::Failed(error()).by_state(refused, unlike);
        assert!(matches!(by(&refused("0A000", "no such thing"), None), Fault::Cannot(_)));
        assert!(matches!(by(&refused("58P01", "no such thing"), None), Fault::Cannot(_)));
        assert!(matches!(by(&refused("23505", "no such thing"), None), Fault::Failed(_)));
        assert!(matches!(by(&refused("0A000", "of another session"), None), Fault::Failed(_)));
        // Another version of an extension may be why; a dump that cannot be read is damaged whatever the server has.
        assert!(matches!(by(&refused("42883", "no such thing"), Some("install")), Fault::Cannot(_)));
        assert!(matches!(by(&[], Some("install")), Fault::Failed(_)));
    }
}
