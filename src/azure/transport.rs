//! One try of a request, with its authorization, and its answer. It is aborted soon after the run is
//! cancelled.

use std::{
    future::Future,
    io::{self, Read},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use reqwest::{
    Client, Response, Url,
    header::{CONTENT_LENGTH, HeaderMap, HeaderValue},
};
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};

use super::{
    failure::Failure,
    refusal,
    request::Request,
    retry::{Policy, asked_wait},
};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// The interval for checking for cancellation.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The maximum size of an answer in memory, in bytes.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;
/// How much of an error's body is read, in bytes.
const MAX_ERROR: u64 = 64 * 1024;
/// The minimum assumed upload speed, in bytes per second.
const SLOWEST: u64 = 32 * 1024;

/// The connections and the threads that serve them; clones share them. To be used by ordinary threads, never from within
/// an asynchronous runtime.
#[derive(Clone)]
pub(super) struct Transport {
    inner: Arc<Inner>,
    policy: Arc<Policy>,
}

struct Inner {
    /// Taken only on drop.
    runtime: Option<Runtime>,
    client: Client,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Does not block, and so is allowed in any place where the last clone is dropped.
            runtime.shutdown_background();
        }
    }
}

impl Transport {
    /// A client with two threads of its own.
    ///
    /// # Errors
    /// The system gives no threads or no certificates.
    pub(super) fn new(policy: Policy) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("azure-http")
            .enable_all()
            .build()
            .map_err(|error| Error::failed("cannot start the threads of the HTTP client").because(&error))?;
        let client = Client::builder()
            .user_agent(concat!("tik-backup/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // A blob is stored as it is sent: compressed content must not be decompressed.
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            // Retries are handled only here.
            .retry(reqwest::retry::never())
            .connect_timeout(policy.connect)
            .pool_idle_timeout(Duration::from_secs(30))
            .build()
            .map_err(|error| {
                let hint = "the certificates of public authorities must be there: install ca-certificates";
                Error::failed("cannot set up the HTTP client").because(&error).hint(hint)
            })?;
        let inner = Arc::new(Inner { runtime: Some(runtime), client });
        Ok(Self { inner, policy: Arc::new(policy) })
    }

    /// Its timeouts and retries.
    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The same client, which tries for no longer than this time.
    #[must_use]
    pub(super) fn for_at_most(&self, total: Duration) -> Self {
        let policy = Policy { total: total.min(self.policy.total), ..Policy::clone(&self.policy) };
        Self { inner: Arc::clone(&self.inner), policy: Arc::new(policy) }
    }

    /// Waits, unless cancelled.
    ///
    /// # Errors
    /// The reason of the cancelling.
    pub(super) fn sleep(&self, time: Duration, cancel: &Cancel) -> Result<(), Failure> {
        let action = "waiting";
        match self.wait(action, time, cancel, std::future::pending::<()>()) {
            Err(_) if !cancel.is_cancelled() => Ok(()),
            result => result,
        }
    }

    /// Sends a request once, to this address and with these headers. `tries` says how many times it will have been sent then.
    ///
    /// # Errors
    /// The service refuses, does not answer, or the run is cancelled.
    pub(super) fn attempt(
        &self,
        request: &Request,
        url: Url,
        mut headers: HeaderMap,
        tries: u32,
        cancel: &Cancel,
    ) -> Result<Answer, Failure> {
        if !matches!(request.method, reqwest::Method::GET | reqwest::Method::HEAD) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(request.body.len()));
        }
        let mut ready = self.inner.client.request(request.method.clone(), url).headers(headers);
        if !request.body.is_empty() {
            ready = ready.body(request.body.clone());
        }
        let action = request.describe();
        let limit = self.policy.first_byte + Duration::from_secs(request.body.len() as u64 / SLOWEST);
        let begin = Instant::now();
        let response = match self.wait(&action, limit, cancel, ready.send())? {
            Ok(response) => response,
            Err(error) => return Err(broken(&action, error)),
        };
        tracing::debug!(
            method = request.method.as_str(),
            service = ?request.service,
            status = response.status().as_u16(),
            ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
            tries,
            "a request to Azure was answered"
        );
        let answer = Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            tries,
            body: Incoming {
                transport: self.clone(),
                response: Some(response),
                buffer: Bytes::new(),
                cancel: cancel.clone(),
                action,
            },
        };
        if (200..300).contains(&answer.status) { Ok(answer) } else { Err(answer.into_failure(request)) }
    }

    /// Waits for something on this thread, for no longer than `limit`.
    fn wait<T>(
        &self,
        action: &str,
        limit: Duration,
        cancel: &Cancel,
        future: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let Some(runtime) = &self.inner.runtime else {
            return Err(Failure::local("the HTTP client has ended"));
        };
        runtime.block_on(async {
            let mut future = pin!(future);
            let end = Instant::now() + limit;
            loop {
                let left = end.saturating_duration_since(Instant::now());
                tokio::select! {
                    biased;
                    value = &mut future => return Ok(value),
                    () = tokio::time::sleep(POLL_INTERVAL.min(left)) => {}
                }
                cancel.check()?;
                if left <= POLL_INTERVAL {
                    let what = format!("no answer within {} seconds", limit.as_secs_f32().ceil());
                    return Err(Failure::broken(action, what, true));
                }
            }
        })
    }
}

