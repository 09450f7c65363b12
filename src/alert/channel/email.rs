//! Mail.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use lettre::{
    Message as Mail, SmtpTransport, Transport,
    message::{Mailbox, header},
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
        extension::ClientId,
    },
};
use sha2::{Digest, Sha256};

use super::{Channel, Refused, read_authorities};
use crate::{
    config::{AlertConfig, EmailConfig, SmtpTls},
    error::{Error, Result},
    history::message::Message,
    settings::Secret,
    stream::cancel::Cancel,
};

/// How soon a send ends when it is cancelled.
const LOOK: Duration = Duration::from_millis(100);

/// Mail to some addresses.
pub(super) struct Email {
    name: String,
    server: String,
    from: Mailbox,
    to: Vec<Mailbox>,
    password: Option<Secret>,
    timeout: Duration,
    transport: SmtpTransport,
}

impl Email {
    /// Reads the files that the configuration names.
    pub(super) fn open(config: &AlertConfig, email: &EmailConfig) -> Result<Self> {
        let address = |text: &str| {
            text.parse::<Mailbox>()
                .map_err(|e| Error::usage(format!("{text:?} is not a mail address")).because(&e))
        };
        let tls = match email.tls {
            SmtpTls::None => Tls::None,
            SmtpTls::Starttls => Tls::Required(parameters(email)?),
            SmtpTls::Tls => Tls::Wrapper(parameters(email)?),
        };
        let mut builder = SmtpTransport::builder_dangerous(&email.smtp_host)
            .port(email.smtp_port)
            .tls(tls)
            .timeout(Some(config.timeout));
        // Without a whole name of this machine the library introduces itself by an address, which servers take too.
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if host.contains('.') && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)) {
            builder = builder.hello_name(ClientId::Domain(host));
        }
        let mut password = None;
        if let Some((user, file)) = &email.login {
            let secret = file.load()?;
            builder = builder.credentials(Credentials::new(user.clone(), secret.expose().to_owned()));
            password = Some(secret);
        }
        Ok(Self {
            name: config.name.clone(),
            server: format!("{}:{}", email.smtp_host, email.smtp_port),
            from: address(&email.from)?,
            to: email.to.iter().map(|to| address(to)).collect::<Result<_>>()?,
            password,
            timeout: config.timeout,
            transport: builder.build(),
        })
    }

    fn mail(&self, message: &Message) -> Result<Mail, lettre::error::Error> {
        let mut mail = Mail::builder()
            .from(self.from.clone())
            .subject(message.title())
            .message_id(self.id(message))
            // RFC 3834: no machine answers it.
            .header(AutoSubmitted)
            .header(header::ContentType::TEXT_PLAIN);
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        mail.date_now().body(message.text())
    }

    /// The same in every try, so that a mail server may drop what it has got already.
    fn id(&self, message: &Message) -> Option<String> {
        let domain = Some(self.from.email.domain()).filter(|domain| domain.is_ascii())?;
        let mut hash = Sha256::new();
        hash.update(serde_json::to_vec(&(&self.name, message)).ok()?);
        let id: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Some(format!("<{id}@{domain}>"))
    }

    fn refused(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        let plain = Error::failed(format!("{} did not take the mail", self.server));
        let error = plain.clone().because(error);
        match &self.password {
            // Put in its place in the middle of words, the mark would betray it.
            Some(password) if password.expose().len() < 4 && error.summary().contains(password.expose()) => {
                plain.because_text("what it said is not shown: a short password may stand in it")
            }
            Some(password) => error.redact(password.expose()),
            None => error,
        }
    }

    fn judge(&self, error: &lettre::transport::smtp::Error) -> Refused {
        if matches!(io_kind(error), Some(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)) {
            // The library says what the system calls it: "Resource temporarily unavailable".
            let seconds = self.timeout.as_secs();
            let error = Error::failed(format!("{} did not answer within {seconds} s", self.server));
            return Refused::passing(error.hint(PORTS));
        }
        let refused = self.refused(error);
        if let Some(code) = error.status() {
            let lasting = error.is_permanent();
            let error = refused.hint(advice(code.into()));
            return Refused { error, lasting, wait: None };
        }
        if error.is_client() {
            // What we need and the server does not offer: TLS, or a way to log in.
            return Refused::lasting(
                refused.hint("see whether `tls`, `smtp_port` and `user` fit the server"),
            );
        }
        let hint = if crate::tls::is_of_certificate(error) {
            "see that its certificate is valid for `smtp_host`, or name its authority in `ca_file`"
        } else {
            unanswered(error)
        };
        Refused::passing(refused.hint(hint))
    }
}

