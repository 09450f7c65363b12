//! Deciding from SQLSTATEs and messages what a scratch server lacked when it refused a statement. No other file parses these.

use crate::{
    error::{Error, Fact},
    source::verify::{
        Fault,
        fault::{Lack, Sign, find},
    },
};

const LIMIT: Lack = Lack::Other("raise the limit that the message names in `[drill.postgres] settings`");
const LOCKS: Lack = Lack::Other("raise `max_locks_per_transaction` in `[drill.postgres] settings`");
const SETTINGS: Lack = Lack::Other(
    "the source has settings that the scratch server lacks: set them in `[drill.postgres] settings`, \
     and install the libraries that they belong to on this machine",
);
const PACKAGE: Lack =
    Lack::Other("install the extension's package for this version of PostgreSQL on this machine");
const VERSION: Lack = Lack::Other("install the version of the extension that the source has on this machine");
const LOCALE: Lack = Lack::Other(
    "generate the locale on this machine (`dpkg-reconfigure locales`, `i18n.supportedLocales` on NixOS)",
);
const BUILD: Lack = Lack::Other(
    "the scratch server lacks a feature or an extension that the source has: install a build of PostgreSQL \
     with it, and the extension's package",
);
const ICU: Lack = Lack::Other("install a build of PostgreSQL with ICU");
const STOPPED: Lack = Lack::Other("the session in the scratch server was ended: run the drill again");
const OUTSIDE: Lack = Lack::Other(
    "the dump accesses something outside of the scratch server's directory, which the sandbox does not allow",
);

/// SQLSTATEs, or classes of them, that are no evidence against the dump. The first match counts.
///
/// `0A` is "not supported": extensions that are not installed, and features that the server was built without; a dump of a
/// server of the same version needs nothing else that is unsupported. `53` is a lack of resources, `57` an operator
/// intervention, `58` a system error: files of extensions and disks.
const STATES: [Sign; 10] = [
    ("0A", BUILD),
    ("08", Lack::Process),
    ("53100", Lack::Room),
    ("53200", Lack::Memory),
    ("53", LIMIT),
    ("57P", Lack::Process),
    ("57", STOPPED),
    ("58P01", PACKAGE),
    ("58", Lack::Room),
    ("F0", SETTINGS),
];

/// Messages of PostgreSQL and its extensions where the SQLSTATE is not specific: most of these are "undefined object" or
/// have no state. They are in English, the language of all scratch servers.
const POSTGRES: [Sign; 29] = [
    ("You might need to increase \"max_locks_per_transaction\"", LOCKS),
    ("You might need to increase max_locks_per_transaction", LOCKS),
    ("out of shared memory", LOCKS),
    ("server closed the connection unexpectedly", Lack::Process),
    ("crash of another server process", Lack::Process),
    ("the database system is in recovery mode", Lack::Process),
    // Before the text that precedes it in the same message.
    ("too many clients already", LIMIT),
    ("connection to server on socket", Lack::Process),
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
    ("ICU is not supported in this build", ICU),
    ("requires the server to be built with", BUILD),
    (": Permission denied", OUTSIDE),
    (": Operation not permitted", OUTSIDE),
];

/// The SQLSTATEs of a role that does not exist: "undefined object", and "invalid parameter value" of `SET ROLE`.
const NO_ROLE: [&str; 2] = [UNDEFINED, "22023"];
/// The SQLSTATE "undefined object".
const UNDEFINED: &str = "42704";

/// The hint if roles are missing and there is no snapshot of them.
const BACK_UP: &str = "there is no matching snapshot of @globals: set `globals = true` and back it up";

/// A restore needs roles or tablespaces that the server does not have; they are in @globals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LacksGlobals;

impl Fact for LacksGlobals {}

/// What is lacking according to the messages of the server and its tools.
pub(super) fn said(said: &str) -> Option<Lack> {
    // An extension's name stands in between.
    let extension = || said.contains("extension \"") && said.contains("\" is not available");
    find(&POSTGRES, said).or_else(|| extension().then_some(PACKAGE))
}

/// A refused statement, from the server's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Refusal {
    /// SQLSTATE.
    pub(in crate::source) state: String,
    /// The message, as clients show it.
    pub(in crate::source) message: String,
}

impl Refusal {
    /// Parses a line of the log, if it reports a refusal.
    pub(in crate::source) fn of_line(line: &str) -> Option<Self> {
        let (head, message) =
            [" ERROR:  ", " FATAL:  ", " PANIC:  "].iter().find_map(|level| line.split_once(level))?;
        let state = head.rsplit(' ').next().filter(|state| state.len() == 5)?;
        Some(Self { state: state.to_owned(), message: message.to_owned() })
    }

    /// Whether a role did not exist.
    fn lacks_role(&self) -> bool {
        NO_ROLE.contains(&self.state.as_str()) && self.message.contains("role \"")
    }

