//! Hints for the errors of the server and the driver.

use mongodb::error::{Error as DriverError, ErrorKind};

use super::secrets::Secrets;
use crate::error::{Error, Passing};

/// Codes of a server that is shutting down or changing its role: shutdown in progress, primary stepped down, not primary,
/// interrupted by either, no primary to read from.
const CHANGING: [i32; 7] = [91, 189, 10107, 11600, 11602, 13435, 13436];

/// Error codes of the server with hints.
const BY_CODE: [(i32, &str); 13] = [
    (
        13,
        "the account may not do this: grant it the role readAnyDatabase on admin (Atlas: \"Only read any database\"), \
         or read on this database",
    ),
    (
        8000,
        "the provider refused it: check user, password and the role of the account (readAnyDatabase), and whether the \
         cluster's tier allows it",
    ),
    (
        18,
        "user or password is wrong, or the user is defined in another database: check the connection string and its \
         authSource",
    ),
    (11, "the user does not exist in the database that authSource names: check the connection string"),
    (26, "it was dropped while it was being read: run the backup again"),
    (43, "the server closed the cursor: run the backup again; if it happens again, look at its log"),
    (91, "the server is shutting down: run the backup again when it is up"),
    (189, "the primary stepped down: run the backup again when the replica set has a primary"),
    (10107, "the server is no longer the primary: run the backup again when the replica set has a primary"),
    (
        239,
        "the dump took longer than the server keeps its history: raise minSnapshotHistoryWindowInSeconds on the \
         server, or set consistency = \"none\"",
    ),
    (11600, "the server is shutting down: run the backup again when it is up"),
    (11602, "the server changed its role while it was being read: run the backup again"),
    (13388, "the shards of the cluster were being moved: run the backup again"),
];

/// Texts that must all occur in a message, with the hint. The first matching row counts. The driver reports
/// errors during server selection as text only.
const BY_TEXT: [(&[&str], &str); 10] = [
    (
        &["Authentication failed"],
        "user or password is wrong, or the user is defined in another database: check the connection string and its \
         authSource",
    ),
    (
        &["bad auth"],
        "user or password is wrong: check the connection string, and on Atlas the database users",
    ),
    (
        &["UnknownIssuer"],
        "the server's certificate is not signed by an authority that this machine trusts: name the authority's file as \
         tlsCAFile in the connection string",
    ),
    (
        &["invalid peer certificate"],
        "the server's certificate is not valid for it: check host names and tlsCAFile",
    ),
    (
        &["Topology", "Connection refused"],
        "nothing listens there: check hosts and ports in the connection string, and that the server runs",
    ),
    (
        &["unexpected end of file"],
        "the server closed the connection: check whether it requires TLS (tls=true) and whether its access list admits this machine",
    ),
    (
        &["Server selection timeout"],
        "check the hosts in the connection string, the firewalls in between, and on Atlas the IP access list",
    ),
    (
        &["failed to lookup address"],
        "check the hosts in the connection string, and the name resolution of this machine",
    ),
    (&["DNS"], "check the host in the connection string, and the name resolution of this machine"),
    (
        &["I/O error"],
        "the connection was lost: run the backup again; if it happens again, look at the network",
    ),
];

/// Converts an error of the driver, without secrets.
pub(super) fn explain(driver: &DriverError, secrets: &Secrets) -> Error {
    // Uses the original text of the driver: a secret may be part of an ordinary word.
    let text = text(driver);
    let hint = match &*driver.kind {
        ErrorKind::Command(command) => {
            BY_CODE.iter().find(|(code, _)| *code == command.code).map(|(_, hint)| *hint)
        }
        _ => None,
    };
    let hint = hint.or_else(|| {
        BY_TEXT.iter().find(|(texts, _)| texts.iter().all(|part| text.contains(part))).map(|(_, hint)| *hint)
    });
    let shown = if secrets.would_garble(&text) { in_our_words(driver, &text) } else { secrets.clean(&text) };
    let mut error = Error::failed(shown);
    if matches!(&*driver.kind, ErrorKind::Command(command) if CHANGING.contains(&command.code)) {
        error = error.passes(Passing::Busy);
    }
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// A description without text of the driver or the server: this cannot be shown if a secret is so short that it occurs
/// in ordinary words.
fn in_our_words(driver: &DriverError, text: &str) -> String {
    let what = match &*driver.kind {
        ErrorKind::Command(command) => {
            return format!("the server refused a command (code {})", command.code);
        }
        ErrorKind::Authentication { .. } => "the server did not accept the login",
        ErrorKind::DnsResolve { .. } => "a host name cannot be resolved",
        ErrorKind::InvalidTlsConfig { .. } => "the settings of TLS cannot be used",
        ErrorKind::ServerSelection { .. } => "no server of the deployment can be reached",
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } => "the connection to the server failed",
        _ => "the driver reported an error",
    };
    let causes = [
        ("Connection refused", "connection refused"),
        ("failed to lookup address", "a host name cannot be resolved"),
        ("certificate", "the server's certificate is not accepted"),
        ("Authentication failed", "user or password is wrong"),
        ("timeout", "no answer in time"),
    ];
    let cause = causes.iter().find(|(sign, _)| text.contains(sign)).map(|(_, cause)| format!(": {cause}"));
    format!("{what}{}", cause.unwrap_or_default())
}

/// Whether the server reports a duplicate key in the index of `_id`: before version 4.4 the index is named only in the
/// message.
pub(super) fn names_id_index(message: &str) -> bool {
    message.contains("index: _id_ ")
}

fn text(error: &DriverError) -> String {
    match &*error.kind {
        ErrorKind::Command(command) => {
            format!("{} ({}, code {})", command.message, command.code_name, command.code)
        }
        kind => kind.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{settings::Secret, source::mongodb::connect::Params};

    #[test]
    fn short_secrets_are_neither_shown_nor_spoil_the_text() {
        let driver = DriverError::from(std::io::Error::other("Connection refused by pw"));
        let secrets = |uri: &str| {
            Params::parse(&Secret::new(uri.to_owned()), "sources.shop.uri_file").unwrap().secrets()
        };
        let error = explain(&driver, &secrets("mongodb://u:pw@localhost"));
        assert_eq!(error.summary(), "the connection to the server failed: connection refused");
        assert!(error.hint_text().is_some_and(|hint| hint.contains("the connection was lost")), "{error}");
        let error = explain(&driver, &secrets("mongodb://jane:hunter2@localhost"));
        assert!(error.summary().contains("Connection refused by pw"), "{error}");
    }
}
