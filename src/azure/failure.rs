//! Failures of requests: status, Azure's own code and message, and a hint.

use std::{fmt, io, time::Duration};

use super::{codes, service::Service};
use crate::error::Error;

/// The hint for an answer that is not from Azure.
pub(super) const NOT_AZURE: &str = "a proxy, a firewall or a login page may have answered instead of Azure: let requests to Azure pass through it";

/// A request that failed. [`Failure::code`] and [`Failure::status`] are for callers; operators get an [`Error`].
#[derive(Debug, Clone)]
pub struct Failure(Box<Details>);

#[derive(Debug, Clone)]
struct Details {
    action: String,
    service: Option<Service>,
    cause: Cause,
    hint: Option<String>,
    /// The operation, if set by a caller.
    about: Option<String>,
    tries: u32,
    /// The total time of the attempts.
    elapsed: Duration,
    /// Whether the retries are exhausted.
    settled: bool,
}

#[derive(Debug, Clone)]
enum Cause {
    /// The service answered with an error.
    Refused { status: u16, code: Option<String>, message: String, wait: Option<Duration> },
    /// No answer, or an interrupted one.
    Broken { what: String, again: bool },
    /// A permanent error with a complete message.
    Ours(Error),
    /// Like `Ours`, for a single blob or file: its name, or an unexpected answer.
    Object(Error),
    /// The blob or file is not the requested one, although the service did not refuse.
    Changed(String),
}

/// The scope of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The service was busy or unreachable in all attempts: it may work later.
    Passing,
    /// The account, the credential, the container or share as a whole, or this machine: everything else fails too.
    Service,
    /// One blob or file: the others may be fine.
    Object,
}

impl Failure {
    fn new(action: String, service: Option<Service>, cause: Cause) -> Self {
        let (hint, about, elapsed) = (None, None, Duration::ZERO);
        Self(Box::new(Details { action, service, cause, hint, about, tries: 1, elapsed, settled: false }))
    }

    /// An error that does not concern the service.
    pub fn local(what: impl Into<String>) -> Self {
        Error::failed(what).into()
    }

    /// An error of a single blob or file, which the caller names with [`Failure::about`].
    pub(super) fn of_file(what: impl Into<String>) -> Self {
        Self::local(what).of_object()
    }

    /// The answer to `request` cannot be understood.
    pub fn unexpected(action: &str, what: impl fmt::Display) -> Self {
        Error::failed(format!("{action}: the answer is not what Azure documents: {what}")).into()
    }

    /// The blob or file is not the requested one.
    pub(super) fn changed(action: &str, what: impl Into<String>) -> Self {
        Self::new(action.to_owned(), None, Cause::Changed(what.into()))
    }

    /// Limits the scope of an error to a single blob or file.
    #[must_use]
    pub(super) fn of_object(mut self) -> Self {
        if let Cause::Ours(error) = &self.0.cause {
            self.0.cause = Cause::Object(error.clone());
        }
        self
    }

    /// No answer, or an incomplete one; `again` if a retry may help.
    pub(super) fn broken(action: &str, what: impl Into<String>, again: bool) -> Self {
        let cause = Cause::Broken { what: what.into(), again };
        Self::new(action.to_owned(), None, cause)
    }

    /// The service answered with an error status and this message in the body.
    pub(super) fn refused(
        action: String,
        service: Service,
        status: u16,
        code: Option<String>,
        message: String,
        wait: Option<Duration>,
    ) -> Self {
        Self::new(action, Some(service), Cause::Refused { status, code, message, wait })
    }

