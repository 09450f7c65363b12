//! What to do about the errors of the clients and servers, and which of them pass by themselves.

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
const BROKE: &str = "the connection broke: look at the server's log; if the storage of the repository stands still for longer than the \
                     server's `net_write_timeout`, raise that on the server";
/// What the dump of a database needs.
const GRANTS: &str =
    "grant the backup account what it needs: GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO …";

/// Clients do not tell an unknown authority and a wrong name apart.
const CERTIFICATE: &str = "the server's certificate was not verified: name the file of the authority that signed it as `sslrootcert`; \
     `host` must be a name the server's certificate was issued for";

/// A file or tablespace of a table is there already.
const OCCUPIED: &str = "the table's file, in the folder that its definition names, is there already: restore with --no-tablespaces, \
                        which puts all files into the server's own folder, or move that file away if nothing uses it";

/// A table's folder cannot be written to.
const UNREACHABLE: &str = "the server cannot write where the table's definition wants its files (DATA DIRECTORY, INDEX DIRECTORY): make \
                           that folder for the server, or restore with --no-tablespaces";

/// A table can be made only in the way that InnoDB took it once.
const NOT_STRICT: &str = "the source made the table without `innodb_strict_mode`: restore as an account with SESSION_VARIABLES_ADMIN \
                          and with --no-tablespaces, or set `innodb_strict_mode = OFF` on the target for the restore";

/// A script asked the client for a file.
const LOCAL_FILE: &str = "the script asks for a file of this machine, which no dump does and which is never sent: somebody may have \
                          changed it; look at it (--to DIR), and at who may write to the repository";

/// By what an error is recognised.
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
    /// All of these texts, where the number says too little or there is none: dump tools give none of what they check
    /// themselves, the two families have different ones for TLS and plugins, and the libraries below have no numbers.
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

/// What to do about an error. The first row that fits counts.
const HINTS: &[(Sign, &str)] = &[
    (
        Number(&[1969, 3024]),
        "the server ends statements that take that long: lift the limit for the backup account (MariaDB: ALTER USER … WITH \
         MAX_STATEMENT_TIME 0; `max_statement_time`), or of the server (MySQL: `max_execution_time = 0`)",
    ),
    (
        Both(&[number::SERVER_LOST], &["initial communication packet"]),
        "something accepts connections there and does not speak MySQL's protocol, or the server is overloaded: check `host` \
         and `port`",
    ),
    // One that is gone (2006) may also be one that the server closed because of a row.
    (Number(&[number::SERVER_LOST, 1158, 1159, 1160, 1161, number::IDLE]), BROKE),
    (Both(&[number::LOGIN_DENIED], &["using password: NO"]), "set `password_file`"),
    (
        Both(&[number::LOGIN_DENIED], &["using password"]),
        "the password is wrong, the server knows no such account for this host, or the account demands TLS: check `user`, \
         `password_file` and `sslmode`",
    ),
    (Number(&[number::DATABASE_DENIED]), GRANTS),
    (
        Both(&[1370], &["execute command denied", "(1370)"]),
        "views that call routines are looked at with their privileges: GRANT EXECUTE ON *.* TO …",
    ),
    (Text(&["PROCESS privilege"]), "GRANT PROCESS ON *.* TO …"),
    (
        Text(&["insufficent privileges to SHOW CREATE"]),
        "let the account read routines of all definers: GRANT SHOW_ROUTINE ON *.* TO … (MySQL), GRANT SELECT ON \
         mysql.proc TO … (MariaDB)",
    ),
    (
        Number(&[1356]),
        "the view is broken on the server as well, or its definer may not read what it reads: repair or drop it there",
    ),
    (
        Number(&[1412]),
        "somebody changed a table during the dump: run the backup again when no schema change is running",
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
        "the connection broke: look at the server's log and at its timeouts (`net_write_timeout`), then run it again",
    ),
    (
        Number(&[number::SERVER_GONE]),
        "the server closed the connection: a row may be larger than its `max_allowed_packet`, or it was restarted",
    ),
    (
        Text(&["--secure-timestamp"]),
        "with that option a server takes no history of rows: set `secure_timestamp=NO` on the target for the restore",
    ),
    (
        Both(&[number::PRIVILEGE_NEEDED], &["SYSTEM_USER"]),
        "restore as an account with more rights, or with --no-owner so that nothing keeps its definer",
    ),
    (
        Both(&[number::PRIVILEGE_NEEDED], &["SET_USER_ID"]),
        "restore as an account with SET_USER_ID, or with --no-owner so that nothing keeps its definer",
    ),
    (
        Both(&[number::PRIVILEGE_NEEDED], &["SET_ANY_DEFINER"]),
        "restore as an account with SET_ANY_DEFINER, or with --no-owner so that nothing keeps its definer",
    ),
    (
        Both(&[number::PRIVILEGE_NEEDED], &["SET USER"]),
        "restore as an account with SET USER, or with --no-owner so that nothing keeps its definer",
    ),
    (
        Text(&["SUPER", "privilege"]),
        "restore as an account with that privilege; --no-owner leaves the definers out; \
         `log_bin_trust_function_creators` may be what a server with a binary log asks for",
    ),
    (
        ClientBoth(&[3510], &["ablespace"]),
        "create the tablespace on the target (CREATE TABLESPACE …), or restore with --no-tablespaces",
    ),
    (
        Sign::Client(&[3121]),
        "name the folder in the target's `innodb_directories`, or restore with --no-tablespaces, which puts all files into the \
         server's own folder",
    ),
    (Sign::Client(&[1813]), OCCUPIED),
    (ClientBoth(&[1005], &["errno: 184"]), OCCUPIED),
    (ClientBoth(&[1005], &["errno: 168"]), UNREACHABLE),
    (ClientBoth(&[1], &["Errcode: 17"]), OCCUPIED),
    (ClientBoth(&[1], &["Errcode: "]), UNREACHABLE),
    (
        Sign::Client(&[3819]),
        "the source has rows that break a CHECK, and MySQL checks all rows that it loads: take the script with --to DIR, write NOT \
         ENFORCED behind that constraint and load it, or repair the rows on the source and back it up again",
    ),
    (ClientBoth(&[1031], &["have this option"]), NOT_STRICT),
    (Sign::Client(&[1118]), NOT_STRICT),
    (
        Sign::Client(&[1690]),
        "a generated column cannot be computed under the modes of the load; the source's sessions may have had \
         NO_UNSIGNED_SUBTRACTION: take the script with --to DIR, add that mode to the SQL_MODE in its head, and load it",
    ),
    (
        Sign::Client(&[3750]),
        "the target wants a primary key in each table: restore as an account with SESSION_VARIABLES_ADMIN, or set \
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
        "install the engine of that table on the target; no other one was taken in its place",
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

/// Whether the cause of an error passes by itself.
fn passing(code: Code<'_>) -> Option<Passing> {
    match code.number {
        number if LOST.contains(&number) => Some(Passing::Unreachable),
        number if BROKEN_OFF.contains(&number) => Some(Passing::Busy),
        _ => None,
    }
}

/// Adds to the error of a failed tool what to do about it, unless that is known, and whether its cause passes by itself.
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
        assert!(hint("mysqldump: Error 1412: y when dumping table `t`").contains("changed a table"));
        assert!(
            hint("ERROR 1 (HY000) at line 2: Can't create/write to file (Errcode: 17 \"x\")")
                .contains("there already")
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
