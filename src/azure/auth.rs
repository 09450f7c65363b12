//! Authorization: an account's key (SharedKey), a token of Entra ID, or a shared access signature.
//!
//! SharedKey is Microsoft's "Authorize with Shared Key", the form for Blob and File service since 2009-09-19.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use parking_lot::RwLock;
use reqwest::{Url, header::HeaderValue};
use sha2::Sha256;

use super::{
    failure::Failure,
    http::{Authorize, Http, Signed, header_map},
    keys::Keys,
    request::Request,
    token::Tokens,
};
use crate::{settings::Secret, stream::cancel::Cancel};

/// The order in which the services sort header names: not that of bytes, `_` comes before digits.
const SORTED: &str = "-!#$%&*.^_|~+`0123456789abcdefghijklmnopqrstuvwxyz";

/// The credential for a storage account. `Debug` shows no secret.
#[derive(Clone)]
pub enum Credential {
    /// The account's keys, one of which signs.
    Key {
        /// The current key, and the source of others if it is refused.
        keys: Arc<Keys>,
        /// The fallback if the account forbids keys.
        otherwise: Option<Arc<Tokens>>,
    },
    /// Tokens of the service principal.
    Bearer {
        /// Their source.
        tokens: Arc<Tokens>,
        /// Why no key is used, if a key was preferred.
        note: Option<String>,
    },
    /// A shared access signature.
    Sas {
        /// The query string, without `?`.
        token: Arc<Secret>,
    },
}

impl Credential {
    /// A key of the account, in base64 as Azure shows it. There is no fallback if it is refused.
    pub fn from_key(key: Secret) -> Self {
        Self::Key { keys: Arc::new(Keys::given(key)), otherwise: None }
    }

    /// A shared access signature, with or without the `?` in front.
    pub fn from_sas(token: Secret) -> Self {
        let token = match token.expose().strip_prefix('?') {
            Some(bare) => Secret::new(bare.to_owned()),
            None => token,
        };
        Self::Sas { token: Arc::new(token) }
    }

    /// Why tokens are used although a key was preferred.
    pub fn note(&self) -> Option<&str> {
        match self {
            Self::Bearer { note, .. } => note.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key { .. } => "Credential::Key(…)",
            Self::Bearer { .. } => "Credential::Bearer(…)",
            Self::Sas { .. } => "Credential::Sas(…)",
        })
    }
}

/// Authorizes the requests of one service. Clones share their state, such as that keys are forbidden.
#[derive(Clone)]
pub struct Access(Arc<Inner>);

struct Inner {
    /// The storage account, whose name is part of the signature; none for Resource Manager.
    account: Option<String>,
    credential: RwLock<Credential>,
}

impl Access {
    /// Access of the service principal, for Resource Manager.
    pub fn management(tokens: Arc<Tokens>) -> Self {
        Self::of(None, Credential::Bearer { tokens, note: None })
    }

    /// Access with this credential, for a service of the storage account.
    pub fn storage(account: &str, credential: Credential) -> Self {
        Self::of(Some(account.to_owned()), credential)
    }

    fn of(account: Option<String>, credential: Credential) -> Self {
        Self(Arc::new(Inner { account, credential: RwLock::new(credential) }))
    }

    fn credential(&self) -> Credential {
        self.0.credential.read().clone()
    }

    /// The account's name; empty if there is none.
    pub fn account(&self) -> &str {
        self.0.account.as_deref().unwrap_or_default()
    }
}

