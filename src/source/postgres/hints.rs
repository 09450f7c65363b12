//! What to do about the messages of libpq, its tools and the server.

use super::passing;
use crate::error::Error;

/// Texts that must all occur in a message, and what to do about it. The first row that fits counts.
///
/// A server with another language configured writes other texts: then there is no hint, and the message stands alone.
const HINTS: [(&[&str], &str); 35] = [
    (
        &["password authentication failed"],
        "the password is wrong or the role does not exist (the server does not tell which): check `user` and \
         `password_file`",
    ),
    (&["no password supplied"], "the server asks for a password: set `password_file`"),
    (
        &["Peer authentication failed"],
        "the socket admits only the system user of that name: run as it, or change pg_hba.conf",
    ),
    (
        &["no pg_hba.conf entry", "no encryption"],
        "the server may insist on TLS: set `sslmode = \"require\"` or stronger, or admit this host in pg_hba.conf",
    ),
    (
        &["no pg_hba.conf entry"],
        "the server does not admit this host and role: add a line to its pg_hba.conf or firewall rules",
    ),
    (&["FATAL", "role \"", "does not exist"], "check `user`, or create the role on the server"),
    (
        &["FATAL", "database \"", "does not exist"],
        "the database was dropped or renamed meanwhile, or `databases` names a wrong one",
    ),
    (&["could not translate host name"], "check `host`, and the name resolution of this machine"),
    (&["Connection refused"], "nothing listens there: check `host` and `port`, and that the server runs"),
    (
        &["No such file or directory", "socket"],
        "`host` must be the folder of the server's socket, and the server must run",
    ),
    (&["Permission denied", "socket"], "the user that runs this program may not open the server's socket"),
    (
        &["timeout expired"],
        "no answer: check that PostgreSQL listens at `host` and `port`, and the firewalls between here and the server",
    ),
    (
        &["received invalid response"],
        "what listens there does not speak PostgreSQL's protocol: check `host` and `port`",
    ),
    (
        &["expected authentication request from server"],
        "what listens there does not speak PostgreSQL's protocol: check `host` and `port`",
    ),
    (&["timed out"], "no answer: check `host`, `port` and the firewalls between here and the server"),
    (&["No route to host"], "check `host` and the network of this machine"),
    (&["Network is unreachable"], "check `host` and the network of this machine"),
    (
        &["certificate verify failed"],
        "the server's certificate is not signed by a trusted authority: name the authority's file as `sslrootcert` \
         (or \"system\" for public authorities)",
    ),
    (&["root certificate file"], "`sslrootcert` must name a readable file, or be \"system\""),
    (&["does not match host name"], "`host` must be a name the server's certificate was issued for"),
    (
        &["server does not support SSL"],
        "enable TLS on the server, or lower `sslmode` if the network is trusted",
    ),
    (
        &["SSL support is not compiled in"],
        "these client tools cannot do TLS: install the distribution's `postgresql-client`",
    ),
    (
        &["unsupported startup parameter"],
        "a connection pooler is in between: give `host` and `port` of the server itself",
    ),
    (&["in a read-only transaction"], READ_ONLY),
    (&["too many clients"], "raise `max_connections` on the server or lower the number of parallel items"),
    (
        &["too many connections for"],
        "the role or database has a limit of connections: each item needs two; raise it (ALTER ROLE … CONNECTION LIMIT) or \
         set `jobs` of this source to half of it",
    ),
    (
        &["conflict with recovery"],
        "the standby ended the query so that replication could go on: set `hot_standby_feedback = on` there or raise \
         `max_standby_streaming_delay`, or back the primary up",
    ),
    (
        &["deadlock detected"],
        "the application changes tables in another order than the backup locks them: choose a `schedule` at which it does not",
    ),
    (
        &["terminating connection"],
        "the server was stopped or restarted, or somebody ended the session: see its log",
    ),
    (
        &["remaining connection slots"],
        "raise `max_connections` on the server or lower the number of parallel items",
    ),
    (&["the database system is"], "the server is starting, stopping or recovering: try again when it is up"),
    (&["server version mismatch"], "install client tools of the server's version"),
    (
        &["permission denied for large object"],
        "large objects can be read by their owner or a superuser, or by everybody where the server sets \
         `lo_compat_privileges`",
    ),
    (&["row-level security"], "a backup must see all rows: `ALTER ROLE … BYPASSRLS` for the backup role"),
    (
        &["permission denied"],
        "grant the backup role what it may not read: `GRANT pg_read_all_data TO …` (PostgreSQL 14 or newer), and \
         CONNECT on the database",
    ),
];

/// What to do if a server takes no changes.
pub const READ_ONLY: &str = "restore into a server that takes changes: this one is a standby (restore into its primary), or \
     `default_transaction_read_only` is on for it, the database or the account (managed servers do that when their disk is \
     nearly full)";

/// What to do about a message of libpq, a client tool or the server, if that is known.
pub fn hint_for(message: &str) -> Option<&'static str> {
    HINTS.iter().find(|(texts, _)| texts.iter().all(|text| message.contains(text))).map(|(_, hint)| *hint)
}

/// Adds the hint for what was said, unless the error has one.
#[must_use]
pub fn with_hint(error: Error, said: &str) -> Error {
    let error = match passing::of(said) {
        Some(passing) => error.passes(passing),
        None => error,
    };
    match hint_for(said) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Adds the hint for the error of a failed tool, unless it has one.
#[must_use]
pub fn explain(error: Error) -> Error {
    let said = error.summary();
    with_hint(error, &said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrower_cause_wins() {
        let no_tls =
            "FATAL:  no pg_hba.conf entry for host \"10.0.0.1\", user \"u\", database \"d\", no encryption";
        assert!(hint_for(no_tls).is_some_and(|hint| hint.contains("sslmode")));
        let tls =
            "FATAL:  no pg_hba.conf entry for host \"10.0.0.1\", user \"u\", database \"d\", SSL encryption";
        assert!(hint_for(tls).is_some_and(|hint| hint.contains("firewall")));
        assert_eq!(hint_for("something new"), None);
        let query = "in database \"shop\": ERROR:  relation \"x\" does not exist";
        assert_eq!(hint_for(query), None, "another thing does not exist");
    }

    #[test]
    fn a_hint_given_before_stays() {
        let error = explain(Error::failed("Connection refused").hint("first"));
        assert_eq!(error.hint_text(), Some("first"));
    }
}
