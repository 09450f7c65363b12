//! Azure Resource Manager: which subscriptions, storage accounts and database servers there are, and accounts' keys.

use std::{collections::HashSet, sync::Arc};

use reqwest::Method;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Azure, Credential, Failure,
    keys::{AskKeys, Keys},
    markers::{MOST_EMPTY, without_entries},
    request::Request,
};
use crate::{
    error::{Error, Result},
    settings::Secret,
    stream::cancel::Cancel,
};

/// Versions of the interfaces, the parameter `api-version`.
const SUBSCRIPTIONS: &str = "2022-12-01";
const STORAGE: &str = "2025-08-01";
const POSTGRES: &str = "2024-08-01";
const MYSQL: &str = "2023-12-30";

/// A subscription that the service principal can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its id (a GUID).
    pub id: String,
    /// Its display name; not unique.
    pub name: String,
    /// `Enabled`, `Warned`, `PastDue`, `Disabled` or `Deleted`. Storage of the last two cannot be read.
    pub state: String,
}

/// A storage account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its resource id, `/subscriptions/…`.
    pub id: String,
    /// Its name, unique in the whole cloud.
    pub name: String,
    /// `StorageV2`, `BlobStorage`, `FileStorage`, `BlockBlobStorage` or `Storage`.
    pub kind: String,
    /// The display name of its subscription.
    pub subscription: String,
    /// The id of its subscription.
    pub subscription_id: String,
    /// The address of its blob service, if it has one.
    pub blob_endpoint: Option<String>,
    /// The address of its file service, if it has one.
    pub file_endpoint: Option<String>,
    /// Whether it has a hierarchical namespace (Data Lake): then it has directories and no tags.
    pub hierarchical: bool,
    /// Whether it accepts its keys.
    pub shared_key: bool,
}

/// Which kind of database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Azure Database for PostgreSQL.
    Postgres,
    /// Azure Database for MySQL.
    Mysql,
}

/// A managed database server ("flexible server").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlexibleServer {
    /// Its resource id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The name by which it is reached.
    pub host: String,
    /// The server's version, such as `16` or `8.0.21`.
    pub version: String,
    /// `Ready`, `Stopped`, …
    pub state: String,
}

impl Azure {
    /// All subscriptions that the service principal can see, in Azure's order.
    ///
    /// # Errors
    /// Azure refuses or does not answer.
    pub fn subscriptions(&self, cancel: &Cancel) -> Result<Vec<Subscription>> {
        let first = Request::new(Method::GET, &self.management, &["subscriptions"])?;
        let found: Vec<SubscriptionJson> = self.pages(first.query("api-version", SUBSCRIPTIONS), cancel)?;
        let subscription = |json: SubscriptionJson| Subscription {
            name: json.display_name.unwrap_or_else(|| json.subscription_id.clone()),
            id: json.subscription_id,
            state: json.state,
        };
        Ok(found.into_iter().map(subscription).collect())
    }

    /// All storage accounts of a subscription that the service principal can see.
    ///
    /// # Errors
    /// Azure refuses or does not answer.
    pub fn storage_accounts(&self, subscription: &Subscription, cancel: &Cancel) -> Result<Vec<Account>> {
        let first = self.list(subscription, "Microsoft.Storage", "storageAccounts", STORAGE)?;
        let found: Vec<Resource<AccountJson>> = self.pages(first, cancel)?;
        let account = |json: Resource<AccountJson>| Account {
            id: json.id,
            name: json.name,
            kind: json.kind,
            subscription: subscription.name.clone(),
            subscription_id: subscription.id.clone(),
            blob_endpoint: json.properties.primary_endpoints.blob,
            file_endpoint: json.properties.primary_endpoints.file,
            hierarchical: json.properties.is_hns_enabled.unwrap_or(false),
            shared_key: json.properties.allow_shared_key_access.unwrap_or(true),
        };
        Ok(found.into_iter().map(account).collect())
    }

    /// All flexible servers of a subscription that the service principal can see.
    ///
    /// # Errors
    /// Azure refuses or does not answer. A subscription that has never used such servers has none.
    pub fn flexible_servers(
        &self,
        engine: Engine,
        subscription: &Subscription,
        cancel: &Cancel,
    ) -> Result<Vec<FlexibleServer>> {
        let (provider, version) = match engine {
            Engine::Postgres => ("Microsoft.DBforPostgreSQL", POSTGRES),
            Engine::Mysql => ("Microsoft.DBforMySQL", MYSQL),
        };
        let first = self.list(subscription, provider, "flexibleServers", version)?;
        let found: Vec<Resource<ServerJson>> = match self.pages(first, cancel) {
            Err(failure) if failure.is("MissingSubscriptionRegistration") => Vec::new(),
            result => result?,
        };
        let server = |json: Resource<ServerJson>| {
            let host = json.properties.fully_qualified_domain_name.ok_or_else(|| {
                Error::failed(format!("Azure names no host for the server {:?}", json.name))
                    .hint("it may still be in the making: try again later")
            })?;
            let (version, state) = (json.properties.version, json.properties.state);
            Ok(FlexibleServer { id: json.id, name: json.name, host, version, state })
        };
        found.into_iter().map(server).collect()
    }

