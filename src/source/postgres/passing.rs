//! Which failures of a server, or of the way to it, pass by themselves.

use crate::error::Passing;

/// Texts that must all occur in a message of libpq, a client tool or the server; the first row that fits counts. Tools do
/// not give the SQLSTATE, which stands beside each row for reference.
const PASSING: [(&[&str], Passing); 21] = [
    // 53300
    (&["too many clients"], Passing::Connections),
    (&["too many connections"], Passing::Connections),
    (&["remaining connection slots"], Passing::Connections),
    // PgBouncer's word for it
    (&["no more connections allowed"], Passing::Connections),
    // 40001, 57P01: on a standby
    (&["conflict with recovery"], Passing::Busy),
    // 40P01
    (&["deadlock detected"], Passing::Busy),
    // 40001
    (&["could not serialize access"], Passing::Busy),
    // 57P03
    (&["the database system is"], Passing::Busy),
    // 57P01, 57P02
    (&["terminating connection"], Passing::Busy),
    (&["server closed the connection"], Passing::Unreachable),
    (&["connection to server was lost"], Passing::Unreachable),
    (&["Connection reset by peer"], Passing::Unreachable),
    (&["SSL SYSCALL error"], Passing::Unreachable),
    (&["Connection refused"], Passing::Unreachable),
    (&["No such file or directory", "socket"], Passing::Unreachable),
    (&["timeout expired"], Passing::Unreachable),
    (&["No route to host"], Passing::Unreachable),
    // 55P03
    (&["lock timeout"], Passing::Changed),
    // 42P01, 42703 and XX000: tables changed while the catalogs were read
    (&["ERROR:", "relation \"", "does not exist"], Passing::Changed),
    (&["ERROR:", "column \"", "does not exist"], Passing::Changed),
    (&["ERROR:", "cache lookup failed"], Passing::Changed),
];

/// Whether what was said passes by itself.
pub(super) fn of(message: &str) -> Option<Passing> {
    let fits = |texts: &[&str]| texts.iter().all(|text| message.contains(text));
    PASSING.iter().find(|(texts, _)| fits(texts)).map(|(_, passing)| *passing)
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
            assert_eq!(of(message), expected, "{message}");
        }
    }
}
