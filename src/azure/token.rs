//! Tokens of Entra ID for the service principal: requested with its secret, cached until shortly before they expire.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use reqwest::Method;
use serde::Deserialize;

use super::{
    failure::Failure,
    http::{Anonymous, Http},
    request::{Endpoint, Request},
};
use crate::{settings::Secret, stream::cancel::Cancel};

/// A token is not used for the last part of its life: a request may take a while to arrive.
const MARGIN: Duration = Duration::from_secs(300);

/// The principal and the endpoint for tokens.
pub(super) struct Principal {
    pub authority: Endpoint,
    pub tenant: String,
    pub client_id: String,
    pub client_secret: Secret,
}

/// Tokens for one scope. Shared by threads; one requests a token, the others wait.
pub struct Tokens {
    principal: Arc<Principal>,
    scope: String,
    current: Mutex<Option<Token>>,
}

struct Token {
    secret: Arc<Secret>,
    until: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    /// Seconds; some authorities give a text.
    expires_in: serde_json::Value,
}

impl Tokens {
    pub(super) fn new(principal: Arc<Principal>, scope: String) -> Self {
        Self { principal, scope, current: Mutex::new(None) }
    }

    /// The token to use now.
    ///
    /// # Errors
    /// Entra ID refuses (the message says which of the configured values is wrong) or does not answer.
    pub(super) fn get(&self, http: &Http, cancel: &Cancel) -> Result<Arc<Secret>, Failure> {
        let mut current = self.current.lock();
        if let Some(token) = &*current
            && Instant::now() < token.until
        {
            return Ok(Arc::clone(&token.secret));
        }
        let token = self.ask(http, cancel)?;
        let secret = Arc::clone(&token.secret);
        *current = Some(token);
        Ok(secret)
    }

    /// Discards the current token, which the service has refused.
    pub(super) fn forget(&self) {
        *self.current.lock() = None;
    }

    fn ask(&self, http: &Http, cancel: &Cancel) -> Result<Token, Failure> {
        let principal = &*self.principal;
        let names = [principal.tenant.as_str(), "oauth2", "v2.0", "token"];
        let request = Request::new(Method::POST, &principal.authority, &names)?.form(&[
            ("client_id", &principal.client_id),
            ("client_secret", principal.client_secret.expose()),
            ("grant_type", "client_credentials"),
            ("scope", &self.scope),
        ]);
        let answer = http
            .exchange(&Anonymous, &request, cancel, &mut |answer| answer.json::<Answer>())
            .map_err(|failure| failure.redact(principal.client_secret.expose()))?;
        let seconds = match &answer.expires_in {
            serde_json::Value::String(text) => text.parse().ok(),
            number => number.as_u64(),
        };
        let life = Duration::from_secs(seconds.unwrap_or_default().min(24 * 3600));
        // At least half of a short lifetime is used.
        let until = Instant::now() + life.saturating_sub(MARGIN).max(life / 2);
        Ok(Token { secret: Arc::new(Secret::new(answer.access_token)), until })
    }
}
