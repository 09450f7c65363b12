//! `kind = "azure-storage"`, and what every source needs that asks Azure: a service principal and the cloud's addresses.

use super::{
    directory::read_exclude,
    patterns::{Paths, Patterns},
    reader::Reader,
    secret::SecretFile,
    server::Host,
};

/// How many blobs or files of an item are read at the same time unless something else is said.
const PARALLEL_DOWNLOADS: usize = 16;
const AUTHORITY: &str = "https://login.microsoftonline.com";
const MANAGEMENT: &str = "https://management.azure.com";
const STORAGE_SCOPE: &str = "https://storage.azure.com/.default";

/// A service principal and where its cloud is.
#[derive(Debug, Clone, PartialEq)]
pub struct AzurePrincipal {
    /// File with the tenant's id.
    pub tenant_id_file: SecretFile,
    /// File with the principal's client id.
    pub client_id_file: SecretFile,
    /// File with the principal's secret.
    pub client_secret_file: SecretFile,
    /// URL of the token service, without a slash at the end.
    pub authority: String,
    /// URL of Resource Manager, without a slash at the end.
    pub management_endpoint: String,
    /// Scope of tokens for Resource Manager.
    pub management_scope: String,
    /// Scope of tokens for storage accounts.
    pub storage_scope: String,
}

/// All storage accounts that a service principal can see.
#[derive(Debug, Clone, PartialEq)]
pub struct AzureStorageConfig {
    /// Who asks.
    pub principal: AzurePrincipal,
    /// Accounts to back up.
    pub accounts: Patterns,
    /// Accounts to leave out.
    pub exclude_accounts: Patterns,
    /// Blob containers to leave out.
    pub exclude_containers: Patterns,
    /// File shares to leave out.
    pub exclude_shares: Patterns,
    /// Blobs and files to leave out: globs relative to their container or share, as those of folders.
    pub exclude: Vec<String>,
    /// How many blobs or files of an item are read at the same time, 1 to 64.
    pub parallel_downloads: usize,
}

/// All flexible database servers that a service principal can see.
#[derive(Debug, Clone, PartialEq)]
pub struct AzureServers {
    /// Who asks.
    pub principal: AzurePrincipal,
    /// Servers to leave out.
    pub exclude_servers: Patterns,
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
    let exclude = read_exclude(reader, Paths::OfBlobs);
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

/// Reads `azure = true` of a database server and what belongs to it; the outer `None` if the server has a host.
pub(super) fn read_servers(reader: &mut Reader<'_>) -> Option<Option<AzureServers>> {
    if !reader.boolean("azure", false) {
        return None;
    }
    if reader.has("host") {
        reader.problem("host", "give either host or azure = true, which finds the hosts, not both");
        // Noted as known.
        let _ = reader.string("host");
    }
    let principal = read_principal(reader);
    let exclude_servers = reader.patterns("exclude_servers").unwrap_or_default();
    Some(principal.map(|principal| AzureServers { principal, exclude_servers }))
}

fn read_principal(reader: &mut Reader<'_>) -> Option<AzurePrincipal> {
    let tenant_id_file = reader.secret_file("tenant_id_file");
    let client_id_file = reader.secret_file("client_id_file");
    let client_secret_file = reader.secret_file("client_secret_file");
    for (key, what) in [
        ("tenant_id_file", "the id of the tenant"),
        ("client_id_file", "the client id of the service principal"),
        ("client_secret_file", "the secret of the service principal"),
    ] {
        reader.missing(key, &format!("the path of a file that holds {what}"));
    }
    let authority = read_url(reader, "authority", AUTHORITY);
    let management_endpoint = read_url(reader, "management_endpoint", MANAGEMENT);
    let management_scope =
        reader.string("management_scope").unwrap_or_else(|| format!("{management_endpoint}/.default"));
    let storage_scope = reader.string("storage_scope").unwrap_or_else(|| STORAGE_SCOPE.to_owned());
    Some(AzurePrincipal {
        tenant_id_file: tenant_id_file?,
        client_id_file: client_id_file?,
        client_secret_file: client_secret_file?,
        authority,
        management_endpoint,
        management_scope,
        storage_scope,
    })
}

/// A URL of a service that is sent secrets: TLS unless it is on this machine.
fn read_url(reader: &mut Reader<'_>, key: &'static str, default: &str) -> String {
    let Some(url) = reader.string(key) else { return default.to_owned() };
    let url = url.trim_end_matches('/');
    let local = |rest: &str| {
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        Host::Tcp(host.trim_matches(['[', ']']).to_owned()).is_local()
    };
    match url.split_once("://") {
        _ if url.contains(['@', '?', '#', ' ']) => {
            reader.problem(key, "must be a plain URL without user, query or fragment");
        }
        Some(("https", rest)) if !rest.is_empty() => {}
        Some(("http", rest)) if local(rest) => {}
        _ => reader.problem(key, "must be a URL that begins with https://"),
    }
    url.to_owned()
}
