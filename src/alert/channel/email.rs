//! Mail.

use lettre::{
    Message as Mail, SmtpTransport, Transport,
    message::{Mailbox, header},
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};

use super::{Channel, Refused, read_authorities};
use crate::{
    alert::message::Message,
    config::{AlertConfig, EmailConfig, Secret, SmtpTls},
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// Mail to some addresses.
pub(super) struct Email {
    name: String,
    server: String,
    from: Mailbox,
    to: Vec<Mailbox>,
    password: Option<Secret>,
    transport: SmtpTransport,
}

impl Email {
    /// Reads the files that the configuration names.
    pub(super) fn open(config: &AlertConfig, email: &EmailConfig) -> Result<Self> {
        let address = |text: &str| {
            text.parse::<Mailbox>()
                .map_err(|e| Error::usage(format!("{text:?} is no mail address")).because(&e))
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
            transport: builder.build(),
        })
    }

    fn mail(&self, message: &Message) -> Result<Mail, lettre::error::Error> {
        let mut mail = Mail::builder()
            .from(self.from.clone())
            .subject(message.title())
            .message_id(None)
            // RFC 3834: no machine answers it.
            .header(AutoSubmitted)
            .header(header::ContentType::TEXT_PLAIN);
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        mail.date_now().body(message.text())
    }
}

impl Channel for Email {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "email"
    }

    /// The library cannot be interrupted: the timeout bounds each of its steps.
    fn send(&self, message: &Message, cancel: &Cancel) -> Result<(), Refused> {
        cancel.check().map_err(Refused::passing)?;
        let what = |error: &(dyn std::error::Error + 'static)| {
            let error = Error::failed(format!("{} did not take the mail", self.server)).because(error);
            match &self.password {
                Some(password) => error.redact(password.expose()),
                None => error,
            }
        };
        let mail = self.mail(message).map_err(|e| Refused::lasting(what(&e)))?;
        match self.transport.send(&mail) {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => {
                let refused = what(&error).hint("see whether user, password and addresses are right");
                Err(Refused::lasting(refused))
            }
            Err(error) if error.is_tls() || what(&error).summary().contains("certificate") => {
                let hint =
                    "see that its certificate is valid for `smtp_host`, or name its authority in `ca_file`";
                Err(Refused::passing(what(&error).hint(hint)))
            }
            Err(error) => Err(Refused::passing(what(&error))),
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
