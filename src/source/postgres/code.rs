//! Error codes of PostgreSQL: SQLSTATEs, and texts for errors without one. The program's own sessions know the state of each
//! error; `pg_dump`, `pg_restore` and a failed connection report only the server's text.

use std::fmt;

use crate::error::{Error, Fact, Passing};

/// The SQLSTATE of an error in one of the program's own sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SqlState([u8; 5]);

impl Fact for SqlState {}

impl SqlState {
    /// An invalid value for a setting.
    pub(crate) const INVALID_VALUE: Self = Self(*b"22023");
    /// The transaction is read only.
    pub(crate) const READ_ONLY: Self = Self(*b"25006");
    /// A serialization failure; on a standby a conflict with recovery.
    pub(crate) const SERIALIZATION_FAILURE: Self = Self(*b"40001");
    /// A deadlock.
    pub(crate) const DEADLOCK: Self = Self(*b"40P01");
    /// A privilege is missing.
    pub(crate) const INSUFFICIENT_PRIVILEGE: Self = Self(*b"42501");
    /// A column does not exist.
    pub(crate) const UNDEFINED_COLUMN: Self = Self(*b"42703");
    /// An object or setting does not exist.
    pub(crate) const UNDEFINED_OBJECT: Self = Self(*b"42704");
    /// A table does not exist.
    pub(crate) const UNDEFINED_TABLE: Self = Self(*b"42P01");
    /// The connection limit is reached.
    pub(crate) const TOO_MANY_CONNECTIONS: Self = Self(*b"53300");
    /// A setting cannot be changed in this way.
    pub(crate) const CANT_CHANGE_PARAMETER: Self = Self(*b"55P02");
    /// A lock was not available in time.
    pub(crate) const LOCK_NOT_AVAILABLE: Self = Self(*b"55P03");
    /// The statement was cancelled.
    pub(crate) const CANCELLED: Self = Self(*b"57014");
    /// An administrator ended the session.
    pub(crate) const ADMIN_SHUTDOWN: Self = Self(*b"57P01");
    /// The session was ended because another process crashed.
    pub(crate) const CRASH_SHUTDOWN: Self = Self(*b"57P02");
    /// The server is starting, stopping or recovering.
    pub(crate) const CANNOT_CONNECT_NOW: Self = Self(*b"57P03");
    /// An internal error, such as a catalog entry that no longer exists.
    pub(crate) const INTERNAL: Self = Self(*b"XX000");

    /// Parses an SQLSTATE.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let state: [u8; 5] = text.as_bytes().try_into().ok()?;
        state.iter().all(u8::is_ascii_alphanumeric).then_some(Self(state))
    }

    /// The SQLSTATE of an error, if a server reported it to one of the program's own sessions.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        error.fact().copied()
    }

    /// Whether an error has one of these.
    pub(crate) fn is_any(error: &Error, states: &[Self]) -> bool {
        Self::of(error).is_some_and(|state| states.contains(&state))
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or("?????"))
    }
}

