//! Hints for the error messages of libpq, its tools and the server.

use super::code::{
    self,
    Sign::{self, Both, State, Text},
    SqlState,
};
use crate::{error::Error, stream::process::ToolMessages};

/// Hints for errors. The first matching row counts.
///
/// A server configured for another language writes other texts: errors that are recognised by text alone then have no hint.
const HINTS: [(Sign, &str); 35] = [
    (
        Text(&["password authentication failed"]),
        "the password is wrong or the role does not exist (the server does not say which): check `user` and \
         `password_file`",
    ),
    (Text(&["no password supplied"]), "the server asks for a password: set `password_file`"),
    (
        Text(&["Peer authentication failed"]),
        "the socket admits only the system user of that name: run as it, or change pg_hba.conf",
    ),
    (
        Text(&["no pg_hba.conf entry", "no encryption"]),
        "the server may insist on TLS: set `sslmode = \"require\"` or stronger, or admit this host in pg_hba.conf",
    ),
    (
        Text(&["no pg_hba.conf entry"]),
        "the server does not admit this host and role: add a line to its pg_hba.conf or firewall rules",
    ),
    (Text(&["FATAL", "role \"", "does not exist"]), "check `user`, or create the role on the server"),
    (
        Text(&["FATAL", "database \"", "does not exist"]),
        "the database was dropped or renamed meanwhile, or `databases` has a wrong name",
    ),
    (Text(&["could not translate host name"]), "check `host`, and the name resolution of this machine"),
    (
        Text(&["Connection refused"]),
        "nothing listens there: check `host` and `port`, and that the server runs",
    ),
    (
        Text(&["No such file or directory", "socket"]),
        "`host` must be the directory of the server's socket, and the server must be running",
    ),
    (
        Text(&["Permission denied", "socket"]),
        "the user that runs this program may not open the server's socket",
    ),
    (
        Text(&["timeout expired"]),
        "no answer: check that PostgreSQL listens at `host` and `port`, and the firewalls between here and the server",
    ),
    (
        Text(&["received invalid response"]),
        "what listens there does not speak PostgreSQL's protocol: check `host` and `port`",
    ),
    (
        Text(&["expected authentication request from server"]),
        "what listens there does not speak PostgreSQL's protocol: check `host` and `port`",
    ),
    (Text(&["timed out"]), "no answer: check `host`, `port` and the firewalls between here and the server"),
    (Text(&["No route to host"]), "check `host` and the network of this machine"),
    (Text(&["Network is unreachable"]), "check `host` and the network of this machine"),
    (
        Text(&["certificate verify failed"]),
        "the server's certificate is not signed by a trusted authority: name the authority's file as `sslrootcert` \
         (or \"system\" for public authorities)",
    ),
    (Text(&["root certificate file"]), "`sslrootcert` must name a readable file, or be \"system\""),
    (Text(&["does not match host name"]), "`host` must be a name the server's certificate was issued for"),
    (
        Text(&["server does not support SSL"]),
        "enable TLS on the server, or lower `sslmode` if the network is trusted",
    ),
    (
        Text(&["SSL support is not compiled in"]),
        "these client tools cannot do TLS: install the distribution's `postgresql-client`",
    ),
    (
        Text(&["unsupported startup parameter"]),
        "a connection pooler is in between: give `host` and `port` of the server itself",
    ),
    (State(&[SqlState::READ_ONLY], &["in a read-only transaction"]), READ_ONLY),
    (
        Text(&["too many clients"]),
        "raise `max_connections` on the server or lower the number of parallel items",
    ),
    (
        Text(&["too many connections for"]),
        "the role or database has a limit of connections: each item needs two; raise it (ALTER ROLE … CONNECTION LIMIT) or \
         set `jobs` of this source to half of it",
    ),
    (
        Both(&[SqlState::SERIALIZATION_FAILURE], &["conflict with recovery"]),
        "the standby cancelled the query so that replication could continue: set `hot_standby_feedback = on` there or raise \
         `max_standby_streaming_delay`, or back up the primary",
    ),
    (
        State(&[SqlState::DEADLOCK], &["deadlock detected"]),
        "the application changes tables in another order than the backup locks them: choose a `schedule` at which it does not",
    ),
    (
        Text(&["terminating connection"]),
        "the server was stopped or restarted, or an administrator ended the session: see the server's log",
    ),
    (
        Text(&["remaining connection slots"]),
        "raise `max_connections` on the server or lower the number of parallel items",
    ),
    (
        State(&[SqlState::CANNOT_CONNECT_NOW], &["the database system is"]),
        "the server is starting, stopping or recovering: try again when it is up",
    ),
    (Text(&["server version mismatch"]), "install client tools of the server's version"),
    (
        Both(&[SqlState::INSUFFICIENT_PRIVILEGE], &["permission denied for large object"]),
        "large objects can be read by their owner or a superuser, or by every role if the server sets \
         `lo_compat_privileges`",
    ),
    (
        Both(&[SqlState::INSUFFICIENT_PRIVILEGE], &["row-level security"]),
        "a backup must see all rows: `ALTER ROLE … BYPASSRLS` for the backup role",
    ),
    (
        Both(&[SqlState::INSUFFICIENT_PRIVILEGE], &["permission denied"]),
        "grant the backup role the missing privileges: `GRANT pg_read_all_data TO …` (PostgreSQL 14 or newer), and \
         CONNECT on the database",
    ),
];

