//! Rows of partitions that are loaded by way of the table at the root: which partition they end up in depends on the server.

use crate::{
    error::{Error, Result},
    source::postgres::archive::{TocEntry, routes},
};

/// Fails if partitions are chosen whose rows are loaded by way of a table that is not.
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
