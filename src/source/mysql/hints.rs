//! What to do about the messages of the clients and servers.

use super::reported;
use crate::error::Error;

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

/// Texts that must all occur in a message, and what to do about it. The first row that fits counts.
const HINTS: &[(&[&str], &str)] = &[
    (&["Access denied for user", "using password: NO"], "set `password_file`"),
    (
        &["Access denied for user", "using password"],
        "the password is wrong, the server knows no such account for this host, or the account demands TLS: check `user`, \
         `password_file` and `sslmode`",
    ),
    (
        &["Access denied for user", "to database"],
        "grant the backup account what it needs: GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO …",
    ),
    (
        &["(1044)"],
        "grant the backup account what it needs: GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO …",
    ),
    (
        &["execute command denied", "(1370)"],
        "views that call routines are looked at with their privileges: GRANT EXECUTE ON *.* TO …",
    ),
    (&["PROCESS privilege"], "GRANT PROCESS ON *.* TO …"),
    (
        &["insufficent privileges to SHOW CREATE"],
        "let the account read routines of all definers: GRANT SHOW_ROUTINE ON *.* TO … (MySQL), GRANT SELECT ON \
         mysql.proc TO … (MariaDB)",
    ),
    (
        &["references invalid table(s)"],
        "the view is broken on the server as well, or its definer may not read what it reads: repair or drop it there",
    ),
    (
        &["Table definition has changed"],
        "somebody changed a table during the dump: run the backup again when no schema change is running",
    ),
    (&["is marked as crashed"], "repair the table on the server: REPAIR TABLE …, or restore it"),
    (
        &["Got packet bigger than"],
        "a row is larger than `max_allowed_packet` of the server, or than 1 GiB: raise it there",
    ),
    (
        &["Plugin", "could not be loaded"],
        "the client lacks the authentication the account uses: install the client of the server's own family",
    ),
    (
        &["Authentication plugin", "cannot be loaded"],
        "the client lacks the authentication the account uses: install the client of the server's own family",
    ),
    (&["insecure transport"], "the server insists on TLS: set `sslmode = \"require\"` or stronger"),
    (&["requires secure connection"], "set `sslmode = \"require\"` or stronger"),
    (&["require_secure_transport"], "the server insists on TLS: set `sslmode = \"require\"` or stronger"),
    (&["certificate verify failed"], CERTIFICATE),
    (&["self-signed certificate"], CERTIFICATE),
    (&["self signed certificate"], CERTIFICATE),
    (&["issuer certificate"], CERTIFICATE),
    (&["hostname mismatch"], "`host` must be a name the server's certificate was issued for"),
    (
        &["Validation of SSL server certificate failed"],
        "`host` must be a name the server's certificate was issued for",
    ),
    (
        &["SSL connection error", "not support"],
        "enable TLS on the server, or lower `sslmode` if the network is trusted",
    ),
    (&["SSL is required"], "enable TLS on the server, or lower `sslmode` if the network is trusted"),
    (&["Unknown MySQL server host"], "check `host`, and the name resolution of this machine"),
    (&["Unknown server host"], "check `host`, and the name resolution of this machine"),
    (
        &["through socket", "(2)"],
        "there is no socket at that path: `host` must be the path of the server's socket, and the server must run",
    ),
    (&["through socket", "(13)"], "the user that runs this program may not open the server's socket"),
    (&["through socket"], "nothing listens at that socket: check `host`, and that the server runs"),
    (&["(111)"], "nothing listens there: check `host` and `port`, and that the server runs"),
    (&["(110)"], "no answer: check `host`, `port` and the firewalls between here and the server"),
    (&["(113)"], "check `host` and the network of this machine"),
    (
        &["Too many connections"],
        "raise `max_connections` on the server or lower the number of parallel items",
    ),
    (
        &["Lost connection to"],
        "the connection broke: look at the server's log and at its timeouts (`net_write_timeout`), then run it again",
    ),
    (
        &["has gone away"],
        "the server closed the connection: a row may be larger than its `max_allowed_packet`, or it was restarted",
    ),
    (
        &["--secure-timestamp"],
        "with that option a server takes no history of rows: set `secure_timestamp=NO` on the target for the restore",
    ),
    (
        &["SYSTEM_USER"],
        "restore as an account with more rights, or with --no-owner so that nothing keeps its definer",
    ),
    (
        &["SET_USER_ID"],
        "restore as an account with SET_USER_ID, or with --no-owner so that nothing keeps its definer",
    ),
    (
        &["SET_ANY_DEFINER"],
        "restore as an account with SET_ANY_DEFINER, or with --no-owner so that nothing keeps its definer",
    ),
    (
        &["SET USER"],
        "restore as an account with SET USER, or with --no-owner so that nothing keeps its definer",
    ),
    (
        &["SUPER", "privilege"],
        "restore as an account with that privilege; --no-owner leaves the definers out; \
         `log_bin_trust_function_creators` may be what a server with a binary log asks for",
    ),
    (
        &["ERROR 3510 ", "ablespace"],
        "create the tablespace on the target (CREATE TABLESPACE …), or restore with --no-tablespaces",
    ),
    (
        &["ERROR 3121 "],
        "name the folder in the target's `innodb_directories`, or restore with --no-tablespaces, which puts all files into the \
         server's own folder",
    ),
    (&["ERROR 1813 "], OCCUPIED),
    (&["ERROR 1005 ", "errno: 184"], OCCUPIED),
    (&["ERROR 1005 ", "errno: 168"], UNREACHABLE),
    (&["ERROR 1 (", "Errcode: 17"], OCCUPIED),
    (&["ERROR 1 (", "Errcode: "], UNREACHABLE),
    (
        &["ERROR 3819 "],
        "the source has rows that break a CHECK, and MySQL checks all rows that it loads: take the script with --to DIR, write NOT \
         ENFORCED behind that constraint and load it, or repair the rows on the source and back it up again",
    ),
    (&["ERROR 1031 ", "have this option"], NOT_STRICT),
    (&["ERROR 1118 "], NOT_STRICT),
    (
        &["ERROR 1690 "],
        "a generated column cannot be computed under the modes of the load; the source's sessions may have had \
         NO_UNSIGNED_SUBTRACTION: take the script with --to DIR, add that mode to the SQL_MODE in its head, and load it",
    ),
    (
        &["ERROR 3750 "],
        "the target wants a primary key in each table: restore as an account with SESSION_VARIABLES_ADMIN, or set \
         `sql_require_primary_key = OFF` on the target for the restore",
    ),
    (
        &["ERROR 6125 "],
        "a foreign key refers to a key that is not unique: restore as an account with SESSION_VARIABLES_ADMIN, or set \
         `restrict_fk_on_non_standard_key = OFF` on the target for the restore",
    ),
    (&["disabled the local infile capability"], LOCAL_FILE),
    (&["LOAD DATA LOCAL INFILE file request rejected"], LOCAL_FILE),
    (&["ERROR 3948 "], LOCAL_FILE),
    (&["ERROR 1286 "], "install the engine of that table on the target; no other one was taken in its place"),
    (
        &["Unknown collation"],
        "the target is older than the server of the backup: restore to one of its version or newer",
    ),
    (
        &["Unknown character set"],
        "the target is older than the server of the backup: restore to one of its version or newer",
    ),
];

/// What to do about a message, if that is known.
pub fn hint_for(message: &str) -> Option<&'static str> {
    HINTS.iter().find(|(texts, _)| texts.iter().all(|text| message.contains(text))).map(|(_, hint)| *hint)
}

/// Adds the hint for the error of a failed tool, unless it has one, and whether the cause passes by itself.
#[must_use]
pub fn explain(error: Error) -> Error {
    let error = reported::explain(error);
    match hint_for(&error.summary()) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
