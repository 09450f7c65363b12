//! How many sessions a restore may use, by the settings of the target server.

use crate::source::mysql::session::Session;

/// Each session that loads rows needs about this much of InnoDB's buffer pool: with less, the sessions push each other's pages
/// out.
const POOL: u64 = 64 << 20;
/// At most this many sessions unless a number is given.
const MOST: usize = 4;

/// The number of sessions that load rows, beside the one that creates the tables.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// At least one.
    Of(usize),
    /// At least one, less than wanted, and the reason.
    Less(usize, String),
    /// All must be done in one session, and the reason.
    One(&'static str),
}

/// What a server tells of its limits; 0 stands for no limit, and for what it does not tell.
#[derive(Debug, Default)]
struct Limits {
    pool: u64,
    connections: u64,
    connected: u64,
    of_account: u64,
    of_account_connected: u64,
    cluster: bool,
}

/// The number of sessions that is wanted.
pub(super) fn wanted(jobs: Option<usize>) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MOST);
    jobs.unwrap_or_else(processors).max(1)
}

/// The number of sessions for this server.
pub(super) fn number(session: &Session<'_>, wanted: usize) -> Number {
    choose(&ask(session), wanted)
}

fn choose(limits: &Limits, wanted: usize) -> Number {
    if limits.cluster {
        return Number::One("the server is a node of a cluster that accepts writes on several nodes");
    }
    // The session of definitions is one more, and the one that asked is closed before.
    let of_server = limits.connections.saturating_sub(limits.connected);
    let of_account = limits.of_account.saturating_sub(limits.of_account_connected);
    let mut number = wanted as u64;
    let mut reason = String::new();
    let mut at_most = |limit: u64, text: String| {
        if limit < number {
            (number, reason) = (limit, text);
        }
    };
    if limits.pool > 0 {
        at_most(
            (limits.pool / POOL).max(1),
            format!("innodb_buffer_pool_size of the server is {} MiB", limits.pool >> 20),
        );
    }
    if limits.connections > 0 {
        // Half of them are left to others.
        at_most((of_server / 2).max(1), format!("the server has {of_server} connections left"));
    }
    if limits.of_account > 0 {
        at_most(of_account.max(1), format!("max_user_connections of the account is {}", limits.of_account));
    }
    let number = usize::try_from(number).unwrap_or(1);
    if reason.is_empty() { Number::Of(number) } else { Number::Less(number, reason) }
}

/// What a server does not tell is no limit: a session that cannot connect is not used.
fn ask(session: &Session<'_>) -> Limits {
    let mut limits = Limits::default();
    let settings: [&str; 3] = ["innodb_buffer_pool_size", "max_connections", "session.max_user_connections"];
    let wanted = settings.map(|name| format!("@@{name}")).join(", ");
    if let Ok([pool, connections, of_account]) = session.row(&format!("SELECT {wanted}")) {
        limits.pool = pool.parse().unwrap_or(0);
        limits.connections = connections.parse().unwrap_or(0);
        limits.of_account = of_account.parse().unwrap_or(0);
    }
    if let Ok([_, connected]) = session.row("SHOW GLOBAL STATUS LIKE 'Threads_connected'") {
        limits.connected = connected.parse().unwrap_or(0);
    }
    if limits.of_account > 0 {
        // The processes of the account are visible to it; that of this query ends before the restore.
        let user = session.row::<1>("SELECT USER()").ok();
        let user = user.and_then(|[user]| Some(user.rsplit_once('@')?.0.to_owned())).unwrap_or_default();
        let own = session.query("SHOW PROCESSLIST").unwrap_or_default();
        let own = own.iter().filter(|row| row.get(1) == Some(&user)).count();
        limits.of_account_connected = own as u64;
    }
    let cluster = "SHOW GLOBAL VARIABLES WHERE (Variable_name = 'wsrep_on' AND Value = 'ON') OR \
                   (Variable_name = 'group_replication_single_primary_mode' AND Value = 'OFF')";
    limits.cluster = session.query(cluster).is_ok_and(|rows| !rows.is_empty());
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_counts_and_is_named() {
        let roomy = || Limits { pool: 1 << 30, connections: 151, connected: 3, ..Limits::default() };
        assert_eq!(choose(&roomy(), 4), Number::Of(4));
        assert_eq!(choose(&Limits::default(), 4), Number::Of(4), "a server that tells nothing");
        let less = |limits: Limits, wanted| match choose(&limits, wanted) {
            Number::Less(number, reason) => (number, reason),
            other => panic!("{other:?}"),
        };
        let (number, reason) = less(Limits { pool: 128 << 20, ..roomy() }, 4);
        assert!(number == 2 && reason.contains("128 MiB"), "{number} {reason}");
        assert_eq!(less(Limits { pool: 8 << 20, ..roomy() }, 2).0, 1);
        let (number, reason) = less(Limits { connected: 146, ..roomy() }, 4);
        assert!(number == 2 && reason.contains("5 connections left"), "{number} {reason}");
        assert_eq!(less(Limits { connected: 151, ..roomy() }, 4).0, 1);
        let (number, reason) = less(Limits { of_account: 3, of_account_connected: 1, ..roomy() }, 4);
        assert!(number == 2 && reason.contains("max_user_connections"), "{number} {reason}");
        assert_eq!(less(Limits { of_account: 2, of_account_connected: 1, ..roomy() }, 4).0, 1);
        assert!(matches!(choose(&Limits { cluster: true, ..roomy() }, 4), Number::One(_)));
    }

    #[test]
    fn a_given_number_is_not_bounded_by_this_machine() {
        assert_eq!(wanted(Some(16)), 16);
        assert_eq!(wanted(Some(0)), 1);
        assert!((1..=MOST).contains(&wanted(None)));
    }
}
