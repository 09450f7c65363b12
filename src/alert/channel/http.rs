//! HTTP requests of the channels. URLs are secret and never appear in errors.

use std::{path::Path, time::Duration};

use reqwest::{Client, Method, StatusCode, Url, header};

use super::{Refused, html::one_line, read_authorities};
use crate::{
    config::url_fault,
    error::{Error, Result},
    settings::Secret,
    stream::cancel::Cancel,
};

/// How much of a response is read, in bytes.
const MAX_ANSWER: usize = 4096;
/// How much of a response is quoted in an error.
const SHOWN: usize = 300;
/// How often a pending request checks for cancellation.
const POLL: Duration = Duration::from_millis(100);

/// Parts of a URL shorter than this, in bytes, are not treated as secrets.
const SECRET_SEGMENT: usize = 6;
const SECRET_VALUE: usize = 4;

/// Sends the requests of one channel.
pub(super) struct Sender {
    client: Client,
    token: Option<Secret>,
    hidden: Vec<Secret>,
}

/// A request body.
pub(super) struct Body {
    /// Its content type.
    pub(super) content_type: &'static str,
    /// Its bytes.
    pub(super) content: String,
}

impl Sender {
    /// A sender with a timeout for each try.
    pub(super) fn new(timeout: Duration, authorities: Option<&Path>, token: Option<Secret>) -> Result<Self> {
        let mut builder = Client::builder()
            .user_agent(concat!("tik-backup/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            // Each request has its own runtime, so connections cannot be pooled.
            .pool_max_idle_per_host(0)
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
            let failed = Error::failed("cannot set up HTTP for alerts").because(&e.without_url());
            failed.hint("check that ca-certificates is installed")
        })?;
        Ok(Self { client, token, hidden: Vec::new() })
    }

    /// Adds a secret to be redacted.
    pub(super) fn hide(mut self, secret: &Secret) -> Self {
        self.hidden.push(Secret::new(secret.expose().to_owned()));
        self
    }

    /// Posts `body` and returns the body of a successful response, without secrets.
    pub(super) fn post(&self, url: &Secret, body: &Body, cancel: &Cancel) -> Result<String, Refused> {
        let parsed = parse(url)?;
        let host = parsed.host_str().unwrap_or_default().to_owned();
        let secrets = self.secrets(url, &parsed);
        let mut request = self
            .client
            .request(Method::POST, parsed)
            .header(header::CONTENT_TYPE, body.content_type)
            .body(body.content.clone());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Refused::passing(Error::failed("cannot set up a thread for alerts").because(&e)))?;
        let answered = runtime.block_on(async {
            tokio::select! {
                answer = exchange(request, &secrets) => answer,
                () = cancelled(cancel) => Err(Refused::passing(Error::failed("not sent: stopped"))),
            }
        });
        // A DNS lookup cannot be interrupted: without this, dropping the runtime would wait for it.
        runtime.shutdown_background();
        answered.map_err(|refused| {
            let error = secrets.iter().fold(refused.error, |error, secret| error.redact(secret.expose()));
            Refused { error: error.context(host), ..refused }
        })
    }

    /// The secrets that a response may repeat and that must be redacted, longest first.
    fn secrets(&self, given: &Secret, url: &Url) -> Vec<Secret> {
        let path = url.path().trim_matches('/');
        let decoded =
            |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let mut texts: Vec<String> = [path, url.query().unwrap_or_default()]
            .into_iter()
            .filter(|text| text.len() >= SECRET_VALUE)
            .chain([given.expose().trim(), url.as_str()])
            .chain(url.password())
            .chain(self.token.iter().chain(&self.hidden).map(Secret::expose))
            .map(str::to_owned)
            .collect();
        for segment in path.split('/').filter(|segment| segment.len() >= SECRET_SEGMENT) {
            // Telegram's tokens follow this word.
            texts.extend(segment.strip_prefix("bot").map(str::to_owned));
            texts.extend([segment.to_owned(), decoded(segment)]);
        }
        let pairs = url.query().unwrap_or_default().split('&');
        for value in pairs.filter_map(|pair| pair.split_once('=').map(|(_, value)| value)) {
            if value.len() >= SECRET_VALUE {
                texts.extend([value.to_owned(), decoded(value)]);
            }
        }
        texts.retain(|text| !text.is_empty());
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        texts.into_iter().map(Secret::new).collect()
    }
}

/// Parses a URL. Errors never contain its text.
fn parse(url: &Secret) -> Result<Url, Refused> {
    let wrong = |what: &str| Refused::lasting(Error::usage(format!("the URL of the alert {what}")));
    if let Some(fault) = url_fault(url.expose()) {
        return Err(wrong(fault));
    }
    Url::parse(url.expose().trim()).map_err(|_| wrong("is not valid"))
}

