//! Errors of storages behind a network protocol.

use std::{error::Error as StdError, io};

use reqwest::StatusCode;

use super::{objects::ObjectError, retry::NoAnswer, transient};

/// The error and its causes.
pub(super) fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| StdError::source(*error))
}

const SILENT: &str = "check that the server is running and that nothing, such as a firewall, blocks the connection; everything \
                      committed so far is intact";

/// The message and hint for an error of a protocol. The library's own texts are for programmers.
pub(super) fn plain(error: &(dyn StdError + 'static)) -> Option<(String, Option<&'static str>)> {
    let silence = chain(error).find_map(|cause| cause.downcast_ref::<NoAnswer>());
    if let Some(silence) = silence {
        return Some((format!("the storage does not answer: {silence}"), Some(SILENT)));
    }
    if let Some(error) = chain(error).find_map(|cause| cause.downcast_ref::<ObjectError>()) {
        return Some(of_objects(error));
    }
    // Below the protocol, the system's error has the reason.
    let system = chain(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    let refused = system.is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused);
    if refused {
        let hint = "check that the server is running, and the address and port in `repository.location`";
        return Some(("the connection was refused: no server is listening".to_owned(), Some(hint)));
    }
    chain(error).find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<reqwest::Error>() {
            return Some(of_http(error, system));
        }
        cause.downcast_ref::<opendal_core::Error>().map(|error| of_service(error, system))
    })
}

fn of_objects(error: &ObjectError) -> (String, Option<&'static str>) {
    let hint = match error {
        ObjectError::Absent | ObjectError::Cut => None,
        ObjectError::Away => Some("check that the disk of the repository is mounted on the server"),
        ObjectError::Denied(_) => Some("check the user, the key and its permissions on the server"),
        ObjectError::UnknownHost => Some(
            "if it is the right server, log in once with `ssh` as the user that runs this program, which adds its key to the \
             known hosts",
        ),
        ObjectError::ChangedHost => Some(
            "if the server has been set up anew, remove its old key with `ssh-keygen -R` as the user that runs this program, and \
             log in once with `ssh`; otherwise it may be another server",
        ),
        ObjectError::NoProgram(_) => {
            Some("install the SSH client, for example with apt-get install openssh-client")
        }
        ObjectError::Unusable(_) => {
            Some("correct `repository.location`, its options or the configuration of ssh and of the server")
        }
        ObjectError::Full => Some(
            "free space on the server, then run this again; if there are older backups, `tik-backup prune` removes the data of \
             dropped snapshots; everything committed so far is intact",
        ),
        ObjectError::ReadOnly => Some("check the disk of the repository and its mount options on the server"),
        ObjectError::Answered(_) => {
            Some("check free space, quota and permissions on the server, and its log")
        }
        ObjectError::Failed(_) => Some(SILENT),
    };
    let text = match error {
        ObjectError::Absent => "not found in the storage".to_owned(),
        ObjectError::Cut => "the file in the storage ends too early".to_owned(),
        ObjectError::Denied(said) => format!("the storage refuses this user: {said}"),
        ObjectError::Failed(said) => format!("the connection to the storage failed: {said}"),
        other => other.to_string(),
    };
    (text, hint)
}

fn of_http(error: &reqwest::Error, system: Option<&io::Error>) -> (String, Option<&'static str>) {
    if let Some(status) = error.status() {
        let hint = match status {
            StatusCode::UNAUTHORIZED => Some("check the user and the password in the location"),
            StatusCode::FORBIDDEN => Some(
                "the server does not allow it: check that the user may use this path, and whether the server is append-only",
            ),
            StatusCode::INSUFFICIENT_STORAGE => Some("the server's storage is full: free space on it"),
            status if status.is_server_error() => Some("check the log of the server"),
            _ => None,
        };
        return (format!("the server answers {status}"), hint);
    }
    if error.is_timeout() {
        return ("the storage does not answer in time".to_owned(), Some(SILENT));
    }
    let cause = system.map_or_else(String::new, |cause| format!(": {cause}"));
    if error.is_connect() {
        return (format!("the server cannot be reached{cause}"), Some(SILENT));
    }
    if error.is_decode() {
        let hint = "check that `repository.location` is the address of a REST server for restic, with the right path";
        return ("the server does not support restic's REST protocol".to_owned(), Some(hint));
    }
    if error.is_builder() {
        return (
            "the location is not the address of a server".to_owned(),
            Some("correct `repository.location`"),
        );
    }
    (format!("the connection to the server broke{cause}"), Some(SILENT))
}

fn of_service(error: &opendal_core::Error, system: Option<&io::Error>) -> (String, Option<&'static str>) {
    use opendal_core::ErrorKind as Kind;
    let said = error.message();
    match error.kind() {
        Kind::ConfigInvalid => (
            format!("an option of the storage is missing or wrong: {said}"),
            Some("correct `repository.options`"),
        ),
        Kind::PermissionDenied => (
            format!("the storage refuses this user: {said}"),
            Some("check the credentials in `repository.options` or `repository.options_files`"),
        ),
        Kind::RateLimited => ("the storage limits the rate of requests".to_owned(), None),
        Kind::NotFound => (format!("not found in the storage: {said}"), None),
        Kind::Unsupported => (format!("this kind of storage is not supported: {said}"), None),
        _ => {
            let cause = system.map_or_else(String::new, |cause| format!(": {cause}"));
            (format!("the connection to the storage failed: {said}{cause}"), Some(SILENT))
        }
    }
}