impl Authorize for Access {
    fn authorize(&self, http: &Http, request: &Request, cancel: &Cancel) -> Result<Signed, Failure> {
        let mut used = None;
        let mut url = request.full_url();
        let mut headers = request.headers.clone();
        if self.0.account.is_some() {
            headers.push(("x-ms-date".to_owned(), http_date(Timestamp::now())));
        }
        let authorization = match self.credential() {
            Credential::Key { keys, .. } => {
                let key = keys.current();
                let text = shared_key(self.account(), &key, request, &url, &headers)?;
                used = Some(key);
                Some(text)
            }
            Credential::Bearer { tokens, .. } => {
                Some(format!("Bearer {}", tokens.get(http, cancel)?.expose()))
            }
            Credential::Sas { token } => {
                let query = match url.query() {
                    Some(query) => format!("{query}&{}", token.expose()),
                    None => token.expose().to_owned(),
                };
                url.set_query(Some(&query));
                None
            }
        };
        let mut map = header_map(&headers)?;
        if let Some(text) = authorization {
            let mut value = HeaderValue::from_str(&text)
                .map_err(|_| Failure::local("a token or an account's name cannot stand in a header"))?;
            value.set_sensitive(true);
            map.insert(reqwest::header::AUTHORIZATION, value);
        }
        Ok(Signed { url, headers: map, key: used })
    }

