//! Deciding from error numbers and texts what a scratch server of MySQL or MariaDB lacked when it refused a statement.

use super::code::Code;
use crate::source::verify::fault::{Lack, Sign, find};

const PLUGIN: Lack = Lack::Other("the scratch server lacks a plugin that the source has");
const KEYRING: Lack = Lack::Other("the scratch server has no keyring for encrypted tables");

/// Error numbers that are no evidence against the script: full disks and memory tables, a lack of memory, missing packages,
/// and a server that ended.
const NUMBERS: [(u32, Lack); 13] = [
    (1021, Lack::Room),
    (1037, Lack::Memory),
    (1038, Lack::Memory),
    (1041, Lack::Memory),
    (1114, Lack::Room),
    (1126, PLUGIN),
    (1286, PLUGIN),
    (1524, PLUGIN),
    (2002, Lack::Process),
    (2003, Lack::Process),
    (2006, Lack::Process),
    (2013, Lack::Process),
    (3185, KEYRING),
];

/// Texts of errors whose number is not specific.
const TEXTS: [Sign; 6] = [
    ("Lost connection to ", Lack::Process),
    ("Can't connect to ", Lack::Process),
    ("Unknown storage engine", PLUGIN),
    ("master key from keyring", KEYRING),
    ("Plugin '", PLUGIN),
    ("Got error 28", Lack::Room),
];

/// What is lacking according to the messages of the server and its client.
pub(super) fn said(said: &str) -> Option<Lack> {
    let by_number = || {
        let code = Code::read(said)?;
        NUMBERS.iter().find(|(number, _)| *number == code.number).map(|(_, lack)| *lack)
    };
    // Of a table in memory or on a full disk; its name stands in between.
    let is_full = || said.contains("The table '") && said.contains("' is full");
    by_number().or_else(|| is_full().then_some(Lack::Room)).or_else(|| find(&TEXTS, said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Error, source::verify::Fault};

    #[test]
    fn what_this_machine_lacks_is_not_held_against_the_backup() {
        let judged = |text: &str| Fault::from(Error::failed(text)).judged(said);
        for text in [
            "ERROR 1114 (HY000) at line 3: The table 'orders' is full",
            "ERROR 1286 (42000) at line 7: Unknown storage engine 'rocksdb'",
        ] {
            assert!(matches!(judged(text), Fault::Cannot(_)), "{text}");
        }
        for text in
            ["ERROR 1062 (23000) at line 9: Duplicate entry '1' for key 'PRIMARY'", "the moon is full"]
        {
            assert!(matches!(judged(text), Fault::Failed(_)), "{text}");
        }
    }
}
