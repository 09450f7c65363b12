//! Where a request goes and what it carries: addresses of services, encoded names, headers and a body.

use std::{fmt, net::IpAddr};

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::{Method, Url};

pub use super::service::Service;

use super::failure::Failure;
use crate::error::{Error, Result};

/// All but the unreserved characters of RFC 3986: a `/` within a name becomes `%2F`, a space `%20`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The address of a service: scheme, host, port, and for emulators the account as the first part of the path.
#[derive(Debug, Clone)]
pub struct Endpoint {
    service: Service,
    url: Url,
}

impl Endpoint {
    /// Reads an address such as `https://shop.blob.core.windows.net/`.
    ///
    /// # Errors
    /// Exit code 2: it is no such address, or would send secrets over a network in the clear (`http` is for this
    /// machine alone).
    pub fn parse(service: Service, text: &str) -> Result<Self> {
        let refuse = |what: &str| Error::usage(format!("{text:?} is not an address of Azure: {what}"));
        let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
        let Some(host) = url.host_str() else { return Err(refuse("it names no host")) };
        let local = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if local => {}
            _ => return Err(refuse("only https:// is encrypted")),
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(Error::usage("an address of Azure holds a user, a password or a query")
                .hint("give the address alone, for example https://management.azure.com"));
        }
        Ok(Self { service, url })
    }

    /// Host and port, for messages.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Whether `url` has this scheme, host and port.
    pub fn is_origin_of(&self, url: &Url) -> bool {
        self.url.origin() == url.origin()
    }
}

/// A request that can be sent more than once: it is signed anew each time. `Debug` shows method and address.
#[derive(Clone)]
pub struct Request {
    pub(super) method: Method,
    pub(super) service: Service,
    pub(super) url: Url,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Request {
    /// A request for what the names lead to, one name for each level, not yet encoded. The file service wants a
    /// name for each directory; a blob's name is one name however many `/` it has.
    ///
    /// # Errors
    /// A name that no address can carry: HTTP libraries take a name of only dots, `.` or `..`, for a step.
    pub fn new(method: Method, endpoint: &Endpoint, names: &[&str]) -> Result<Self, Failure> {
        let mut path = endpoint.url.path().trim_end_matches('/').to_owned();
        for name in names {
            path.push('/');
            path.extend(utf8_percent_encode(name, ENCODED));
        }
        if names.is_empty() {
            path.push('/');
        }
        let mut url = endpoint.url.clone();
        url.set_path(&path);
        if url.path() != path || names.iter().any(|name| name.is_empty()) {
            let names = names.join("/");
            let error = Error::failed(format!("the name {names:?} cannot be part of a web address"))
                .hint("rename it: no client can ask for it over HTTPS");
            return Err(Failure::from(error).of_object());
        }
        Ok(Self { url, ..Self::to(method, endpoint.service) })
    }

    /// A request for an address that the service itself gave, such as `nextLink`, verbatim.
    ///
    /// # Errors
    /// It leads to another host than the endpoint's, which must not see our token.
    pub fn following(endpoint: &Endpoint, link: &str) -> Result<Self, Failure> {
        match Url::parse(link) {
            Ok(url) if endpoint.is_origin_of(&url) => {
                Ok(Self { url, ..Self::to(Method::GET, endpoint.service) })
            }
            Ok(url) => Err(Failure::local(format!(
                "{} names {} as the place of the next page: a token is not sent to another host",
                endpoint.host(),
                url.host_str().unwrap_or("no host"),
            ))),
            Err(_) => {
                Err(Failure::local(format!("{} names no valid place of the next page", endpoint.host())))
            }
        }
    }

    fn to(method: Method, service: Service) -> Self {
        let url = Url::parse("https://invalid").expect("a constant that is a valid address");
        Self { method, service, url, query: Vec::new(), headers: Vec::new(), body: Bytes::new() }
    }

    /// Adds a query parameter. One with an empty value is left out: the services disagree on how to sign it.
    #[must_use]
    pub fn query(mut self, key: &str, value: &str) -> Self {
        if !value.is_empty() {
            self.query.push((key.to_owned(), value.to_owned()));
        }
        self
    }

    /// Adds a header. Names are sent in lower case, values without the spaces around them.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        self
    }