/// How an error is recognised.
#[derive(Clone, Copy)]
pub(super) enum Sign {
    /// One of these states, in whatever language the server speaks. Where only the text is known: all of these.
    State(&'static [SqlState], &'static [&'static str]),
    /// All of these texts, and one of these states where it is known: it has several meanings.
    Both(&'static [SqlState], &'static [&'static str]),
    /// All of these texts: of libpq and poolers, which have no codes, and of servers before there is a session.
    Text(&'static [&'static str]),
}

impl Sign {
    pub(super) fn fits(self, state: Option<SqlState>, said: &str) -> bool {
        let texts = |texts: &[&str]| texts.iter().all(|text| said.contains(text));
        match (self, state) {
            (Self::State(states, _), Some(state)) => states.contains(&state),
            (Self::Both(states, all), Some(state)) => states.contains(&state) && texts(all),
            (Self::State(_, all) | Self::Both(_, all), None) | (Self::Text(all), _) => texts(all),
        }
    }
}

/// libpq's texts for a lost connection, which psql repeats if there is no other message.
pub(super) const CLOSED: &str = "server closed the connection";

/// Temporary failures of a server or of the connection. The first matching row counts.
const PASSING: [(Sign, Passing); 21] = {
    use Sign::{Both, State, Text};
    [
        (State(&[SqlState::TOO_MANY_CONNECTIONS], &["too many clients"]), Passing::Connections),
        (State(&[SqlState::TOO_MANY_CONNECTIONS], &["too many connections"]), Passing::Connections),
        (State(&[SqlState::TOO_MANY_CONNECTIONS], &["remaining connection slots"]), Passing::Connections),
        // PgBouncer's text
        (Text(&["no more connections allowed"]), Passing::Connections),
        (State(&[SqlState::SERIALIZATION_FAILURE], &["conflict with recovery"]), Passing::Busy),
        (State(&[SqlState::DEADLOCK], &["deadlock detected"]), Passing::Busy),
        (State(&[SqlState::SERIALIZATION_FAILURE], &["could not serialize access"]), Passing::Busy),
        (State(&[SqlState::CANNOT_CONNECT_NOW], &["the database system is"]), Passing::Busy),
        (
            State(&[SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN], &["terminating connection"]),
            Passing::Busy,
        ),
        (Text(&[CLOSED]), Passing::Unreachable),
        (Text(&["connection to server was lost"]), Passing::Unreachable),
        (Text(&["Connection reset by peer"]), Passing::Unreachable),
        (Text(&["SSL SYSCALL error"]), Passing::Unreachable),
        (Text(&["Connection refused"]), Passing::Unreachable),
        (Text(&["No such file or directory", "socket"]), Passing::Unreachable),
        (Text(&["timeout expired"]), Passing::Unreachable),
        (Text(&["No route to host"]), Passing::Unreachable),
        (State(&[SqlState::LOCK_NOT_AVAILABLE], &["lock timeout"]), Passing::Changed),
        // Tables changed while the catalogs were read.
        (State(&[SqlState::UNDEFINED_TABLE], &["ERROR:", "relation \"", "does not exist"]), Passing::Changed),
        (State(&[SqlState::UNDEFINED_COLUMN], &["ERROR:", "column \"", "does not exist"]), Passing::Changed),
        (Both(&[SqlState::INTERNAL], &["ERROR:", "cache lookup failed"]), Passing::Changed),
    ]
};

/// The statement that failed, as `pg_dump` repeats it. Its reason, usually the time limit, is in the language of the server.
const LOCKING: Sign = Sign::Text(&["LOCK TABLE"]);

/// Whether `pg_dump` failed when it locked its tables.
pub(super) fn failed_to_lock(said: &str) -> bool {
    LOCKING.fits(None, said)
}

/// Whether an error is temporary; `state` is the server's SQLSTATE, if known.
pub(super) fn passing(state: Option<SqlState>, said: &str) -> Option<Passing> {
    PASSING.iter().find(|(sign, _)| sign.fits(state, said)).map(|(_, passing)| *passing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_stays() {
        for (message, expected) in [
            ("FATAL:  too many connections for role \"backup\"", Some(Passing::Connections)),
            ("FATAL:  sorry, too many clients already", Some(Passing::Connections)),
            ("ERROR:  canceling statement due to conflict with recovery", Some(Passing::Busy)),
            ("FATAL:  the database system is starting up", Some(Passing::Busy)),
            ("pg_dump: error: query failed: ERROR:  relation \"a.b\" does not exist", Some(Passing::Changed)),
            ("FATAL:  password authentication failed for user \"x\"", None),
            ("FATAL:  database \"shop\" does not exist", None),
            ("ERROR:  permission denied for table x", None),
        ] {
            assert_eq!(passing(None, message), expected, "{message}");
        }
    }

    #[test]
    fn a_failure_to_lock_is_told_from_others() {
        let said = "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout\n\
                    pg_dump: detail: Query was: LOCK TABLE public.prices IN ACCESS SHARE MODE";
        assert!(failed_to_lock(said) && passing(None, said).is_none());
        assert!(!failed_to_lock("ERROR:  canceling statement due to statement timeout"));
    }

    #[test]
    fn where_the_state_is_known_it_decides() {
        let of = |state: &str, said: &str| passing(SqlState::parse(state), said);
        assert_eq!(of("40P01", "FEHLER: Verklemmung entdeckt"), Some(Passing::Busy));
        assert_eq!(of("42P01", "FEHLER: Relation »a« existiert nicht"), Some(Passing::Changed));
        assert_eq!(of("42704", "ERROR: relation \"x\" does not exist"), None, "the text is no reason");
        assert_eq!(of("P0001", "ERROR: deadlock detected, said a trigger"), None);
        assert_eq!(of("XX000", "ERROR: cache lookup failed for relation 5"), Some(Passing::Changed));
        assert_eq!(of("XX000", "ERROR: something else"), None);
    }

    #[test]
    fn a_state_travels_with_its_error() {
        let error = Error::failed("x").with(SqlState::CANCELLED).context("pg/shop");
        assert_eq!(SqlState::of(&error), Some(SqlState::CANCELLED));
        assert!(SqlState::is_any(&error, &[SqlState::DEADLOCK, SqlState::CANCELLED]));
        assert_eq!(SqlState::of(&Error::failed("(SQLSTATE 57014)")), None);
        assert_eq!(SqlState::CANCELLED.to_string(), "57014");
        for text in ["", "0000", "000000", "42 01"] {
            assert_eq!(SqlState::parse(text), None, "{text}");
        }
    }
}
