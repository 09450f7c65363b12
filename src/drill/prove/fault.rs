//! Why something is not proven, and whose fault that is.

use crate::error::Error;

/// Why something is not proven.
#[derive(Debug)]
pub(in crate::drill) enum Fault {
    /// What was restored is not what was backed up; each sentence is a difference.
    Differs(Vec<String>),
    /// It cannot be restored.
    Failed(Error),
    /// That says nothing about the backup: no server to restore into, no space, stopped.
    Cannot(Error),
}

/// By what the tools and servers say that there is no room.
const FULL: [&str; 6] = [
    "No space left on device",
    "no space left on device",
    "Disk quota exceeded",
    "errno: 28",
    "Got error 28",
    "out of memory",
];

const CRASHED: &str =
    "a process of the scratch server ended by itself: see the kernel's log (out of memory?), and drill again";
const SETTINGS: &str = "the extension needs settings that a scratch server does not have";
const PACKAGE: &str = "install the extension's package for this version of PostgreSQL on this machine";
const LOCALE: &str =
    "generate the locale on this machine (`dpkg-reconfigure locales`, `i18n.supportedLocales` on NixOS)";

/// By what they say that this machine lacks something, or that the scratch server broke down; and what to do.
const LACKING: [(&str, &str); 17] = [
    ("server closed the connection unexpectedly", CRASHED),
    ("crash of another server process", CRASHED),
    ("the database system is in recovery mode", CRASHED),
    ("connection to server on socket", CRASHED),
    ("Lost connection to ", CRASHED),
    ("Can't connect to ", CRASHED),
    ("via shared_preload_libraries", SETTINGS),
    ("must be preloaded", SETTINGS),
    ("could not access file", PACKAGE),
    ("could not open extension control file", PACKAGE),
    ("locale name", LOCALE),
    ("could not create locale", LOCALE),
    ("\" for encoding \"", LOCALE),
    ("ICU is not supported in this build", "install a build of PostgreSQL with ICU"),
    ("Unknown storage engine", "the scratch server lacks the plugin of this storage engine"),
    ("master key from keyring", "the scratch server has no keyring for encrypted tables"),
    ("Plugin '", "the scratch server has no such plugin for logging in"),
];

impl From<Error> for Fault {
    /// An error says that the restore failed, unless its text says that this machine is to blame.
    fn from(error: Error) -> Self {
        let text = error.summary();
        // MySQL's word for it, of a table in memory or on a full disk.
        let full_table = text.contains("The table '") && text.contains("' is full");
        if full_table || FULL.iter().any(|sign| text.contains(sign)) {
            return Self::Cannot(
                Error::failed("the scratch server had no room left")
                    .because_text(text)
                    .hint("name a folder with more room in `drill.dir`"),
            );
        }
        let extension = text.contains("extension \"") && text.contains("\" is not available");
        match LACKING.iter().find(|(sign, _)| text.contains(sign)) {
            Some((_, hint)) => Self::Cannot(Error::failed(text).hint(*hint)),
            None if extension => Self::Cannot(Error::failed(text).hint(PACKAGE)),
            None => Self::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_not_held_against_the_backup() {
        for text in [
            "pg_restore: error: could not extend file: No space left on device",
            "ERROR 1114 (HY000) at line 3: The table 'orders' is full",
            "ERROR:  extension \"postgis\" is not available",
            "ERROR:  collation \"de_DE.utf8\" for encoding \"UTF8\" does not exist",
            "ERROR:  invalid LC_COLLATE locale name: \"xx\"",
        ] {
            assert!(matches!(Fault::from(Error::failed(text)), Fault::Cannot(_)), "{text}");
        }
        for text in ["relation already exists", "the moon is full", "a value is not available"] {
            assert!(matches!(Fault::from(Error::failed(text)), Fault::Failed(_)), "{text}");
        }
    }
}
