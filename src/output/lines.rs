//! Lines on stderr: printed without breaking progress bars, and with priorities if stderr is connected to the journal.

use std::{
    io::{self, Write},
    os::fd::AsFd,
    sync::{Arc, OnceLock},
};

use parking_lot::RwLock;

/// The priority of a line. `journalctl -p err` shows lines of a priority and above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Something failed.
    Error,
    /// Something needs attention.
    Warning,
    /// Progress.
    Info,
    /// Details of the progress.
    Debug,
}

impl Priority {
    /// The prefix by which systemd recognizes the priority of a line: sd-daemon(3).
    fn prefix(self) -> &'static str {
        match self {
            Self::Error => "<3>",
            Self::Warning => "<4>",
            Self::Info => "<6>",
            Self::Debug => "<7>",
        }
    }

    /// The priority of a notice: texts that begin with `warning:` are warnings.
    pub(super) fn of_notice(text: &str) -> Self {
        if text.starts_with("warning:") { Self::Warning } else { Self::Info }
    }
}

/// Prints while no bar is drawn.
pub(crate) type BesideBars = dyn Fn(&mut dyn FnMut()) + Send + Sync;

static BARS: RwLock<Option<Arc<BesideBars>>> = RwLock::new(None);

/// From now on, lines are printed through `beside`, so that they do not break progress bars; with `None`, directly.
pub(crate) fn draws_bars(beside: Option<Arc<BesideBars>>) {
    *BARS.write() = beside;
}

/// Writes a message to stderr without breaking progress bars.
pub(crate) fn say(priority: Priority, message: &str) {
    // The lock is not held while printing, which may take long.
    let beside = BARS.read().clone();
    match beside {
        Some(beside) => beside(&mut || say_directly(priority, message)),
        None => say_directly(priority, message),
    }
}

/// Writes a message to stderr directly, even over progress bars. If stderr is closed, the message is dropped.
pub(crate) fn say_directly(priority: Priority, message: &str) {
    let text = lines(priority, &printable(message), is_journal());
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The text with invisible characters escaped: control characters, direction overrides and characters without width. Names come
/// from servers: they must not control the terminal, and two different names must not look the same.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escape = c != '\n' && (c.is_control() || is_unseen(c));
            let escaped = escape.then(|| c.escape_default());
            escaped.into_iter().flatten().chain((!escape).then_some(c))
        })
        .collect()
}

/// Whether a character is invisible: direction marks and overrides, joiners, zero-width spaces, line separators, tags.
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}')
}

/// The message as it is written; for the journal, each line begins with the priority.
fn lines(priority: Priority, message: &str, journal: bool) -> String {
    if !journal {
        return format!("{message}\n");
    }
    message.split('\n').map(|line| format!("{}{line}\n", priority.prefix())).collect()
}

/// Whether stderr is connected to the journal.
fn is_journal() -> bool {
    static JOURNAL: OnceLock<bool> = OnceLock::new();
    *JOURNAL
        .get_or_init(|| std::env::var("JOURNAL_STREAM").is_ok_and(|stream| is_stream(&stream, io::stderr())))
}

/// Whether `stream`, `DEVICE:INODE` as in `JOURNAL_STREAM`, identifies `file`. Programs with another stderr inherit the variable
/// too.
fn is_stream(stream: &str, file: impl AsFd) -> bool {
    let Some((device, inode)) = stream.split_once(':') else { return false };
    rustix::fs::fstat(file)
        .is_ok_and(|found| device.parse() == Ok(found.st_dev) && inode.parse() == Ok(found.st_ino))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_in_the_journal_each_line_has_a_priority() {
        let message = "error: it failed\n  → do this";
        assert_eq!(lines(Priority::Error, message, false), "error: it failed\n  → do this\n");
        assert_eq!(lines(Priority::Error, message, true), "<3>error: it failed\n<3>  → do this\n");
        let prefixes = [Priority::Warning, Priority::Info, Priority::Debug].map(|p| lines(p, "x", true));
        assert_eq!(prefixes, ["<4>x\n", "<6>x\n", "<7>x\n"]);
    }

    #[test]
    fn a_notice_that_warns_has_the_priority_of_a_warning() {
        assert_eq!(Priority::of_notice("warning: no timer"), Priority::Warning);
        assert_eq!(Priority::of_notice("main/shop: ok"), Priority::Info);
    }

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        let (ours, other) = UnixStream::pair().unwrap();
        let (pipe, _writer) = io::pipe().unwrap();
        let stream = |file: &dyn AsFd| {
            let found = rustix::fs::fstat(file.as_fd()).unwrap();
            format!("{}:{}", found.st_dev, found.st_ino)
        };
        assert!(is_stream(&stream(&ours), &ours));
        assert!(is_stream(&stream(&pipe), &pipe));
        // stderr of a service that is led into a file or to another program.
        assert!(!is_stream(&stream(&ours), &other));
        assert!(!is_stream(&stream(&ours), &pipe));
        for wrong in ["", "8", "8:", ":1", "a:b", "8:1:2"] {
            assert!(!is_stream(wrong, &pipe), "{wrong:?}");
        }
    }
}
