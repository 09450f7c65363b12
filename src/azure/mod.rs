//! A small client of Azure's blob service, file service and Resource Manager, for reading what is backed up and for
//! restoring it. It deletes only the share snapshots that it created.
//!
//! Each of these uses only those before it: `service` and `codes` (what errors mean), `failure`, `request`, `xml` and `refusal`
//! (the body of an error), `retry`, `transport` (one try), `http` (all tries, authorized by whatever it is given), `token`,
//! `keys`, `auth` (what authorizes), and then the services: `arm`, `blob` and `files`. Of the rest of the program they use
//! errors, secrets, the stop flag and the trait of streams with holes.

pub mod arm;
pub mod auth;
pub mod blob;
mod codes;
pub mod failure;
pub mod files;
pub mod http;
pub mod keys;
mod markers;
pub(crate) mod refusal;
pub mod request;
pub mod retry;
mod service;
pub mod token;
mod transport;
pub mod witness;
mod xml;

use std::{fmt, sync::Arc};

pub use arm::{Account, Engine, FlexibleServer, Subscription};
pub use auth::Credential;
pub use blob::BlobService;
pub use failure::{Failure, Scope};
pub use retry::Policy;
pub use witness::Witness;

use auth::Access;
use http::Http;
use request::{Endpoint, Service};
use token::{Principal, Tokens};

use crate::{
    error::{Error, Result},
    settings::Secret,
};

/// The version of the storage services' protocol that is spoken, the header `x-ms-version`.
pub const STORAGE_VERSION: &str = "2025-05-05";

/// The service principal, and where the cloud is: sovereign clouds and tests have other addresses.
pub struct Settings {
    /// The tenant's id or one of its domains.
    pub tenant: String,
    /// The application's (client) id.
    pub client_id: String,
    /// The application's secret: its value, not its id.
    pub client_secret: Secret,
    /// Where tokens come from, by default `https://login.microsoftonline.com`.
    pub authority: String,
    /// Resource Manager, by default `https://management.azure.com`.
    pub management: String,
    /// The scope of tokens for Resource Manager.
    pub management_scope: String,
    /// The scope of tokens for storage accounts.
    pub storage_scope: String,
}

impl Settings {
    /// The settings for Azure's public cloud.
    pub fn public(tenant: String, client_id: String, client_secret: Secret) -> Self {
        Self {
            tenant,
            client_id,
            client_secret,
            authority: "https://login.microsoftonline.com".to_owned(),
            management: "https://management.azure.com".to_owned(),
            management_scope: "https://management.azure.com/.default".to_owned(),
            storage_scope: "https://storage.azure.com/.default".to_owned(),
        }
    }
}

/// A tenant, seen as one service principal. Clones share connections and tokens.
#[derive(Clone)]
pub struct Azure {
    http: Http,
    management: Endpoint,
    /// The principal's access to Resource Manager.
    access: Access,
    /// The principal's tokens for storage accounts.
    storage: Arc<Tokens>,
}

impl Azure {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// An address or an id that cannot be one (exit code 2), or the system gives no threads.
    pub fn new(settings: Settings) -> Result<Self> {
        Self::with_policy(settings, Policy::default())
    }

    /// Like [`Azure::new`], with other times.
    ///
    /// # Errors
    /// Like [`Azure::new`].
    pub fn with_policy(settings: Settings, policy: Policy) -> Result<Self> {
        for (what, value) in [("tenant id", &settings.tenant), ("client id", &settings.client_id)] {
            // It becomes part of an address or a form; other characters would be refused later.
            let plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
            if !plain || value.trim_matches('.').is_empty() {
                return Err(Error::usage(format!("the {what} is no id")).hint(format!(
                    "it looks like 00000000-0000-0000-0000-000000000000: copy the {what} from Entra ID"
                )));
            }
        }
        let principal = Arc::new(Principal {
            authority: Endpoint::parse(Service::Authority, &settings.authority)?,
            tenant: settings.tenant,
            client_id: settings.client_id,
            client_secret: settings.client_secret,
        });
        let management_tokens = Tokens::new(Arc::clone(&principal), settings.management_scope);
        Ok(Self {
            http: Http::new(policy)?,
            management: Endpoint::parse(Service::Management, &settings.management)?,
            access: Access::management(Arc::new(management_tokens)),
            storage: Arc::new(Tokens::new(principal, settings.storage_scope)),
        })
    }

    /// The HTTP client, for further services.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The service principal's own access to storage accounts, without keys.
    pub fn bearer(&self) -> Credential {
        Credential::Bearer { tokens: Arc::clone(&self.storage), note: None }
    }

    /// The blob service of an account, at the endpoint that Resource Manager names.
    ///
    /// # Errors
    /// The endpoint is no address (exit code 2).
    pub fn blobs(&self, endpoint: &str, account: &str, credential: Credential) -> Result<BlobService> {
        BlobService::new(self.http.clone(), endpoint, account, credential)
    }
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azure").field("management", &self.management.host()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("authority", &self.authority)
            .field("management", &self.management)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
