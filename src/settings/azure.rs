//! Settings of all sources that use Azure: a service principal and the cloud's addresses.

use super::{patterns::Patterns, reader::Reader, secret::SecretFile, server::Host};

const AUTHORITY: &str = "https://login.microsoftonline.com";
const MANAGEMENT: &str = "https://management.azure.com";
const STORAGE_SCOPE: &str = "https://storage.azure.com/.default";

/// A service principal and the addresses of its cloud.
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

impl AzurePrincipal {
    /// The files that it is read from.
    pub(crate) fn secret_files(&self) -> [&SecretFile; 3] {
        [&self.tenant_id_file, &self.client_id_file, &self.client_secret_file]
    }
}

/// All flexible database servers that a service principal can see.
#[derive(Debug, Clone, PartialEq)]
pub struct AzureServers {
    /// The service principal.
    pub principal: AzurePrincipal,
    /// Servers to leave out.
    pub exclude_servers: Patterns,
}

/// Reads `azure = true` of a database server and its further keys; `None` if the server has a host.
pub(crate) fn read_servers(reader: &mut Reader<'_>) -> Option<Option<AzureServers>> {
    if !reader.boolean("azure", false) {
        return None;
    }
    if reader.has("host") {
        reader.problem("host", "give either host or azure = true, which finds the hosts, not both");
        // Read, so that the key is not reported as unknown.
        let _ = reader.string("host");
    }
    let principal = read_principal(reader);
    let exclude_servers = reader.patterns("exclude_servers").unwrap_or_default();
    Some(principal.map(|principal| AzureServers { principal, exclude_servers }))
}

/// Reads the keys of a service principal.
pub(crate) fn read_principal(reader: &mut Reader<'_>) -> Option<AzurePrincipal> {
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

/// A URL of a service that receives secrets: TLS is required unless it is on this machine.
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