/// What ports are usual, for whoever has mixed them up.
const PORTS: &str = "see whether `smtp_port` and `tls` fit each other: usually 465 with \"tls\", 587 with \"starttls\"; \
                     a firewall may also block the port";

/// What to do about an answer of the server: RFC 5321 section 4.2.3, RFC 4954 section 6.
fn advice(code: u16) -> &'static str {
    match code {
        530 => {
            "the server wants a login or TLS: set `user` and `password_file`, and see whether `tls` fits the server"
        }
        534 | 535 | 538 => {
            "the login was refused: see whether `user` and the password in `password_file` are right; many providers want a \
             password made for this program alone"
        }
        454 => "the server cannot check the login or begin TLS at the moment: later tries may succeed",
        400..=499 => {
            "the server asks to come back later: there is nothing to correct, later tries may succeed"
        }
        // RFC 3463 puts both at full mailboxes and at large messages.
        552 => {
            "the server refuses the size of the mail, or the mailbox of an address in `to` is full: see its limits, and empty the \
             mailbox"
        }
        554 => {
            "the server refuses the mail as a whole, often because of this machine's address or what it takes for spam: see \
             its log, and whether it may relay mail for `from`"
        }
        550..=559 => {
            "the server refuses an address: see whether those in `to` exist, and whether `user` may send as `from`"
        }
        _ => "see whether `user`, `password_file`, `from` and `to` are what the server wants",
    }
}

/// What to do if there is no answer of the server.
fn unanswered(error: &lettre::transport::smtp::Error) -> &'static str {
    use std::io::ErrorKind;
    match io_kind(error) {
        Some(ErrorKind::ConnectionRefused) => {
            "nothing listens there: see whether `smtp_host` and `smtp_port` are right, and whether the server is up"
        }
        // The other side speaks TLS where we do not, or does not where we do; or it waits for us to begin with TLS.
        _ if error.is_tls() || error.is_response() || error.is_timeout() => PORTS,
        Some(
            ErrorKind::InvalidData
            | ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted,
        ) => PORTS,
        _ => "see whether `smtp_host` is right, and whether this machine resolves and reaches it",
    }
}

/// The first error of input or output among the causes.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<std::io::Error>() {
            return Some(found.kind());
        }
        next = error.source();
    }
    None
}

impl Channel for Email {
    fn send(&self, message: &Message, cancel: &Cancel) -> Result<(), Refused> {
        cancel.check().map_err(Refused::passing)?;
        let mail = self.mail(message).map_err(|e| Refused::lasting(self.refused(&e)))?;
        let (done, ended) = mpsc::channel();
        let transport = self.transport.clone();
        // The library bounds each of its steps, not the whole, and cannot be interrupted: it is left to itself then.
        thread::Builder::new()
            .name("mail".to_owned())
            .spawn(move || done.send(transport.send(&mail)))
            .map_err(|e| Refused::passing(self.refused(&e)))?;
        let until = Instant::now() + self.timeout;
        let gone = |why: &str| Err(Refused::passing(Error::failed(format!("{}: {why}", self.server))));
        loop {
            match ended.recv_timeout(LOOK) {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => return Err(self.judge(&error)),
                Err(RecvTimeoutError::Disconnected) => return gone("sending panicked"),
                Err(RecvTimeoutError::Timeout) if cancel.is_cancelled() => return gone("not sent: stopped"),
                Err(RecvTimeoutError::Timeout) if Instant::now() >= until => {
                    let seconds = self.timeout.as_secs();
                    let error =
                        Error::failed(format!("{} did not take the mail within {seconds} s", self.server));
                    return Err(Refused::passing(error.hint(PORTS)));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

fn parameters(email: &EmailConfig) -> Result<TlsParameters> {
    let mut builder = TlsParameters::builder(email.smtp_host.clone());
    if let Some(path) = &email.ca_file {
        let failed = |e: &lettre::transport::smtp::Error| {
            Error::usage(format!("{} holds no certificate", path.display())).because(e)
        };
        let certificate = Certificate::from_pem(&read_authorities(path)?).map_err(|e| failed(&e))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|e| Error::failed("cannot set up TLS for mail").because(&e))
}

/// `Auto-Submitted: auto-generated`.
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl header::Header for AutoSubmitted {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_that_is_too_large_is_not_taken_for_a_wrong_address() {
        assert!(advice(550).contains("an address"));
        assert!(advice(552).contains("size") && advice(554).contains("spam"));
    }
}