    /// Whether a retry makes sense after this refusal: the account forbids keys and there are
    /// tokens, a token was refused and a fresh one may not be, or the key that signed (`used`) was refused and there
    /// is another one.
    fn learn(&self, failure: &Failure, used: Option<&Secret>, cancel: &Cancel) -> bool {
        if failure.is_settled() {
            return false;
        }
        let key_refused = failure.is("AuthenticationFailed") || failure.status() == Some(401);
        if let Some(used) = used.filter(|_| key_refused) {
            return match self.credential() {
                Credential::Key { keys, .. } => keys.replace(used, cancel),
                // Another thread has found in the meantime that keys are forbidden.
                Credential::Bearer { .. } => true,
                Credential::Sas { .. } => false,
            };
        }
        let mut credential = self.0.credential.write();
        match &*credential {
            Credential::Key { otherwise: Some(tokens), .. }
                if failure.is("KeyBasedAuthenticationNotPermitted") =>
            {
                let note = Some("the account forbids keys".to_owned());
                *credential = Credential::Bearer { tokens: Arc::clone(tokens), note };
                true
            }
            // Another thread of this service has already switched.
            Credential::Bearer { .. } if failure.is("KeyBasedAuthenticationNotPermitted") => true,
            Credential::Bearer { tokens, .. } if failure.status() == Some(401) => {
                tokens.forget();
                true
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("account", &self.0.account).finish_non_exhaustive()
    }
}

/// A time in the format of HTTP, for example `Mon, 27 Jul 2009 12:28:53 GMT`.
pub fn http_date(moment: Timestamp) -> String {
    moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The value of the header `Authorization`.
fn shared_key(
    account: &str,
    key: &Secret,
    request: &Request,
    url: &Url,
    headers: &[(String, String)],
) -> Result<String, Failure> {
    let bad = || Failure::local(format!("the key of the storage account {account:?} is not valid base64"));
    let key = STANDARD.decode(key.expose()).map_err(|_| bad())?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| bad())?;
    mac.update(string_to_sign(account, request, url, headers).as_bytes());
    Ok(format!("SharedKey {account}:{}", STANDARD.encode(mac.finalize().into_bytes())))
}

fn string_to_sign(account: &str, request: &Request, url: &Url, headers: &[(String, String)]) -> String {
    let value = |name: &str| {
        headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let length = if request.body.is_empty() { String::new() } else { request.body.len().to_string() };
    let mut text = format!("{}\n", request.method);
    for name in [
        "content-encoding",
        "content-language",
        "content-length",
        "content-md5",
        "content-type",
        "date",
        "if-modified-since",
        "if-match",
        "if-none-match",
        "if-unmodified-since",
        "range",
    ] {
        text.push_str(if name == "content-length" { &length } else { value(name) });
        text.push('\n');
    }
    let mut special: Vec<_> = headers.iter().filter(|(name, _)| name.starts_with("x-ms-")).collect();
    special.sort_by_key(|(name, _)| name.chars().map(|c| SORTED.find(c)).collect::<Vec<_>>());
    for (name, value) in special {
        text.push_str(&format!("{name}:{value}\n"));
    }
    text.push_str(&format!("/{account}{}", url.path()));
    let mut query: Vec<_> = request.query.iter().map(|(key, value)| (key.to_lowercase(), value)).collect();
    query.sort();
    for (key, value) in query {
        text.push_str(&format!("\n{key}:{value}"));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::azure::request::{Endpoint, Service};
    use reqwest::Method;

    fn key() -> Secret {
        Secret::new(STANDARD.encode(b"hunter2"))
    }

    #[test]
    fn what_is_signed_follows_the_specification() {
        let endpoint = Endpoint::parse(Service::Blob, "https://acc.blob.core.windows.net").unwrap();
        let request = Request::new(Method::PUT, &endpoint, &["c", "a b/ü"]).unwrap();
        let request = request
            .query("comp", "metadata")
            .query("Marker", "x y,z")
            .header("x-ms-version", "2025-05-05")
            .header("X-Ms-Meta-a1", " padded ")
            .header("x-ms-meta-a_", "v")
            .header("If-Match", "\"0x1\"")
            .body("12345");
        let text = string_to_sign("acc", &request, &request.full_url(), &request.headers);
        assert_eq!(
            text,
            "PUT\n\n\n5\n\n\n\n\n\"0x1\"\n\n\n\nx-ms-meta-a_:v\nx-ms-meta-a1:padded\nx-ms-version:2025-05-05\n\
             /acc/c/a%20b%2F%C3%BC\ncomp:metadata\nmarker:x y,z"
        );
        let header = shared_key("acc", &key(), &request, &request.full_url(), &request.headers).unwrap();
        assert!(header.starts_with("SharedKey acc:"), "{header}");
        let empty = string_to_sign("acc", &request.clone().body(""), &request.full_url(), &[]);
        assert!(empty.starts_with("PUT\n\n\n\n\n\n"), "{empty}");
    }

    #[test]
    fn a_signature_is_appended_to_the_query() {
        let http = Http::new(Default::default()).unwrap();
        let endpoint = Endpoint::parse(Service::Blob, "https://acc.blob.core.windows.net").unwrap();
        let request = Request::new(Method::GET, &endpoint, &["c"]).unwrap();
        let access = Access::storage("acc", Credential::from_sas(Secret::new("?sv=1&sig=a%2Bb".into())));
        let signed = access.authorize(&http, &request, &Cancel::new()).unwrap();
        assert_eq!(signed.url.query(), Some("sv=1&sig=a%2Bb"));
        assert!(!signed.headers.contains_key("authorization") && signed.key.is_none());
        let signed = access.authorize(&http, &request.query("comp", "list"), &Cancel::new()).unwrap();
        assert_eq!(signed.url.query(), Some("comp=list&sv=1&sig=a%2Bb"));
    }

    #[test]
    fn secrets_are_not_shown_and_bad_ones_not_repeated() {
        let http = Http::new(Default::default()).unwrap();
        let endpoint = Endpoint::parse(Service::Blob, "https://acc.blob.core.windows.net").unwrap();
        let request = Request::new(Method::GET, &endpoint, &["c"]).unwrap();
        let access = Access::storage("acc", Credential::from_key(Secret::new("hunter2!".into())));
        let error = access.authorize(&http, &request, &Cancel::new()).err().unwrap();
        assert_eq!(error.to_string(), "the key of the storage account \"acc\" is not valid base64");
        assert!(!format!("{access:?}{:?}", Credential::from_key(key())).contains("hunter2"));
        let odd = request.header("x-ms-meta-x", "a\nb");
        let access = Access::storage("acc", Credential::from_key(key()));
        let error = access.authorize(&http, &odd, &Cancel::new()).err().unwrap();
        assert!(error.to_string().contains("x-ms-meta-x"), "{error}");
    }

    #[test]
    fn dates_are_those_of_http() {
        let moment: Timestamp = "2009-07-07T02:08:05.9Z".parse().unwrap();
        assert_eq!(http_date(moment), "Tue, 07 Jul 2009 02:08:05 GMT");
    }
}