    /// Extracts a failure from an I/O error.
    pub fn from_io(action: &str, error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => failure,
            Err(error) => match error.downcast::<Error>() {
                Ok(ours) => ours.into(),
                Err(error) => Self::broken(action, error.to_string(), true),
            },
        }
    }

    /// The HTTP status, if the service answered.
    pub fn status(&self) -> Option<u16> {
        match &self.0.cause {
            Cause::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Azure's own code, such as `BlobNotFound`; for refused tokens `AADSTS` and a number.
    pub fn code(&self) -> Option<&str> {
        match &self.0.cause {
            Cause::Refused { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// Whether the service answered with this code.
    pub fn is(&self, code: &str) -> bool {
        self.code().is_some_and(|ours| ours.eq_ignore_ascii_case(code))
    }

    /// Whether the same request may succeed later: the service is busy, or the connection broke.
    pub fn is_transient(&self) -> bool {
        !self.0.settled
            && match &self.0.cause {
                Cause::Refused { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
                Cause::Broken { again, .. } => *again,
                Cause::Ours(_) | Cause::Object(_) | Cause::Changed(_) => false,
            }
    }

    /// Whether the blob or file was changed since it was listed.
    pub fn is_changed(&self) -> bool {
        self.status() == Some(412) || matches!(self.0.cause, Cause::Changed(_))
    }

    /// Whether the blob or file no longer exists. Does not include a missing container or share.
    pub fn is_gone(&self) -> bool {
        self.status() == Some(404) && self.scope() == Scope::Object
    }

    /// Whether permission is denied, which probably applies to other objects too.
    pub(crate) fn is_forbidden(&self) -> bool {
        // A credential that may only write new blobs may still write those.
        self.status() == Some(403) && !self.is("UnauthorizedBlobOverwrite")
    }

    /// What it is about.
    pub fn scope(&self) -> Scope {
        match &self.0.cause {
            Cause::Refused { status: 408 | 429 | 500.., .. } | Cause::Broken { again: true, .. } => {
                Scope::Passing
            }
            // Without a token or an account's keys nothing can be read.
            Cause::Refused { .. } if !self.is_of_storage() => Scope::Service,
            // Redirections and 407 come from a proxy between this machine and Azure.
            Cause::Refused { status: ..=399 | 401 | 407, .. } => Scope::Service,
            Cause::Refused { code: Some(code), .. } if codes::is_of_service(code) => Scope::Service,
            Cause::Refused { .. } | Cause::Object(_) | Cause::Changed(_) => Scope::Object,
            Cause::Broken { .. } | Cause::Ours(_) => Scope::Service,
        }
    }

    /// Why, in one sentence without a full stop that speaks of the blob or file as "it".
    pub fn reason(&self) -> String {
        let text = match &self.0.cause {
            Cause::Refused { status, code, message, .. } => match self.meaning() {
                Some(known) => known.sentence.to_owned(),
                None => in_its_words(*status, code.as_deref(), message),
            },
            Cause::Broken { what, .. } | Cause::Changed(what) => what.clone(),
            Cause::Ours(error) | Cause::Object(error) => error.summary(),
        };
        text.trim_end_matches('.').to_owned()
    }

    /// Sets the operation, for example `cannot read the file "a"`; it comes first in the message.
    #[must_use]
    pub fn about(mut self, what: impl Into<String>) -> Self {
        self.0.about.get_or_insert_with(|| what.into());
        self
    }

    /// The pause requested by the service.
    pub(super) fn wait(&self) -> Option<Duration> {
        match &self.0.cause {
            Cause::Refused { wait, .. } => *wait,
            _ => None,
        }
    }

    /// Marks the retries as exhausted: a caller that sends its own requests must not retry.
    pub(super) fn settle(mut self) -> Self {
        self.0.settled = true;
        self
    }

    /// Whether the retries are exhausted.
    pub(super) fn is_settled(&self) -> bool {
        self.0.settled
    }

    /// How often the request was sent; above 1, an earlier attempt may have succeeded.
    pub(super) fn tries(&self) -> u32 {
        self.0.tries
    }

    pub(super) fn after(mut self, tries: u32, elapsed: Duration) -> Self {
        (self.0.tries, self.0.elapsed) = (tries, elapsed);
        self
    }

    /// Redacts a secret that the service may have repeated.
    pub(super) fn redact(mut self, secret: &str) -> Self {
        if !secret.is_empty() {
            match &mut self.0.cause {
                Cause::Refused { message, .. } => *message = message.replace(secret, "***"),
                Cause::Broken { what, .. } | Cause::Changed(what) => *what = what.replace(secret, "***"),
                Cause::Ours(error) | Cause::Object(error) => *error = error.clone().redact(secret),
            }
        }
        self
    }

    /// Sets a hint instead of the one for the code. The first hint is kept.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The hint for the operator.
    fn advice(&self) -> Option<String> {
        match &self.0.cause {
            Cause::Refused { status, code, .. } => {
                codes::advice(*status, code.as_deref().unwrap_or_default(), self.0.service)
            }
            Cause::Broken { .. } => Some("check the network, the firewall and the address".to_owned()),
            Cause::Ours(_) | Cause::Object(_) | Cause::Changed(_) => None,
        }
    }

    /// The meaning of a code of a storage service, if known.
    fn meaning(&self) -> Option<codes::Meaning> {
        self.code().filter(|_| self.is_of_storage()).and_then(codes::of)
    }

    fn is_of_storage(&self) -> bool {
        matches!(self.0.service, Some(Service::Blob | Service::File))
    }

    /// The time and number of attempts, and the requested pause.
    fn tried(&self) -> String {
        let mut parts = Vec::new();
        if self.0.tries > 1 {
            parts.push(format!("tried {} times in {} s", self.0.tries, self.0.elapsed.as_secs()));
        }
        if let Some(wait) = self.wait().filter(|_| self.0.settled) {
            parts.push(format!("the service asked to wait {} s", wait.as_secs()));
        }
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join("; ")) }
    }
}

/// A refusal in the service's own words.
fn in_its_words(status: u16, code: Option<&str>, message: &str) -> String {
    match code {
        // A message of Entra ID repeats its code.
        Some(code) => with_message(
            format!("refused with status {status} {code}"),
            message.strip_prefix(code).unwrap_or(message),
        ),
        None => with_message(format!("refused with status {status}"), message),
    }
}

fn with_message(text: String, message: &str) -> String {
    match message.trim_start_matches([':', ' ']) {
        "" => text,
        message => format!("{text}: {message}"),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { action, cause, about, .. } = &*self.0;
        if let Some(about) = about {
            write!(f, "{about}: ")?;
        }
        match cause {
            Cause::Refused { status, code, message, .. } => {
                let text = match (self.meaning(), code) {
                    (Some(known), Some(code)) => format!("{} (status {status} {code})", known.sentence),
                    _ => in_its_words(*status, code.as_deref(), message),
                };
                write!(f, "{action}: {text}")?;
            }
            Cause::Broken { what, .. } | Cause::Changed(what) => write!(f, "{action}: {what}")?,
            Cause::Ours(error) | Cause::Object(error) => return f.write_str(&error.summary()),
        }
        f.write_str(&self.tried())
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(String::new(), None, Cause::Ours(error))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let text = failure.to_string();
        let hint = failure.0.hint.clone().or_else(|| failure.advice());
        let Details { cause, about, .. } = *failure.0;
        let error = match (cause, about) {
            (Cause::Ours(error) | Cause::Object(error), Some(about)) => error.context(about),
            (Cause::Ours(error) | Cause::Object(error), None) => error,
            _ => Self::failed(text),
        };
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "failure_tests.rs"]
mod tests;
