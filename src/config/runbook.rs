//! `[runbook]`: what only people know and the recovery runbook needs.

use super::SourceConfig;
use crate::settings::reader::Reader;

/// What the runbook says beyond what the program knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunbookConfig {
    /// Whose installation this is.
    pub organisation: Option<String>,
    /// Where the repository's password is kept besides on the host.
    pub escrow: Option<String>,
    /// How the storage is reached without this host: its name, its account, who pays for it.
    pub storage: Option<String>,
    /// Sources in the order in which they are brought back; those left out follow.
    pub order: Vec<String>,
    /// What else is worth knowing, as one paragraph each.
    pub notes: Vec<String>,
    /// Who is called, in this order.
    pub contacts: Vec<Contact>,
}

/// Somebody who is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The name.
    pub name: String,
    /// What for.
    pub role: Option<String>,
    /// How: telephone, mail, chat.
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