/// The hint for a server that accepts no changes.
pub const READ_ONLY: &str = "restore into a server that accepts changes: this one is a standby (restore into its primary), or \
     `default_transaction_read_only` is on for it, the database or the account (managed servers do that when their disk is \
     nearly full)";

fn hint(state: Option<SqlState>, said: &str) -> Option<&'static str> {
    HINTS.iter().find(|(sign, _)| sign.fits(state, said)).map(|(_, hint)| *hint)
}

/// Adds to an error what is known about the message of libpq, a client tool or the server: its SQLSTATE, whether it is
/// temporary, and a hint unless the error has one.
#[must_use]
pub(super) fn with_hint(error: Error, state: Option<SqlState>, said: &str) -> Error {
    let error = match state {
        Some(state) => error.with(state),
        None => error,
    };
    let error = match code::passing(state, said) {
        Some(passing) => error.passes(passing),
        None => error,
    };
    match hint(state, said) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The same for the error of a failed tool.
#[must_use]
pub(super) fn explain(error: Error) -> Error {
    let said = ToolMessages::of(&error).to_owned();
    with_hint(error, None, &said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrower_cause_wins() {
        let no_tls =
            "FATAL:  no pg_hba.conf entry for host \"10.0.0.1\", user \"u\", database \"d\", no encryption";
        assert!(hint(None, no_tls).is_some_and(|hint| hint.contains("sslmode")));
        let tls =
            "FATAL:  no pg_hba.conf entry for host \"10.0.0.1\", user \"u\", database \"d\", SSL encryption";
        assert!(hint(None, tls).is_some_and(|hint| hint.contains("firewall")));
        assert_eq!(hint(None, "something new"), None);
        let query = "in database \"shop\": ERROR:  relation \"x\" does not exist";
        assert_eq!(hint(None, query), None, "another thing does not exist");
    }

    #[test]
    fn a_hint_given_before_stays() {
        let refused = || Error::failed("x").with(ToolMessages::new("Connection refused"));
        assert_eq!(explain(refused().hint("first")).hint_text(), Some("first"));
        assert!(explain(refused()).hint_text().is_some_and(|hint| hint.contains("nothing listens")));
        // A message of the repository's storage, not of a tool.
        let storage = explain(Error::repository("Connection refused"));
        assert!(storage.hint_text().is_none() && storage.passing().is_none());
    }
}
