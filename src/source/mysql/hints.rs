//! Hints for the errors of clients and servers, and which of them are temporary.

use super::code::{Code, Tool, number};
use crate::{
    error::{Error, Passing},
    stream::process::ToolMessages,
};

/// The connection was lost or is gone: the server restarted, the network failed, or the server waited longer than its
/// `net_write_timeout` for us, because the storage stood still.
const LOST: [u32; 2] = [number::SERVER_GONE, number::SERVER_LOST];
/// The server could not read from or write to the connection any more, or closed it because nothing happened on it.
const BROKEN_OFF: [u32; 5] = [1158, 1159, 1160, 1161, number::IDLE];

/// The connection broke.
const BROKE: &str = "the connection broke: see the server's log; if the repository's storage stalls for longer than the \
                     server's `net_write_timeout`, raise that on the server";
/// Privileges that the dump of a database needs.
const GRANTS: &str =
    "grant the backup account what it needs: GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO …";

/// Clients do not distinguish an unknown authority from a wrong name.
const CERTIFICATE: &str = "the server's certificate was not verified: name the file of the authority that signed it as `sslrootcert`; \
     `host` must be a name the server's certificate was issued for";

/// A file or tablespace of a table already exists.
const OCCUPIED: &str = "the table's file already exists in the directory that its definition names: restore with --no-tablespaces, \
                        which puts all files into the server's data directory, or move that file away if nothing uses it";

/// A table's directory is not writable.
const UNREACHABLE: &str = "the server cannot write to the directory that the table's definition names (DATA DIRECTORY, INDEX DIRECTORY): create \
                           it for the server, or restore with --no-tablespaces";

/// A table can only be created without InnoDB's strict mode.
const NOT_STRICT: &str = "the source created the table without `innodb_strict_mode`: restore as an account with SESSION_VARIABLES_ADMIN \
                          and with --no-tablespaces, or set `innodb_strict_mode = OFF` on the target for the restore";

/// A script asked the client for a file.
const LOCAL_FILE: &str = "the script requests a file of this machine, which no dump does; the file was not sent. The script may have been \
                          manipulated: inspect it (--to DIR), and check who can write to the repository";