/// An answer with a status of success.
pub struct Answer {
    status: u16,
    headers: HeaderMap,
    tries: u32,
    body: Incoming,
}

impl Answer {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// A header's value, if there is one that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    }

    /// All headers whose names begin so, without that beginning; for metadata `x-ms-meta-`.
    pub fn headers_after<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.headers.iter().filter_map(move |(name, value)| {
            Some((name.as_str().strip_prefix(prefix)?, std::str::from_utf8(value.as_bytes()).ok()?))
        })
    }

    /// How many times the request was sent; above 1, an earlier one may have been carried out.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Method and address, for messages.
    pub fn action(&self) -> &str {
        &self.body.action
    }

    /// The body, to be read as it arrives.
    pub fn into_body(self) -> Incoming {
        self.body
    }

    /// The whole body, up to 64 MiB.
    ///
    /// # Errors
    /// The connection breaks, or it is larger.
    pub fn bytes(self) -> Result<Vec<u8>, Failure> {
        self.body.read_up_to(MAX_ANSWER + 1).and_then(|(action, bytes)| {
            if bytes.len() as u64 > MAX_ANSWER {
                return Err(Failure::unexpected(&action, "it is larger than 64 MiB"));
            }
            Ok(bytes)
        })
    }

    /// The whole body, read as JSON.
    ///
    /// # Errors
    /// Like [`Answer::bytes`], or it is something else.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Failure> {
        let action = self.action().to_owned();
        // Only the position of the error, without content: an answer may contain secrets.
        serde_json::from_slice(&self.bytes()?).map_err(|error| {
            let what = format!("no such JSON ({:?} in line {})", error.classify(), error.line());
            Failure::unexpected(&action, what)
        })
    }

    fn into_failure(self, request: &Request) -> Failure {
        let code = self.header("x-ms-error-code").map(str::to_owned);
        let (status, wait) = (self.status, asked_wait(&|name| self.header(name)));
        // An error whose text does not arrive is still an error.
        let body = self.body.read_up_to(MAX_ERROR).map(|(_, bytes)| bytes).unwrap_or_default();
        refusal::failure(request, status, code.as_deref(), wait, &body)
    }
}

/// The body of an answer. Errors of reading hold a [`Failure`]; see [`Failure::from_io`].
pub struct Incoming {
    transport: Transport,
    /// None once it was read to its end.
    response: Option<Response>,
    buffer: Bytes,
    cancel: Cancel,
    action: String,
}

impl Incoming {
    fn read_up_to(self, limit: u64) -> Result<(String, Vec<u8>), Failure> {
        let (action, mut bytes) = (self.action.clone(), Vec::new());
        match self.take(limit).read_to_end(&mut bytes) {
            Ok(_) => Ok((action, bytes)),
            Err(error) => Err(Failure::from_io(&action, error)),
        }
    }

    /// The next part; an empty one at the end.
    fn fill(&mut self) -> Result<(), Failure> {
        while self.buffer.is_empty() {
            let Some(response) = &mut self.response else { return Ok(()) };
            let idle = self.transport.policy.idle;
            match self.transport.wait(&self.action, idle, &self.cancel, response.chunk())? {
                Ok(Some(bytes)) => self.buffer = bytes,
                Ok(None) => self.response = None,
                Err(error) => return Err(broken(&self.action, error)),
            }
        }
        Ok(())
    }
}

impl Read for Incoming {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if target.is_empty() {
            return Ok(0);
        }
        self.fill().map_err(io::Error::other)?;
        let count = target.len().min(self.buffer.len());
        self.buffer.copy_to_slice(&mut target[..count]);
        Ok(count)
    }
}

/// An error without an answer. The address is left out of the text: it may hold a signature.
fn broken(action: &str, error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let text = Error::failed("no connection, or it broke").because(&error).summary();
    // An untrusted certificate is a permanent error.
    let again = !error.is_builder() && !crate::tls::is_of_certificate(&error);
    Failure::broken(action, text, again)
}
