//! Parsing the SQL scripts of `mysqldump` and `mariadb-dump`: their content, with digests; and filters that select one table or
//! the views, or adapt the script to its target.

mod definition;
mod head;
mod lexer;
mod literal;
mod objects;
mod phases;
mod places;
mod reader;
mod rewrite;
mod rows;
mod select;
mod spread;
mod substitute;
#[cfg(test)]
mod tests;
mod tokens;

pub use head::Head;
pub use literal::Value;
pub use phases::{Phases, View, Views, references};
pub use places::{Made, Redefined};
pub use reader::{ObjectSummary, ScriptReader, ScriptSummary, TableSummary};
pub use rewrite::{ANNOUNCEMENT, Rewrite, announce};
pub use select::Select;
pub use spread::{Created, Lanes, Spread};
pub use substitute::{Substitute, Values};

/// The name of the dumped database, if this is the comment that contains it.
fn database_of(comment: &[u8]) -> Option<String> {
    const BEFORE: &[u8] = b"    Database: ";
    let line = comment.strip_prefix(b"-- Host: ")?;
    let at = memchr::memmem::find(line, BEFORE)?;
    let name = String::from_utf8_lossy(line.get(at + BEFORE.len()..)?);
    let name = name.strip_suffix('\n').unwrap_or(&name);
    (!name.is_empty()).then(|| name.to_owned())
}
