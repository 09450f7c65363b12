//! Whether a service of a storage account answers at all. An account behind a private endpoint is often one of which this
//! machine hears nothing: that is to be known before the patience that a busy service deserves is spent on it.

use std::time::Duration;

use reqwest::Method;

use crate::{
    azure::{
        Failure, Policy, STORAGE_VERSION,
        http::{Anonymous, Http},
        request::{Endpoint, Request, Service},
    },
    error::Result,
    stream::cancel::Cancel,
};

/// After this time there is no further try. The last one may end up to [`ONE_TRY`] later.
const ALL_TRIES: Duration = Duration::from_secs(60);
/// How long setting up a connection, or an answer, may take.
const ONE_TRY: Duration = Duration::from_secs(20);

/// What was heard of a service.
pub(super) enum Reach {
    /// It answers, if only to refuse: it is asked without any credential.
    Answers,
    /// It answers that it is too busy to do so.
    Busy,
    /// There was no answer.
    Silent(Failure),
}

/// Asks services of accounts whether they are there.
#[derive(Clone)]
pub(super) struct Probe(Http);

impl Probe {
    /// Sends nothing yet.
    pub(super) fn new() -> Result<Self> {
        let policy = Policy {
            total: ALL_TRIES,
            connect: ONE_TRY,
            first_byte: ONE_TRY,
            idle: ONE_TRY,
            ..Policy::default()
        };
        Http::new(policy).map(Self)
    }

    /// Asks the service at this address.
    ///
    /// # Errors
    /// It is no address, or the run is cancelled.
    pub(super) fn reach(&self, service: Service, address: &str, cancel: &Cancel) -> Result<Reach> {
        let endpoint = Endpoint::parse(service, address)?;
        let request = Request::new(Method::GET, &endpoint, &[])?
            .query("restype", "service")
            .query("comp", "properties")
            .header("x-ms-version", STORAGE_VERSION);
        let Err(failure) = self.0.send(&Anonymous, &request, cancel) else {
            return Ok(Reach::Answers);
        };
        cancel.check()?;
        Ok(match failure.status() {
            Some(408 | 429 | 500 | 502 | 503 | 504) => Reach::Busy,
            Some(_) => Reach::Answers,
            None => Reach::Silent(failure),
        })
    }
}