async fn exchange(request: reqwest::RequestBuilder, secrets: &[Secret]) -> Result<String, Refused> {
    let mut answer = request.send().await.map_err(unsent)?;
    let status = answer.status();
    let wait = answer.headers().get(header::RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
    let mut bytes = Vec::new();
    while bytes.len() < MAX_ANSWER {
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break,
            // An error reports the status alone; an incomplete body matters only for a success.
            Err(error) if status.is_success() => {
                let what = if error.is_timeout() {
                    "it accepted the request, and its answer did not end in time"
                } else {
                    "it accepted the request, and its answer broke off"
                };
                let error = Error::failed(what).because(&error.without_url());
                return Err(Refused::passing(error.hint(
                    "the message may have arrived; check whether it, or a proxy before it, is overloaded, or raise `timeout` of \
                     the alert",
                )));
            }
            Err(_) => break,
        }
    }
    let text = readable(bytes, secrets);
    if status.is_success() { Ok(text) } else { Err(refused(status, &text, wait, secrets)) }
}

/// The beginning of a response, without secrets.
fn readable(mut bytes: Vec<u8>, secrets: &[Secret]) -> String {
    if bytes.len() >= MAX_ANSWER {
        // Redact before truncating: a secret that is cut off would not be found.
        let longest = secrets.iter().map(|secret| secret.expose().len()).max().unwrap_or_default();
        bytes.truncate(MAX_ANSWER.saturating_sub(longest));
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    secrets.iter().fold(text, |text, secret| text.replace(secret.expose(), "***"))
}

/// The error if there is no response.
fn unsent(error: reqwest::Error) -> Refused {
    if error.is_builder() {
        let what = "the request cannot be made";
        let wrong = Error::usage(what).because(&error.without_url());
        return Refused::lasting(
            wrong.hint("check that the files of the alert hold nothing but URL and token"),
        );
    }
    let (what, advice) = if error.is_timeout() {
        (
            "it did not answer in time",
            "check whether it is up, and whether a firewall keeps this machine from reaching it",
        )
    } else {
        (
            "it cannot be reached",
            "check whether it is up, and whether this machine resolves its name and reaches it; later tries may succeed",
        )
    };
    let of_certificate = crate::tls::is_of_certificate(&error);
    let failed = Error::failed(what).because(&error.without_url());
    Refused::passing(if of_certificate {
        failed.hint("check that its certificate is valid for this host, or name its authority in `ca_file`")
    } else {
        failed.hint(advice)
    })
}

/// `Retry-After` in seconds or as a date: RFC 9110, section 10.2.3.
fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    jiff::Timestamp::now().duration_until(date).try_into().ok()
}

/// The delay that Discord (at the top level) or Telegram (in `parameters`) requests.
fn retry_after_in(text: &str) -> Option<Duration> {
    let answer: serde_json::Value = serde_json::from_str(text).ok()?;
    let asked = answer.get("parameters").unwrap_or(&answer).get("retry_after")?;
    Duration::try_from_secs_f64(asked.as_f64()?).ok()
}

fn refused(status: StatusCode, text: &str, wait: Option<Duration>, secrets: &[Secret]) -> Refused {
    let mut error = Error::failed(format!("it answered {status}"));
    // Removing tags may join the parts of a secret.
    let line = secrets.iter().fold(one_line(text), |line, secret| line.replace(secret.expose(), "***"));
    let line = without_status(&line, status);
    let shown: String = line.chars().take(SHOWN).collect();
    if !shown.is_empty() {
        error = error.because_text(crate::output::printable(&shown));
    }
    let passing = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
    let wait = wait.or_else(|| retry_after_in(text));
    Refused { error: error.hint(advice(status, wait)), lasting: !passing, wait }
}

/// The text of an HTML page without the status at its start, which the error already has: servers repeat it in title
/// and heading.
fn without_status(line: &str, status: StatusCode) -> &str {
    let said = status.to_string();
    let mut rest = line.trim();
    while let Some(after) = rest.strip_prefix(said.as_str()) {
        rest = after.trim_start();
    }
    rest
}

/// Advice by HTTP status.
fn advice(status: StatusCode, wait: Option<Duration>) -> String {
    let advice = match status.as_u16() {
        300..=399 => "it redirects to another URL, where no secrets are sent: correct the URL",
        401 | 403 => {
            "access was denied: check whether the URL and the token in the alert's files are still valid"
        }
        404 | 410 => {
            "there is nothing at this address: check whether the URL in the alert's file is still valid; what was removed \
             there gets a new URL"
        }
        405 => {
            "this URL does not accept messages: the file must hold the URL for sending, not that of a web page"
        }
        400 | 413 | 415 | 422 => "it does not accept this message: check `kind` and `format` of the alert",
        429 => {
            let asked = wait.map(|wait| format!("; it asks to wait for {} s", wait.as_secs_f64().ceil()));
            return format!(
                "it limits the rate of messages{}: there is nothing to correct, later tries may succeed",
                asked.unwrap_or_default()
            );
        }
        408 | 425 | 500..=599 => {
            "the server has a fault: there is nothing to correct here, later tries may succeed; if it lasts, ask its operator"
        }
        _ => "check whether the URL and the token in the alert's files are still valid",
    };
    advice.to_owned()
}

async fn cancelled(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_said_once() {
        let status = StatusCode::BAD_GATEWAY;
        assert_eq!(without_status("502 Bad Gateway 502 Bad Gateway", status), "");
        assert_eq!(without_status("502 Bad Gateway nginx", status), "nginx");
        assert_eq!(without_status("no upstream", status), "no upstream");
        let refused = refused(status, "502 Bad Gateway", None, &[]);
        assert_eq!(refused.error.summary(), "it answered 502 Bad Gateway");
    }
}