/// How an error is recognised.
#[derive(Clone, Copy)]
enum Sign {
    /// One of these numbers.
    Number(&'static [u32]),
    /// One of these numbers, and all of these texts: numbers of the system, privileges and options stand in the text alone.
    Both(&'static [u32], &'static [&'static str]),
    /// One of these numbers, reported by the SQL client: when something is restored.
    Client(&'static [u32]),
    /// The same with all of these texts.
    ClientBoth(&'static [u32], &'static [&'static str]),
    /// All of these texts, if the number is not specific or missing: dump tools report none for their own checks, the two
    /// families have different numbers for TLS and plugins, and the libraries below have none.
    Text(&'static [&'static str]),
}
use Sign::{Both, ClientBoth, Number, Text};

impl Sign {
    fn fits(self, code: Option<Code<'_>>, messages: &str) -> bool {
        let (numbers, texts, tool): (&[u32], &[&str], Option<Tool>) = match self {
            Number(numbers) => (numbers, &[], None),
            Both(numbers, texts) => (numbers, texts, None),
            Self::Client(numbers) => (numbers, &[], Some(Tool::Client)),
            ClientBoth(numbers, texts) => (numbers, texts, Some(Tool::Client)),
            Text(texts) => (&[], texts, None),
        };
        let by_tool = tool.is_none_or(|tool| code.is_some_and(|code| code.tool == tool));
        let by_number = numbers.is_empty() || code.is_some_and(|code| numbers.contains(&code.number));
        by_tool && by_number && texts.iter().all(|text| messages.contains(text))
    }
}

/// Hints for errors. The first matching row counts.
const HINTS: &[(Sign, &str)] = &[
    (
        Number(&[1969, 3024]),
        "the server ends statements that take this long: remove the limit for the backup account (MariaDB: ALTER USER … WITH \
         MAX_STATEMENT_TIME 0; `max_statement_time`), or for the server (MySQL: `max_execution_time = 0`)",
    ),
    (
        Both(&[number::SERVER_LOST], &["initial communication packet"]),
        "the address accepts connections but does not speak MySQL's protocol, or the server is overloaded: check `host` \
         and `port`",
    ),
    // One that is gone (2006) may also be one that the server closed because of a row.
    (Number(&[number::SERVER_LOST, 1158, 1159, 1160, 1161, number::IDLE]), BROKE),
    (Both(&[number::LOGIN_DENIED], &["using password: NO"]), "set `password_file`"),
    (
        Both(&[number::LOGIN_DENIED], &["using password"]),
        "the password is wrong, the server has no such account for this host, or the account requires TLS: check `user`, \
         `password_file` and `sslmode`",
    ),
    (Number(&[number::DATABASE_DENIED]), GRANTS),
    (
        Both(&[1370], &["execute command denied", "(1370)"]),
        "views that call routines need the EXECUTE privilege: GRANT EXECUTE ON *.* TO …",
    ),
    (Text(&["PROCESS privilege"]), "GRANT PROCESS ON *.* TO …"),
    (
        Text(&["insufficent privileges to SHOW CREATE"]),
        "let the account read routines of all definers: GRANT SHOW_ROUTINE ON *.* TO … (MySQL), GRANT SELECT ON \
         mysql.proc TO … (MariaDB)",
    ),
    (
        Number(&[1356]),
        "the view is broken on the server as well, or its definer lacks a privilege: repair or drop it there",
    ),
    (
        Number(&[1412]),
        "a table was altered during the dump: run the backup again when no schema change is running",
    ),
    (Number(&[144, 145, 1194, 1195]), "repair the table on the server: REPAIR TABLE …, or restore it"),
    (
        Number(&[1153, 2020]),
        "a row is larger than `max_allowed_packet` of the server, or than 1 GiB: raise it there",
    ),
    (
        Text(&["Plugin", "could not be loaded"]),
        "the client lacks the authentication the account uses: install the client of the server's own family",
    ),
    (
        Text(&["Authentication plugin", "cannot be loaded"]),
        "the client lacks the authentication the account uses: install the client of the server's own family",
    ),
    (Text(&["insecure transport"]), "the server insists on TLS: set `sslmode = \"require\"` or stronger"),
    (Text(&["requires secure connection"]), "set `sslmode = \"require\"` or stronger"),
    (
        Text(&["require_secure_transport"]),
        "the server insists on TLS: set `sslmode = \"require\"` or stronger",
    ),
    (Text(&["certificate verify failed"]), CERTIFICATE),
    (Text(&["self-signed certificate"]), CERTIFICATE),
    (Text(&["self signed certificate"]), CERTIFICATE),
    (Text(&["issuer certificate"]), CERTIFICATE),
    (Text(&["hostname mismatch"]), "`host` must be a name the server's certificate was issued for"),
    (
        Text(&["Validation of SSL server certificate failed"]),
        "`host` must be a name the server's certificate was issued for",
    ),
    (
        Text(&["SSL connection error", "not support"]),
        "enable TLS on the server, or lower `sslmode` if the network is trusted",
    ),
    (Text(&["SSL is required"]), "enable TLS on the server, or lower `sslmode` if the network is trusted"),
    (Number(&[2005]), "check `host`, and the name resolution of this machine"),
    (
        Both(&[2002], &["through socket", "(2)"]),
        "there is no socket at that path: `host` must be the path of the server's socket, and the server must run",
    ),
    (
        Both(&[2002], &["through socket", "(13)"]),
        "the user that runs this program may not open the server's socket",
    ),
    (
        Both(&[2002], &["through socket"]),
        "nothing listens at that socket: check `host`, and that the server runs",
    ),
    (Text(&["(111)"]), "nothing listens there: check `host` and `port`, and that the server runs"),
    (Text(&["(110)"]), "no answer: check `host`, `port` and the firewalls between here and the server"),
    (Text(&["(113)"]), "check `host` and the network of this machine"),
    (Number(&[1040]), "raise `max_connections` on the server or lower the number of parallel items"),
    (
        Number(&[2055]),
        "the connection broke: see the server's log and check its timeouts (`net_write_timeout`), then run it again",
    ),
    (
        Number(&[number::SERVER_GONE]),
        "the server closed the connection: a row may be larger than its `max_allowed_packet`, or it was restarted",
    ),
    (
        Text(&["--secure-timestamp"]),
        "with that option the server accepts no history of rows: set `secure_timestamp=NO` on the target for the restore",
    ),
    (
        Both(&[number::PRIVILEGE_NEEDED], &["SYSTEM_USER"]),
        "restore as an account with more privileges, or with --no-owner, which drops all definers",
    ),
    (
        Both(&[number::PRIVILEGE_NEEDED], &["SET_USER_ID"]),
        "restore as an account with SET_USER_ID, or with --no-owner, which drops all definers",
    ),
    (
        Both(&[number::PRIVILEGE_NEEDED], &["SET_ANY_DEFINER"]),
        "restore as an account with SET_ANY_DEFINER, or with --no-owner, which drops all definers",
    ),
    (
        Both(&[number::PRIVILEGE_NEEDED], &["SET USER"]),
        "restore as an account with SET USER, or with --no-owner, which drops all definers",
    ),
    (
        Text(&["SUPER", "privilege"]),
        "restore as an account with that privilege, or with --no-owner, which drops all definers; a server with a binary log may \
         need `log_bin_trust_function_creators`",
    ),
    (
        ClientBoth(&[3510], &["ablespace"]),
        "create the tablespace on the target (CREATE TABLESPACE …), or restore with --no-tablespaces",
    ),
    (
        Sign::Client(&[3121]),
        "name the directory in the target's `innodb_directories`, or restore with --no-tablespaces, which puts all files into the \
         server's data directory",
    ),
    (Sign::Client(&[1813]), OCCUPIED),
    (ClientBoth(&[1005], &["errno: 184"]), OCCUPIED),
    (ClientBoth(&[1005], &["errno: 168"]), UNREACHABLE),
    (ClientBoth(&[1], &["Errcode: 17"]), OCCUPIED),
    (ClientBoth(&[1], &["Errcode: "]), UNREACHABLE),
    (
        Sign::Client(&[3819]),
        "the source has rows that violate a CHECK, and MySQL checks all rows that it loads: restore the script with --to DIR, write \
         NOT ENFORCED after that constraint and load it, or repair the rows on the source and back it up again",
    ),
    (ClientBoth(&[1031], &["have this option"]), NOT_STRICT),
    (Sign::Client(&[1118]), NOT_STRICT),
    (
        Sign::Client(&[1690]),
        "a generated column cannot be computed under the modes of the load; the source's sessions may have had \
         NO_UNSIGNED_SUBTRACTION: restore the script with --to DIR, add that mode to the SQL_MODE in its head, and load it",
    ),
    (
        Sign::Client(&[3750]),
        "the target requires a primary key in each table: restore as an account with SESSION_VARIABLES_ADMIN, or set \
         `sql_require_primary_key = OFF` on the target for the restore",
    ),
    (
        Sign::Client(&[6125]),
        "a foreign key refers to a key that is not unique: restore as an account with SESSION_VARIABLES_ADMIN, or set \
         `restrict_fk_on_non_standard_key = OFF` on the target for the restore",
    ),
    (Text(&["disabled the local infile capability"]), LOCAL_FILE),
    (Text(&["LOAD DATA LOCAL INFILE file request rejected"]), LOCAL_FILE),
    (Sign::Client(&[3948]), LOCAL_FILE),
    (
        Sign::Client(&[1286]),
        "install the storage engine of that table on the target; it is not replaced by another one",
    ),
    (
        Number(&[1273]),
        "the target is older than the server of the backup: restore to one of its version or newer",
    ),
    (
        Number(&[1115]),
        "the target is older than the server of the backup: restore to one of its version or newer",
    ),
];

/// Whether the cause of an error is temporary.
fn passing(code: Code<'_>) -> Option<Passing> {
    match code.number {
        number if LOST.contains(&number) => Some(Passing::Unreachable),
        number if BROKEN_OFF.contains(&number) => Some(Passing::Busy),
        _ => None,
    }
}

/// Adds to the error of a failed tool a hint, unless it has one, and whether its cause is temporary.
#[must_use]
pub fn explain(error: Error) -> Error {
    let code = Code::of(&error);
    let messages = ToolMessages::of(&error);
    let hint = HINTS.iter().find(|(sign, _)| sign.fits(code, messages)).map(|(_, hint)| *hint);
    let error = match code.and_then(passing) {
        Some(passing) => error.passes(passing),
        None => error,
    };
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::super::code::failure;
    use super::*;

    fn hint(messages: &str) -> String {
        explain(failure(messages)).hint_text().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_lost_connection_passes_and_a_limit_does_not() {
        let of = |number: u32| {
            explain(failure(&format!("mariadb-dump: Error {number}: x when dumping table `t`"))).passing()
        };
        assert_eq!(of(2013), Some(Passing::Unreachable));
        assert_eq!(of(1159), Some(Passing::Busy));
        assert_eq!(of(4031), Some(Passing::Busy));
        for number in [1969, 3024, 1356, 1045, 2002] {
            assert_eq!(of(number), None, "{number}");
        }
        let error = explain(failure("mysqldump: Error 3024: Query execution was interrupted"));
        assert!(error.passing().is_none() && error.hint_text().is_some(), "{error}");
        let error = explain(failure("mysqldump: Error 2013: Lost connection to MySQL server during query"));
        assert!(error.passing().is_some() && error.hint_text().is_some(), "{error}");
        assert!(
            hint(
                "ERROR 2013 (HY000): Lost connection to server at 'handshake: reading initial communication packet', \
                 system error: 110"
            )
            .contains("`port`")
        );
    }

    #[test]
    fn the_number_decides_whatever_language_the_server_speaks() {
        assert!(hint("ERROR 1040 (HY000): Zu viele Verbindungen").contains("max_connections"));
        assert!(hint("mysqldump: Got error: 1044: x").contains("GRANT SELECT"));
        assert!(hint("mysqldump: Error 1412: y when dumping table `t`").contains("a table was altered"));
        assert!(
            hint("ERROR 1 (HY000) at line 2: Can't create/write to file (Errcode: 17 \"x\")")
                .contains("already exists")
        );
        assert_eq!(hint("ERROR 1999 (HY000): new"), "");
    }

    #[test]
    fn advice_for_a_restore_does_not_reach_a_dump() {
        assert!(hint("ERROR 1286 (42000) at line 7: Unknown storage engine 'x'").contains("on the target"));
        assert_eq!(hint("mysqldump: Got error: 1286: Unknown storage engine 'x'"), "");
    }

    #[test]
    fn what_no_tool_has_said_is_not_judged() {
        let error = explain(Error::repository("the storage cannot be reached: (111) ERROR 1040 (HY000): x"));
        assert!(error.hint_text().is_none() && error.passing().is_none(), "{error}");
    }
}
