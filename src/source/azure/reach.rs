//! Checks whether a service of a storage account answers at all. An account behind a private endpoint often does not respond to this
//! machine: this is detected before the long timeout for busy services is spent on it.

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

/// The response of a service.
pub(super) enum Reach {
    /// It answers, even with a refusal: the request has no credential.
    Answers,
    /// It answers that it is too busy to do so.
    Busy,
    /// There was no answer.
    Silent(Failure),
}

/// Checks whether services of accounts answer.
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

    /// Queries the service at this address.
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
