//! `kind = "azure-storage"`: the storage accounts of a tenant.

use crate::settings::{AzurePrincipal, Paths, Patterns, azure::read_principal, reader::Reader};

/// How many blobs or files of an item are read at the same time by default.
const PARALLEL_DOWNLOADS: usize = 16;

/// All storage accounts that a service principal can see.
#[derive(Debug, Clone, PartialEq)]
pub struct AzureStorageConfig {
    /// The service principal.
    pub principal: AzurePrincipal,
    /// Accounts to back up.
    pub accounts: Patterns,
    /// Accounts to leave out.
    pub exclude_accounts: Patterns,
    /// Blob containers to leave out.
    pub exclude_containers: Patterns,
    /// File shares to leave out.
    pub exclude_shares: Patterns,
    /// Blobs and files to leave out: globs relative to their container or share, as those of directories.
    pub exclude: Vec<String>,
    /// How many blobs or files of an item are read at the same time, 1 to 64.
    pub parallel_downloads: usize,
}

impl AzureStorageConfig {
    /// What is configured of a source, if it is of this kind.
    pub(crate) fn of<'a>(config: &'a (dyn crate::source::KindConfig + 'static)) -> Option<&'a Self> {
        (config as &dyn std::any::Any).downcast_ref()
    }
}

/// Reads the keys of `kind = "azure-storage"`.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<AzureStorageConfig> {
    let principal = read_principal(reader);
    let accounts = reader.patterns("accounts");
    if accounts.as_ref().is_some_and(Patterns::is_empty) {
        let what = "an empty list would back up nothing; leave the key out for all accounts";
        reader.problem("accounts", what);
    }
    let exclude_accounts = reader.patterns("exclude_accounts").unwrap_or_default();
    let exclude_containers = reader.patterns("exclude_containers").unwrap_or_default();
    let exclude_shares = reader.patterns("exclude_shares").unwrap_or_default();
    let exclude = reader.exclude(Paths::OfBlobs);
    let parallel = reader.integer("parallel_downloads", 1..=64).and_then(|count| count.try_into().ok());
    Some(AzureStorageConfig {
        principal: principal?,
        accounts: accounts.or_else(|| Patterns::new(["*"]).ok()).unwrap_or_default(),
        exclude_accounts,
        exclude_containers,
        exclude_shares,
        exclude,
        parallel_downloads: parallel.unwrap_or(PARALLEL_DOWNLOADS),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::testing;

    #[test]
    fn azure_is_asked_by_a_service_principal() {
        let keys = "tenant_id_file = \"t\"\nclient_id_file = \"c\"\nclient_secret_file = \"s\"\n";
        let azure = testing::read(&format!("{keys}exclude_accounts = [\"x*\"]\n"), read).unwrap();
        assert_eq!(azure.principal.management_scope, "https://management.azure.com/.default");
        assert_eq!(azure.exclude_accounts.matched("xy"), Some("x*"));
        assert!(azure.accounts.matched("anything").is_some());
    }
}