    /// Adds a header if there is a value.
    #[must_use]
    pub fn header_if(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// Adds metadata as `x-ms-meta-*` headers. The names arrive in lower case; Azure compares them regardless of it.
    #[must_use]
    pub fn metadata<'a>(self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        pairs
            .into_iter()
            .fold(self, |request, (key, value)| request.header(&format!("x-ms-meta-{key}"), value))
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a form as the body.
    #[must_use]
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let body = encode_pairs(fields.iter().copied());
        self.header("content-type", "application/x-www-form-urlencoded").body(body)
    }

    /// Method and address without the query, which may hold a signature.
    pub fn describe(&self) -> String {
        let path = percent_decode_str(self.url.path()).decode_utf8_lossy();
        let path: String = path.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let origin = self.url.origin().ascii_serialization();
        format!("{} {origin}{path}", self.method)
    }

    /// The address with the query parameters, not yet authorized.
    pub(super) fn full_url(&self) -> Url {
        let mut url = self.url.clone();
        if !self.query.is_empty() {
            let pairs = encode_pairs(self.query.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            url.set_query(Some(&pairs));
        }
        url
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Request").field(&self.describe()).finish()
    }
}

fn encode_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let encode = |text| utf8_percent_encode(text, ENCODED);
    let pairs: Vec<_> =
        pairs.into_iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    pairs.join("&")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn path(names: &[&str]) -> Result<String, Failure> {
        let endpoint = Endpoint::parse(Service::Blob, "http://127.0.0.1:1/acc/").unwrap();
        Request::new(Method::GET, &endpoint, names).map(|request| request.url.path().to_owned())
    }

    #[test]
    fn names_survive_in_addresses() {
        assert_eq!(path(&[]).unwrap(), "/acc/");
        for (name, encoded) in [
            ("a b+c", "a%20b%2Bc"),
            ("/lead//x/", "%2Flead%2F%2Fx%2F"),
            ("a/../b", "a%2F..%2Fb"),
            ("./x", ".%2Fx"),
            ("../..", "..%2F.."),
            ("...", "..."),
            ("100%?#&'\"\\", "100%25%3F%23%26%27%22%5C"),
            ("größe\u{1}\n", "gr%C3%B6%C3%9Fe%01%0A"),
            ("-._~", "-._~"),
        ] {
            assert_eq!(path(&["c", name]).unwrap(), format!("/acc/c/{encoded}"), "{name:?}");
        }
    }

    #[test]
    fn names_that_would_lead_elsewhere_are_refused() {
        for name in [".", "..", ""] {
            let text = path(&["c", name]).unwrap_err().to_string();
            assert!(text.contains(&format!("{:?}", format!("c/{name}"))), "{text}");
        }
    }

    #[test]
    fn only_encrypted_addresses_leave_the_machine() {
        for good in ["https://x.blob.core.windows.net/", "http://127.0.0.1:10000/acc", "http://[::1]:1"] {
            assert!(Endpoint::parse(Service::Blob, good).is_ok(), "{good}");
        }
        for bad in [
            "http://x.blob.core.windows.net/",
            "ftp://x",
            "x",
            "https://u:p@x/",
            "https://x/?sig=s",
            "http://127.1.evil/",
        ] {
            let text = Endpoint::parse(Service::Blob, bad).unwrap_err().to_string();
            assert!(!text.contains("u:p") && !text.contains("sig"), "{text}");
        }
    }

    #[test]
    fn a_link_to_another_host_is_not_followed() {
        let endpoint = Endpoint::parse(Service::Management, "https://management.azure.com").unwrap();
        let link = "https://management.azure.com/subscriptions?api-version=1&$skiptoken=a%20b";
        assert_eq!(Request::following(&endpoint, link).unwrap().full_url().as_str(), link);
        for link in
            ["https://management.azure.com.evil.org/x", "http://management.azure.com/x", "/subscriptions", ""]
        {
            assert!(Request::following(&endpoint, link).is_err(), "{link}");
        }
    }

    #[test]
    fn what_is_shown_holds_no_query_no_body_and_no_control_characters() {
        let endpoint = Endpoint::parse(Service::Blob, "https://x").unwrap();
        let request = Request::new(Method::PUT, &endpoint, &["c", "a/b\u{1b}[0m"]).unwrap();
        let request = request.query("sig", "hunter2").query("empty", "").form(&[("secret", "hunter2")]);
        assert_eq!(request.full_url().query(), Some("sig=hunter2"));
        assert_eq!(format!("{request:?}"), "Request(\"PUT https://x/c/a/b\u{fffd}[0m\")");
    }
}
