//! `[runbook]`: information for the recovery runbook that the program cannot find out.

use super::SourceConfig;
use crate::settings::reader::Reader;

/// Information for the runbook that the program cannot find out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunbookConfig {
    /// The organisation that runs this installation.
    pub organisation: Option<String>,
    /// Where another copy of the repository's password is kept.
    pub escrow: Option<String>,
    /// How the storage is reached without this host: its name, its account, who pays for it.
    pub storage: Option<String>,
    /// Sources in the order of recovery; the others follow.
    pub order: Vec<String>,
    /// Further paragraphs.
    pub notes: Vec<String>,
    /// People to call, in this order.
    pub contacts: Vec<Contact>,
}

/// A person to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The name.
    pub name: String,
    /// Their role.
    pub role: Option<String>,
    /// Telephone numbers, mail addresses or chat channels.
    pub reach: Vec<String>,
}

/// Reads the section.
pub(super) fn read(mut reader: Reader<'_>, sources: &[SourceConfig]) -> RunbookConfig {
    let runbook = RunbookConfig {
        organisation: reader.string("organisation"),
        escrow: reader.string("escrow"),
        storage: reader.string("storage"),
        order: reader.strings("order").unwrap_or_default(),
        notes: reader.strings("notes").unwrap_or_default(),
        contacts: reader.tables("contacts").into_iter().filter_map(read_contact).collect(),
    };
    for name in &runbook.order {
        if !sources.iter().any(|source| source.name.as_str() == name) {
            reader.problem("order", &format!("there is no source {name:?}"));
        }
    }
    reader.finish();
    runbook
}

fn read_contact(mut reader: Reader<'_>) -> Option<Contact> {
    let name = reader.string("name");
    reader.missing("name", "whom to call");
    let (role, reach) = (reader.string("role"), reader.strings("reach"));
    reader.missing("reach", "a list of telephone numbers, addresses or channels");
    reader.finish();
    Some(Contact { name: name?, role, reach: reach? })
}
