//! Partitions whose rows are loaded through the root table: the server decides which partition a row is stored in.

use crate::{
    error::{Error, Result},
    source::postgres::archive::{TocEntry, routes},
};

/// Fails if a selected partition is loaded through a table that is not selected.
pub(super) fn require_roots(chosen: &[TocEntry]) -> Result<()> {
    for routed in routes(chosen) {
        let is_root = |entry: &TocEntry| {
            entry.desc == "TABLE"
                && entry.tag == routed.into_name
                && entry.namespace.as_deref().unwrap_or_default() == routed.into_schema
        };
        if !chosen.iter().any(is_root) {
            return Err(Error::usage(format!(
                "the rows of {}.{} can only be restored into the partitioned table {}.{}",
                routed.schema, routed.name, routed.into_schema, routed.into_name
            ))
            .hint(format!("restore that table: --table {}.{}", routed.into_schema, routed.into_name)));
        }
    }
    Ok(())
}
