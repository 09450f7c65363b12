//! Why an item is not proven. NOT PROVEN means that the restored content differs, or that the vendor's own
//! tools cannot load the dump into a server that is prepared like the source. All other failures say nothing about the backup.

use std::collections::BTreeSet;

use crate::error::{Error, Passing};

/// Why an item is not proven.
#[derive(Debug)]
pub enum Fault {
    /// The restored content differs from the backup; each text is a difference.
    Differs(Vec<String>),
    /// It cannot be restored.
    Failed(Error),
    /// The attempt says nothing about the backup: no server to restore into, no space, stopped.
    Cannot(Error),
    /// The server refused the statement of a self-test.
    Refused(Error),
    /// It refers to these databases of the same server, and must be tried again with them, alone on the scratch server.
    Alone(BTreeSet<String>),
}

/// A resource that this machine or the scratch server lacks, so that a failed restore says nothing about the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Disk space for the scratch server.
    Room,
    /// Memory.
    Memory,
    /// A process of the scratch server, which ended unexpectedly.
    Process,
    /// A permission on this machine, such as to read a file of the repository.
    Permission,
    /// Another resource; the text is the hint.
    Other(&'static str),
}

impl Lack {
    fn hint(self) -> &'static str {
        match self {
            Self::Room => "name a directory with more room in `drill.dir`",
            Self::Memory => "free memory on this machine, and drill again",
            Self::Process => {
                "a process of the scratch server ended unexpectedly: see the kernel's log (out of memory?), and drill again"
            }
            Self::Permission => {
                "let the user that runs the drill access the file that the message names, and drill again"
            }
            Self::Other(hint) => hint,
        }
    }
}

/// A text in the output of a tool or server, and the lack that it indicates.
pub(in crate::source) type Sign = (&'static str, Lack);

/// Messages of all tools, servers and the system for a full disk or memory, or a missing permission.
const SYSTEM: [Sign; 7] = [
    ("No space left on device", Lack::Room),
    ("no space left on device", Lack::Room),
    ("Disk quota exceeded", Lack::Room),
    ("errno: 28", Lack::Room),
    ("out of memory", Lack::Memory),
    (": Permission denied", Lack::Permission),
    (": Operation not permitted", Lack::Permission),
];

/// The lack of the first sign that occurs in a text.
pub(in crate::source) fn find(signs: &[Sign], said: &str) -> Option<Lack> {
    signs.iter().find(|(sign, _)| said.contains(sign)).map(|(_, lack)| *lack)
}

impl From<Error> for Fault {
    /// An error means that the restore failed, unless the storage did not answer. The output of servers and tools is classified by
    /// [`Fault::judged`].
    fn from(error: Error) -> Self {
        if error.passing() == Some(Passing::Storage) { Self::Cannot(error) } else { Self::Failed(error) }
    }
}

impl Fault {
    /// Classifies a failure by the output of servers and tools: `vendor` knows their codes and texts, and gets the output
    /// without quoted data.
    pub(crate) fn judged(self, vendor: impl Fn(&str) -> Option<Lack>) -> Self {
        let error = match self {
            Self::Failed(error) => error,
            other => return other,
        };
        let said = without_rows(&error.summary());
        match vendor(&said).or_else(|| find(&SYSTEM, &said)) {
            Some(lack) => Self::lacking(&error, lack),
            None => Self::Failed(error),
        }
    }

    /// A failure that was caused by a lack.
    pub(in crate::source) fn lacking(error: &Error, lack: Lack) -> Self {
        let text = error.summary();
        let failed = match lack {
            Lack::Room => Error::failed("the scratch server had no room left").because_text(text),
            _ => Error::failed(text),
        };
        // The storage says more about a file that may not be read.
        let hint = error.hint_text().filter(|_| lack == Lack::Permission).unwrap_or(lack.hint());
        Self::Cannot(failed.hint(hint))
    }
}

/// The output without quoted data: details quote rows, and commands are followed by their text, both with any number of
/// lines. The messages and hints of a server come before and between them.
fn without_rows(text: &str) -> String {
    const QUOTING: [&str; 6] = ["DETAIL:", "CONTEXT:", "LINE ", "QUERY:", "STATEMENT:", "Command was:"];
    const SAYING: [&str; 6] = ["HINT:", "pg_restore:", "psql:", "ERROR", "mysql:", "mariadb:"];
    let mut quoted = false;
    let mut said = String::new();
    for line in text.lines() {
        let start = line.trim_start();
        if QUOTING.iter().any(|word| start.starts_with(word)) {
            quoted = true;
        } else if SAYING.iter().any(|word| start.starts_with(word)) {
            quoted = false;
        }
        if !quoted {
            said.push_str(line);
            said.push('\n');
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_may_not_be_read_says_nothing_of_its_content() {
        let denied = || Error::repository("cannot read `/r/data/29/29`: Permission denied (os error 13)");
        for (error, hint) in
            [(denied().hint("run it as root"), "run it as root"), (denied(), Lack::Permission.hint())]
        {
            match Fault::from(error).judged(|_| None) {
                Fault::Cannot(error) => assert_eq!(error.hint_text(), Some(hint)),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn rows_that_are_quoted_say_nothing() {
        let judged = |text: &str| Fault::from(Error::failed(text)).judged(|_| None);
        for text in
            ["pg_restore: error: could not extend file: No space left on device", "mysql: out of memory"]
        {
            assert!(matches!(judged(text), Fault::Cannot(_)), "{text}");
        }
        for text in [
            "ERROR:  new row violates check\nDETAIL:  Failing row contains (cp: No space left on device\n out of memory).",
            "the moon is full",
        ] {
            assert!(matches!(judged(text), Fault::Failed(_)), "{text}");
        }
    }
}
