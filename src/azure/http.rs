//! Sending requests: each attempt is authorized again, with retries.
//!
//! Authorization is implemented by callers: see [`Authorize`].

use std::{sync::Arc, time::Duration};

use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};

pub use super::transport::{Answer, Incoming};
use super::{
    failure::Failure,
    request::Request,
    retry::{Course, Policy},
    transport::Transport,
};
use crate::{error::Result, settings::Secret, stream::cancel::Cancel};

/// The maximum number of replaced keys that one request tries: two are valid at a time, and both may be rotated.
const MOST_KEYS: u32 = 4;
/// The maximum number of replaced tokens that one request tries.
const MOST_TOKENS: u32 = 2;

/// The authorized form of a request.
pub struct Signed {
    /// The address, with the signature of a shared access signature.
    pub url: Url,
    /// The headers.
    pub headers: HeaderMap,
    /// The key that signed, if any.
    pub key: Option<Arc<Secret>>,
}

/// Authorizes requests, and learns from refusals.
pub trait Authorize {
    /// The address and the headers to send, signed for now. `http` is for asking for a token.
    ///
    /// # Errors
    /// No token is available, the key is not base64, or a header cannot be sent.
    fn authorize(&self, http: &Http, request: &Request, cancel: &Cancel) -> Result<Signed, Failure>;

    /// Whether a retry makes sense after this refusal; `used` is the key that signed.
    fn learn(&self, failure: &Failure, used: Option<&Secret>, cancel: &Cancel) -> bool;
}

/// Anonymous access, for token requests and for checks whether a service answers.
#[derive(Debug, Clone, Copy)]
pub struct Anonymous;

impl Authorize for Anonymous {
    fn authorize(&self, _: &Http, request: &Request, _: &Cancel) -> Result<Signed, Failure> {
        Ok(Signed { url: request.full_url(), headers: header_map(&request.headers)?, key: None })
    }

    fn learn(&self, _: &Failure, _: Option<&Secret>, _: &Cancel) -> bool {
        false
    }
}

/// Headers as they are sent.
///
/// # Errors
/// A name or a value cannot stand in a header.
pub(super) fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, Failure> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let refuse = || Failure::local(format!("the value of the header {name:?} cannot be sent"));
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refuse())?;
        map.append(key, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| refuse())?);
    }
    Ok(map)
}

/// The HTTP client; clones share its connections. To be used by ordinary threads, never from within an
/// asynchronous runtime.
#[derive(Clone)]
pub struct Http(Transport);

impl Http {
    /// A client with two threads of its own.
    ///
    /// # Errors
    /// The system gives no threads or no certificates.
    pub fn new(policy: Policy) -> Result<Self> {
        Transport::new(policy).map(Self)
    }

    /// Its timeouts and retries.
    pub fn policy(&self) -> &Policy {
        self.0.policy()
    }

    /// The same client, which tries for no longer than this time.
    #[must_use]
    pub fn for_at_most(&self, total: Duration) -> Self {
        Self(self.0.for_at_most(total))
    }

    /// Waits, unless cancelled.
    ///
    /// # Errors
    /// The reason of the cancelling.
    pub fn sleep(&self, time: Duration, cancel: &Cancel) -> Result<(), Failure> {
        self.0.sleep(time, cancel)
    }

    /// Sends a request, with retries. The answer has a success status; its body is not read.
    ///
    /// # Errors
    /// The service refuses, does not answer, or the run is cancelled.
    pub fn send(
        &self,
        access: &dyn Authorize,
        request: &Request,
        cancel: &Cancel,
    ) -> Result<Answer, Failure> {
        self.exchange(access, request, cancel, &mut Ok)
    }

    /// Like [`Http::send`], and `read` takes what it needs from the answer: if the connection breaks meanwhile, all
    /// is done again.
    ///
    /// # Errors
    /// Like [`Http::send`], and those of `read`.
    pub fn exchange<T>(
        &self,
        access: &dyn Authorize,
        request: &Request,
        cancel: &Cancel,
        read: &mut dyn FnMut(Answer) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut course = Course::new(self.policy());
        let (mut keys, mut tokens) = (0, 0);
        loop {
            cancel.check()?;
            let mut key = None;
            let result = access
                .authorize(self, request, cancel)
                .and_then(|Signed { url, headers, key: used }| {
                    key = used;
                    self.0.attempt(request, url, headers, course.tries(), cancel)
                })
                .and_then(&mut *read);
            let failure = match result {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            // Counted separately: after replaced or forbidden keys, a token may still be too old.
            let (learned, most) =
                if key.is_some() { (&mut keys, MOST_KEYS) } else { (&mut tokens, MOST_TOKENS) };
            if *learned < most && access.learn(&failure, key.as_deref(), cancel) {
                *learned += 1;
                continue;
            }
            match course.pause(&failure) {
                Some(pause) => {
                    tracing::debug!(
                        tries = course.tries(),
                        ms = pause.as_secs_f64() * 1000.0,
                        "a request to Azure is sent again"
                    );
                    self.0.sleep(pause, cancel)?;
                }
                // The failure of a token request, which has its own retries.
                None if failure.is_settled() => return Err(failure),
                None => return Err(failure.after(course.tries(), course.elapsed()).settle()),
            }
        }
    }
}
