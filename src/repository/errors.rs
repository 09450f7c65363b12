//! Converts errors of `rustic_core`.

use std::io;

use rustic_core::RusticError;

use super::remote_errors;
use crate::error::{Error, Passing};

/// Converts an error of `rustic_core`: its long form has guidance for users of another program.
#[allow(clippy::boxed_local)] // the library returns boxed errors
pub(super) fn rustic_error(doing: &str, error: Box<RusticError>) -> Error {
    let text = error.display_log();
    let text = text.strip_prefix("Error: ").unwrap_or(&text);
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(" (kind: related to ") {
        plain.push_str(&rest[..start]);
        rest = rest[start..].find(')').map_or("", |end| &rest[start + end + 1..]);
    }
    plain.push_str(rest);
    let in_words = remote_errors::plain(&*error);
    let told = Error::repository(doing);
    let told = match &in_words {
        Some((what, _)) => told.because_text(what),
        None => told.because_text(brief(&plain.replace(": caused by: ", ": "))),
    };
    let told = if remote_errors::passes(&*error) { told.passes(Passing::Storage) } else { told };
    match hint_of(&*error).or_else(|| in_words.and_then(|(_, hint)| hint)) {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

/// As [`hint`], for an error of the library: the file system's error is one of its causes.
pub(super) fn hint_of(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    remote_errors::chain(error).find_map(|cause| cause.downcast_ref::<io::Error>().and_then(hint))
}

/// The hint for an error of the storage's file system, by its errno.
pub(super) fn hint(error: &io::Error) -> Option<&'static str> {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error)? {
        Errno::NOSPC | Errno::DQUOT => Some(
            "the storage is full: free space on it, then run this again; if there are older backups, `tik-backup prune` \
             removes the data of dropped snapshots; everything committed so far is intact",
        ),
        Errno::ACCESS | Errno::PERM => Some(
            "the repository belongs to another user: run it as root, for example with sudo, or as the user of the \
             services; if the services cannot use it either, give it to their user with chown -R",
        ),
        Errno::ROFS => Some("the storage is mounted read-only: check the mount options"),
        _ => None,
    }
}

/// The relevant lines of a text of `rustic_core`, without headings, links and backtraces.
pub(super) fn brief(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if [
            "Backtrace",
            "Some additional details",
            "For more information",
            "If you think",
            "It was caused by",
        ]
        .iter()
        .any(|end| line.starts_with(end))
        {
            break;
        }
        // Advice for users of another program, which is not installed here.
        let line = line.split(" To repair: '").next().unwrap_or(line);
        let heading = line.is_empty() || line == "Message:";
        if !heading {
            lines.push(
                line.split("`rustic_core` experienced an error")
                    .next()
                    .unwrap_or(line)
                    .trim_end_matches([':', ' ']),
            );
        }
    }
    lines.retain(|line| !line.is_empty());
    lines.join(": ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn long_texts_become_brief() {
        let text = "error reading pack 12: `rustic_core` experienced an error related to `cryptography`.\n\nMessage:\n\
                    MAC check failed.\n\nSome additional details ...\n\nBacktrace:\n  0: main";
        assert_eq!(super::brief(text), "error reading pack 12: MAC check failed.");
        assert_eq!(super::brief("a plain text"), "a plain text");
        assert_eq!(super::brief("pack 12 is lost! To repair: 'rustic repair index'."), "pack 12 is lost!");
    }
}