/// Whether an error of the library is temporary.
pub(super) fn passes(error: &(dyn StdError + 'static)) -> bool {
    let mut passing = false;
    for cause in chain(error) {
        if cause.is::<NoAnswer>() {
            return true;
        }
        if let Some(error) = cause.downcast_ref::<ObjectError>() {
            return matches!(error, ObjectError::Away | ObjectError::Answered(_) | ObjectError::Failed(_));
        }
        if let Some(error) = cause.downcast_ref::<reqwest::Error>() {
            return !error.is_builder() && error.status().is_none_or(passing_status);
        }
        if let Some(error) = cause.downcast_ref::<opendal_core::Error>() {
            use opendal_core::ErrorKind;
            if !matches!(error.kind(), ErrorKind::Unexpected | ErrorKind::RateLimited) {
                return false;
            }
            passing = true;
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            // Below an error of a protocol, most of them mean a broken connection.
            return if passing {
                error.kind() != io::ErrorKind::PermissionDenied
            } else {
                transient::passes(error)
            };
        }
    }
    passing
}

fn passing_status(status: StatusCode) -> bool {
    let lasting = [
        StatusCode::NOT_IMPLEMENTED,
        StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        // The storage is full.
        StatusCode::INSUFFICIENT_STORAGE,
    ];
    let asks_to_wait = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    asks_to_wait.contains(&status) || status.is_server_error() && !lasting.contains(&status)
}

/// Whether an error of the library means that a file does not exist.
pub(super) fn is_absent(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|cause| {
        let status = cause.downcast_ref::<reqwest::Error>().and_then(reqwest::Error::status);
        let kind = cause.downcast_ref::<opendal_core::Error>().map(opendal_core::Error::kind);
        let absent = matches!(cause.downcast_ref::<ObjectError>(), Some(ObjectError::Absent));
        absent || status == Some(StatusCode::NOT_FOUND) || kind == Some(opendal_core::ErrorKind::NotFound)
    })
}

/// Whether an error of the library means that the server refuses the request.
pub(super) fn is_refused(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|cause| {
        cause.downcast_ref::<reqwest::Error>().and_then(reqwest::Error::status) == Some(StatusCode::FORBIDDEN)
    })
}

#[cfg(test)]
mod tests {
    use rustic_core::{ErrorKind, RusticError};

    use super::*;

    fn wrapped(cause: impl StdError + Send + Sync + 'static) -> Box<RusticError> {
        let inner = RusticError::with_source(ErrorKind::Backend, "the library", cause);
        RusticError::with_source(ErrorKind::Internal, "further up", inner)
    }

    #[test]
    fn errors_are_told_apart_by_their_types() {
        use opendal_core::{Error, ErrorKind as Kind};
        let lost =
            || Error::new(Kind::Unexpected, "sftp error").set_source(io::Error::other("connection lost"));
        assert!(passes(&*wrapped(lost())));
        assert!(passes(&*wrapped(Error::new(Kind::RateLimited, "slow down"))));
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(!passes(&*wrapped(Error::new(Kind::Unexpected, "ssh error").set_source(denied))));
        for kind in [Kind::NotFound, Kind::PermissionDenied, Kind::ConfigInvalid, Kind::Unsupported] {
            assert!(!passes(&*wrapped(Error::new(kind, "no"))), "{kind:?}");
        }
        assert!(is_absent(&*wrapped(Error::new(Kind::NotFound, "no"))) && !is_absent(&*wrapped(lost())));
        assert!(!passes(&*RusticError::new(ErrorKind::Credentials, "wrong password")));
        assert!(passes(&*wrapped(io::Error::from_raw_os_error(5))));
        for passing in [
            ObjectError::Away,
            ObjectError::Answered("Failure".to_owned()),
            ObjectError::Failed("lost".to_owned()),
        ] {
            assert!(passes(&*wrapped(passing)));
        }
        for lasting in [
            ObjectError::Absent,
            ObjectError::Cut,
            ObjectError::Denied("no".to_owned()),
            ObjectError::UnknownHost,
            ObjectError::ChangedHost,
            ObjectError::Full,
            ObjectError::ReadOnly,
            ObjectError::NoProgram("no".to_owned()),
            ObjectError::Unusable("no".to_owned()),
        ] {
            assert!(!passes(&*wrapped(lasting)));
        }
        assert!(is_absent(&*wrapped(ObjectError::Absent)) && !is_absent(&*wrapped(ObjectError::Cut)));
    }

    #[test]
    fn answers_that_stay_are_not_asked_for_again() {
        for (status, again) in [
            (500, true),
            (502, true),
            (503, true),
            (429, true),
            (401, false),
            (403, false),
            (404, false),
            (507, false),
        ] {
            assert_eq!(StatusCode::from_u16(status).map(passing_status).ok(), Some(again), "{status}");
        }
    }
}
