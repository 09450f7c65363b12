//! What to do about the messages of the clients and servers.

use super::reported;
use crate::error::Error;

/// Clients do not tell an unknown authority and a wrong name apart.
const CERTIFICATE: &str = "the server's certificate was not verified: name the file of the authority that signed it as `sslrootcert`; \
     `host` must be a name the server's certificate was issued for";

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
        "the view is broken on the server as well: repair or drop it there; a dump without it would not be whole",
    ),
    (
        &["Table definition has changed"],
        "somebody changed a table during the dump: run the backup again when no schema change is running",
    ),
    (&["is marked as crashed"], "repair the table on the server: REPAIR TABLE …, or restore it"),
    (&["Got packet bigger than"], "raise `max_allowed_packet` on the server"),
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