    /// What is lacking according to the SQLSTATE.
    fn lack(&self) -> Option<Lack> {
        STATES.iter().find(|(sign, _)| self.state.starts_with(sign)).map(|(_, lack)| *lack)
    }
}

/// The refusal that caused an error. The last one counts: a restore stops there.
fn behind<'r>(error: &Error, refused: &'r [Refusal]) -> Option<&'r Refusal> {
    let text = error.summary();
    refused.iter().rev().find(|refusal| !refusal.message.is_empty() && text.contains(&refusal.message))
}

/// Judges a failure by the refusals in the server's log. `unlike` says in what the scratch server differs from the source,
/// if it does: then refused statements are no evidence against the backup.
pub(super) fn by_state(fault: Fault, refused: &[Refusal], unlike: Option<&str>) -> Fault {
    let error = match fault {
        Fault::Failed(error) => error,
        other => return other,
    };
    let Some(refusal) = behind(&error, refused) else { return Fault::Failed(error) };
    match (refusal.lack(), unlike) {
        (Some(lack), _) => Fault::lacking(&error, lack),
        (None, Some(unlike)) => Fault::Cannot(Error::failed(error.summary()).hint(unlike)),
        (None, None) => Fault::Failed(error),
    }
}

/// Judges the failure of a database if there is no snapshot of its server's roles: that they are missing is no evidence
/// against the database.
pub(super) fn without_globals(fault: Fault, refused: &[Refusal]) -> Fault {
    match fault {
        Fault::Failed(error)
            if error.is::<LacksGlobals>() || behind(&error, refused).is_some_and(Refusal::lacks_role) =>
        {
            Fault::Cannot(Error::failed(error.summary()).hint(BACK_UP))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_not_held_against_the_backup() {
        let judged = |text: &str| Fault::from(Error::failed(text)).judged(said);
        for text in [
            "ERROR:  extension \"postgis\" is not available",
            "ERROR:  collation \"de_DE.utf8\" for encoding \"UTF8\" does not exist",
            "ERROR:  invalid LC_COLLATE locale name: \"xx\"",
            "ERROR:  out of shared memory\nHINT:  You might need to increase max_locks_per_transaction.",
            "ERROR:  unrecognized configuration parameter \"cron.database_name\"",
            "ERROR:  pgaudit must be loaded via shared_preload_libraries",
            "ERROR:  can only create extension in database postgres",
        ] {
            assert!(matches!(judged(text), Fault::Cannot(_)), "{text}");
        }
        for text in ["relation already exists", "a value is not available"] {
            assert!(matches!(judged(text), Fault::Failed(_)), "{text}");
        }
    }

    fn refused(state: &str, message: &str) -> Vec<Refusal> {
        vec![Refusal { state: state.to_owned(), message: message.to_owned() }]
    }

    #[test]
    fn the_state_of_what_was_refused_decides() {
        let error = || {
            Error::failed("pg_restore: error: could not execute query: ERROR:  no such thing\nCommand was: x")
        };
        let by = |refused: &[Refusal], unlike| by_state(Fault::Failed(error()), refused, unlike);
        assert!(matches!(by(&refused("0A000", "no such thing"), None), Fault::Cannot(_)));
        assert!(matches!(by(&refused("58P01", "no such thing"), None), Fault::Cannot(_)));
        assert!(matches!(by(&refused("23505", "no such thing"), None), Fault::Failed(_)));
        assert!(matches!(by(&refused("0A000", "of another session"), None), Fault::Failed(_)));
        // Another version of an extension may be why; a dump that cannot be read is damaged whatever the server has.
        assert!(matches!(by(&refused("42883", "no such thing"), Some("install")), Fault::Cannot(_)));
        assert!(matches!(by(&[], Some("install")), Fault::Failed(_)));
    }

    #[test]
    fn missing_roles_say_nothing_if_there_is_no_snapshot_of_them() {
        let failed = |text: &str| Fault::Failed(Error::failed(text));
        let role = refused(UNDEFINED, "role \"app\" does not exist");
        let told = "pg_restore: error: ERROR:  role \"app\" does not exist";
        assert!(matches!(without_globals(failed(told), &role), Fault::Cannot(_)));
        let set = refused("22023", "role \"app\" does not exist");
        assert!(matches!(without_globals(failed(told), &set), Fault::Cannot(_)));
        let preflight = Fault::Failed(Error::failed("x").with(LacksGlobals));
        assert!(matches!(without_globals(preflight, &[]), Fault::Cannot(_)));
        // A text alone is no evidence: the backed up data may contain it.
        assert!(matches!(without_globals(failed(told), &[]), Fault::Failed(_)));
        let kind = refused(UNDEFINED, "type \"mood\" does not exist");
        assert!(matches!(
            without_globals(failed("ERROR:  type \"mood\" does not exist"), &kind),
            Fault::Failed(_)
        ));
    }
}
