//! One HTTP request of a channel, with its URL kept secret.

use std::{path::Path, time::Duration};

use reqwest::{Client, Method, StatusCode, Url, header};

use super::{Refused, read_authorities};
use crate::{
    config::{Host, Secret},
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// How much of an answer is read, in bytes.
const MAX_ANSWER: usize = 4096;
/// How much of it is said.
const SHOWN: usize = 300;
/// How soon a send ends when it is cancelled.
const LOOK: Duration = Duration::from_millis(100);

/// Sends the requests of one channel.
pub(super) struct Sender {
    runtime: tokio::runtime::Runtime,
    client: Client,
    token: Option<Secret>,
}

/// What is sent.
pub(super) struct Body {
    /// Its type.
    pub(super) content_type: &'static str,
    /// Its bytes.
    pub(super) content: String,
}

impl Sender {
    /// A sender whose tries take `timeout` at most.
    pub(super) fn new(timeout: Duration, authorities: Option<&Path>, token: Option<Secret>) -> Result<Self> {
        let failed = |what: &str| Error::failed(format!("cannot set up {what} for alerts"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| failed("a thread").because(&e))?;
        let mut builder = Client::builder()
            .user_agent(concat!("tik-backup/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .timeout(timeout);
        if let Some(path) = authorities {
            let pem = read_authorities(path)?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|e| Error::usage(format!("{} holds no certificates", path.display())).because(&e))?;
            for certificate in certificates {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let client = builder.build().map_err(|e| {
            failed("HTTP").because(&e.without_url()).hint("see that ca-certificates is installed")
        })?;
        Ok(Self { runtime, client, token })
    }

    /// Posts `body` and returns what a success answered.
    pub(super) fn post(&self, url: &Secret, body: &Body, cancel: &Cancel) -> Result<String, Refused> {
        let parsed = parse(url)?;
        let host = parsed.host_str().unwrap_or_default().to_owned();
        let mut request = self
            .client
            .request(Method::POST, parsed.clone())
            .header(header::CONTENT_TYPE, body.content_type)
            .body(body.content.clone());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let answered = self.runtime.block_on(async {
            tokio::select! {
                answer = exchange(request) => answer,
                () = cancelled(cancel) => Err(Refused::passing(Error::failed("not sent: stopped"))),
            }
        });
        answered
            .map_err(|refused| Refused { error: self.clean(refused.error, &parsed).context(host), ..refused })
    }

    /// The error without what is secret: another side may repeat what it was sent.
    fn clean(&self, mut error: Error, url: &Url) -> Error {
        let path = url.path().trim_matches('/');
        let segments = path.split('/').filter(|segment| segment.len() >= 6);
        let secrets = [url.as_str(), path, url.query().unwrap_or_default()].into_iter().chain(segments);
        for secret in secrets {
            error = error.redact(secret);
        }
        match &self.token {
            Some(token) => error.redact(token.expose()),
            None => error,
        }
    }
}

/// Reads a URL. Its text never stands in an error.
fn parse(url: &Secret) -> Result<Url, Refused> {
    let wrong = |what: &str| Refused::lasting(Error::usage(format!("the URL of the alert {what}")));
    let parsed = Url::parse(url.expose().trim()).map_err(|_| wrong("is not valid"))?;
    let host = parsed.host_str().ok_or_else(|| wrong("names no host"))?;
    let local = Host::Tcp(host.trim_matches(['[', ']']).to_owned()).is_local();
    match parsed.scheme() {
        "https" => Ok(parsed),
        "http" if local => Ok(parsed),
        "http" => Err(wrong("begins with http://, which anybody on the way can read; use https://")),
        _ => Err(wrong("does not begin with https://")),
    }
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<String, Refused> {
    let mut answer = request.send().await.map_err(|error| {
        let what = if error.is_timeout() { "it did not answer in time" } else { "it cannot be reached" };
        Refused::passing(Error::failed(what).because(&error.without_url()))
    })?;
    let status = answer.status();
    let wait = answer
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let mut text = Vec::new();
    while text.len() < MAX_ANSWER {
        match answer.chunk().await {
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            Ok(None) => break,
            // The status has been said; why the rest of it does not come matters only for a success.
            Err(error) if status.is_success() => {
                let error = Error::failed("its answer broke off").because(&error.without_url());
                return Err(Refused::passing(error));
            }
            Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    if status.is_success() { Ok(text) } else { Err(refused(status, &text, wait)) }
}

fn refused(status: StatusCode, text: &str, wait: Option<Duration>) -> Refused {
    let mut error = Error::failed(format!("it answered {status}"));
    let shown: String = text.trim().chars().take(SHOWN).collect();
    if !shown.is_empty() {
        error = error.because_text(crate::output::printable(&shown));
    }
    let passing = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
    if status.is_redirection() {
        error = error.hint("it wants to send us elsewhere, which a secret does not follow: correct the URL");
    } else if !passing {
        error = error.hint("see whether the URL and the token in the alert's files are still valid");
    }
    Refused { error, lasting: !passing, wait }
}

async fn cancelled(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(LOOK).await;
    }
}
