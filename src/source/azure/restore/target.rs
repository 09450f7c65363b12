//! Where a container or share is restored to: an account found by the service principal, or a URL.

use super::super::{Place, SHARE, client, subscriptions};
use crate::{
    azure::{Account, Azure, Credential, Settings, blob::BlobService, files::FileService},
    error::{Error, Result},
    output::name,
    settings::{AzurePrincipal, Secret},
    stream::cancel::Cancel,
};

/// The target of a restore, and the credential.
pub struct Target {
    /// `ACCOUNT/CONTAINER`, `ACCOUNT/share:NAME`, or the URL of a container or share.
    pub into: String,
    /// The service principal of the source, if that is configured.
    pub principal: Option<AzurePrincipal>,
    /// A key of the account or a shared access signature, which take precedence over the service principal.
    pub secret: Option<Secret>,
}

/// The service of the target, and the name of the container or share.
pub(super) enum Service {
    Container(BlobService, String),
    Share(FileService, String),
}

impl Target {
    /// Finds the target and the credential.
    pub(super) fn resolve(&self, wants_share: bool, cancel: &Cancel) -> Result<(Service, String)> {
        let azure = match &self.principal {
            Some(principal) => client(principal)?,
            None => anonymous()?,
        };
        let secret = self.secret.as_ref().map(credential);
        let (account, endpoint, place) = match self.into.split_once("://") {
            Some(_) => by_url(&self.into)?,
            None => {
                let place = Place::parse(&self.into).ok_or_else(|| {
                    Error::usage(format!(
                        "--into {}: write ACCOUNT/CONTAINER, ACCOUNT/{SHARE}NAME or a URL",
                        self.into
                    ))
                })?;
                if wants_share != matches!(place, Place::Share { .. }) {
                    return Err(wrong_kind(wants_share));
                }
                let account = self.find(&azure, place.account(), cancel)?.ok_or_else(|| {
                    Error::failed(format!("the service principal sees no storage account {}", place.account()))
                        .hint("correct the name, give it the role Reader on the account, or write the container's URL")
                })?;
                let endpoint = if wants_share { &account.file_endpoint } else { &account.blob_endpoint };
                let endpoint = endpoint.clone().ok_or_else(|| {
                    Error::failed(format!("the storage account {} has no such service", account.name))
                })?;
                let (Place::Container { container: rest, .. } | Place::Share { share: rest, .. }) = place;
                (account.name.clone(), endpoint, rest.to_owned())
            }
        };
        let credential = match secret {
            Some(credential) => credential,
            None if self.principal.is_none() => {
                return Err(Error::usage("no credentials: the source is not configured").hint(
                    "name a file with a key of the account or a shared access signature: --password-file FILE",
                ));
            }
            None => match self.find(&azure, &account, cancel) {
                Ok(Some(found)) => azure.credential(&found, cancel)?,
                Ok(None) | Err(_) => azure.bearer(),
            },
        };
        let shown =
            if wants_share { format!("{account}/{SHARE}{place}") } else { format!("{account}/{place}") };
        let service = if wants_share {
            Service::Share(FileService::new(azure.http(), &endpoint, &account, credential)?, place)
        } else {
            Service::Container(azure.blobs(&endpoint, &account, credential)?, place)
        };
        Ok((service, shown))
    }

    fn find(&self, azure: &Azure, name: &str, cancel: &Cancel) -> Result<Option<Account>> {
        if self.principal.is_none() {
            return Err(Error::usage(format!(
                "--into {}: the source is not configured, so that its accounts cannot be looked up",
                self.into
            ))
            .hint("write the URL of the container or share, and name a file with a key in --password-file"));
        }
        // A refusing subscription does not hide an account of another.
        subscriptions::find(
            azure,
            cancel,
            &|subscription| azure.storage_accounts(subscription, cancel),
            &|account: &Account| account.name == name,
        )
    }
}

/// A client without a service principal.
fn anonymous() -> Result<Azure> {
    Azure::new(Settings::public("none".to_owned(), "none".to_owned(), Secret::new(String::new())))
}

fn credential(secret: &Secret) -> Credential {
    let text = secret.expose().trim();
    if text.starts_with('?') || text.contains("sig=") {
        Credential::from_sas(Secret::new(text.trim_start_matches('?').to_owned()))
    } else {
        Credential::from_key(Secret::new(text.to_owned()))
    }
}

fn wrong_kind(share: bool) -> Error {
    if share {
        Error::usage(format!("the item is a file share: write --into ACCOUNT/{SHARE}NAME"))
    } else {
        Error::usage("the item is a blob container: write --into ACCOUNT/CONTAINER")
    }
}

/// Account, endpoint and container or share of a URL such as `https://ACCOUNT.blob.core.windows.net/CONTAINER`, or
/// `http://127.0.0.1:10000/ACCOUNT/CONTAINER` of an emulator.
fn by_url(url: &str) -> Result<(String, String, String)> {
    let fault = || {
        Error::usage(format!("--into {}: this is not the URL of a container or share", name(url)))
            .hint("write https://ACCOUNT.blob.core.windows.net/CONTAINER or https://ACCOUNT.file.core.windows.net/SHARE")
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(fault)?;
    if rest.contains(['@', '?', '#']) {
        return Err(Error::usage("--into: the URL of a container or share must not contain a secret")
            .hint("put the key or the shared access signature into a file and name it in --password-file"));
    }
    let mut parts = rest.trim_end_matches('/').split('/');
    let host = parts.next().filter(|host| !host.is_empty()).ok_or_else(fault)?;
    let parts: Vec<&str> = parts.collect();
    let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
    let emulated = bare == "localhost" || bare.starts_with('[') || bare.parse::<std::net::IpAddr>().is_ok();
    match (&parts[..], emulated) {
        ([account, place], true) => {
            Ok(((*account).to_owned(), format!("{scheme}://{host}/{account}"), (*place).to_owned()))
        }
        ([place], false) => {
            let account = host.split('.').next().unwrap_or_default();
            Ok((account.to_owned(), format!("{scheme}://{host}"), (*place).to_owned()))
        }
        _ => Err(fault()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_account_and_container() {
        let of = |url| by_url(url).map(|(account, endpoint, place)| format!("{account} {endpoint} {place}"));
        assert_eq!(
            of("https://acct.blob.core.windows.net/photos").unwrap(),
            "acct https://acct.blob.core.windows.net photos"
        );
        assert_eq!(
            of("http://127.0.0.1:10000/dev/photos/").unwrap(),
            "dev http://127.0.0.1:10000/dev photos"
        );
        for bad in
            ["https://acct.blob.core.windows.net", "https://a.b/c/d", "https://a.b/c?sig=x", "https:///c"]
        {
            assert!(of(bad).is_err(), "{bad}");
        }
        let error = of("https://a.b/c?sv=1&sig=geheim").unwrap_err();
        assert!(!error.summary().contains("geheim"));
    }
}