    /// What opens an account: its keys, which are asked for again when one is refused; the service principal's tokens if the account forbids keys or hands
    /// them out to others only, and then [`Credential::note`] says why.
    ///
    /// # Errors
    /// Azure does not answer, or refuses for a reason that tokens do not mend.
    pub fn credential(&self, account: &Account, cancel: &Cancel) -> Result<Credential> {
        let bearer =
            |why: String| Ok(Credential::Bearer { tokens: Arc::clone(&self.storage), note: Some(why) });
        if !account.shared_key {
            return bearer("the account forbids keys".to_owned());
        }
        let keys = match self.keys(&account.id, cancel) {
            Ok(keys) => keys,
            Err(failure) if failure.status() == Some(403) => {
                let code = failure.code().unwrap_or("403").to_owned();
                return bearer(format!(
                    "the account's keys may not be listed ({code}): that needs the role \"Storage Account Key \
                     Operator Service Role\" or \"Reader and Data Access\""
                ));
            }
            Err(failure) if failure.status() == Some(409) && failure.is("ScopeLocked") => {
                return bearer("a ReadOnly lock keeps the account's keys from being listed".to_owned());
            }
            Err(failure) => return Err(failure.into()),
        };
        let (azure, id) = (self.clone(), account.id.clone());
        let again: AskKeys = Box::new(move |cancel| azure.keys(&id, cancel));
        match Keys::listed(keys, again) {
            Some(keys) => {
                let otherwise = Some(Arc::clone(&self.storage));
                Ok(Credential::Key { keys: Arc::new(keys), otherwise })
            }
            None => bearer("the account has no keys".to_owned()),
        }
    }

    /// The keys of the account with this resource id, those with full rights first.
    fn keys(&self, account: &str, cancel: &Cancel) -> Result<Vec<Secret>, Failure> {
        let mut names: Vec<&str> = account.split('/').filter(|name| !name.is_empty()).collect();
        names.push("listKeys");
        let request = Request::new(Method::POST, &self.management, &names)?.query("api-version", STORAGE);
        let answer: KeysJson =
            self.http.exchange(&self.access, &request, cancel, &mut |answer| answer.json())?;
        let full = |key: &KeyJson| key.permissions.eq_ignore_ascii_case("full");
        let mut keys: Vec<_> = answer.keys.into_iter().filter(|key| !key.value.is_empty()).collect();
        // A stable sort: among those with full rights Azure's order stays.
        keys.sort_by_key(|key| !full(key));
        Ok(keys.into_iter().map(|key| Secret::new(key.value)).collect())
    }

    fn list(
        &self,
        subscription: &Subscription,
        provider: &str,
        kind: &str,
        version: &str,
    ) -> Result<Request, Failure> {
        let names = ["subscriptions", &subscription.id, "providers", provider, kind];
        Ok(Request::new(Method::GET, &self.management, &names)?.query("api-version", version))
    }

    /// The entries of all pages.
    fn pages<T: DeserializeOwned>(&self, first: Request, cancel: &Cancel) -> Result<Vec<T>, Failure> {
        let (mut found, mut seen, mut empty) = (Vec::new(), HashSet::new(), 0);
        let mut request = first;
        loop {
            let page: PageJson<T> =
                self.http.exchange(&self.access, &request, cancel, &mut |answer| answer.json())?;
            empty = if page.value.is_empty() { empty + 1 } else { 0 };
            found.extend(page.value);
            let Some(link) = page.next_link.filter(|link| !link.is_empty()) else { return Ok(found) };
            request = Request::following(&self.management, &link)?;
            if !seen.insert(link) {
                return Err(Failure::unexpected(&request.describe(), "its pages go in a circle"));
            }
            if empty >= MOST_EMPTY {
                return Err(Failure::unexpected(&request.describe(), without_entries()));
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageJson<T> {
    value: Vec<T>,
    next_link: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubscriptionJson {
    subscription_id: String,
    display_name: Option<String>,
    #[serde(default)]
    state: String,
}

#[derive(Deserialize)]
struct Resource<T> {
    id: String,
    name: String,
    #[serde(default)]
    kind: String,
    properties: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountJson {
    #[serde(default)]
    primary_endpoints: EndpointsJson,
    is_hns_enabled: Option<bool>,
    allow_shared_key_access: Option<bool>,
}

#[derive(Deserialize, Default)]
struct EndpointsJson {
    blob: Option<String>,
    file: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServerJson {
    fully_qualified_domain_name: Option<String>,
    #[serde(default)]
    version: String,
    #[serde(default)]
    state: String,
}

#[derive(Deserialize)]
struct KeysJson {
    keys: Vec<KeyJson>,
}

#[derive(Deserialize)]
struct KeyJson {
    value: String,
    #[serde(default)]
    permissions: String,
}
