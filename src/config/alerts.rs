//! `[[alerts]]`: the channels that alerts go to.

use std::{fmt, path::PathBuf, time::Duration};

use toml::de::DeValue;

use crate::settings::{
    Host, Patterns, SecretFile,
    document::in_file_order,
    reader::Reader,
    suggest::{alert_kind, nearest},
};

const TIMEOUT: Duration = Duration::from_secs(30);
const TRIES: usize = 4;
const NTFY: &str = "https://ntfy.sh";
const KINDS: [&str; 4] = ["webhook", "ntfy", "email", "heartbeat"];

/// One channel of alerts.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertConfig {
    /// Its name, unique among the channels.
    pub name: String,
    /// The sources whose alerts it gets.
    pub sources: Patterns,
    /// Time limit of one attempt.
    pub timeout: Duration,
    /// Number of attempts, 1 to 8, after which a message waits for the next run.
    pub tries: usize,
    /// Its kind with the settings of that kind.
    pub kind: AlertKind,
}

/// The kind of a channel.
#[derive(Debug, Clone, PartialEq)]
pub enum AlertKind {
    /// An HTTP request with JSON.
    Webhook(WebhookConfig),
    /// A topic of ntfy.
    Ntfy(NtfyConfig),
    /// Mail.
    Email(EmailConfig),
    /// A regular request to a service that raises an alarm when the request is missing.
    Heartbeat(HeartbeatConfig),
}

impl AlertKind {
    /// Its name in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Ntfy(_) => "ntfy",
            Self::Email(_) => "email",
            Self::Heartbeat(_) => "heartbeat",
        }
    }
}

/// The form of a webhook's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookFormat {
    /// This program's own form, with `text` among its fields.
    Plain,
    /// Slack's incoming webhooks.
    Slack,
    /// Mattermost's incoming webhooks.
    Mattermost,
    /// Discord's webhooks.
    Discord,
    /// A workflow of Microsoft Teams that accepts an adaptive card.
    Teams,
    /// `sendMessage` of Telegram's bots.
    Telegram,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookConfig {
    /// File with the URL.
    pub url_file: SecretFile,
    /// Form of the JSON.
    pub format: WebhookFormat,
    /// The chat for Telegram; only present with that format.
    pub chat_id: Option<String>,
    /// File with a token for the header `Authorization`.
    pub token_file: Option<SecretFile>,
    /// File with certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// A topic of ntfy.
#[derive(Debug, Clone, PartialEq)]
pub struct NtfyConfig {
    /// URL of the server.
    pub url: String,
    /// The topic.
    pub topic: Topic,
    /// File with an access token.
    pub token_file: Option<SecretFile>,
    /// File with certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// The source of a topic's name: on a public server the name is a secret, so `Debug` does not show it.
#[derive(Clone, PartialEq)]
pub enum Topic {
    /// In the configuration.
    Given(String),
    /// In a file.
    File(SecretFile),
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(…)"),
            Self::File(file) => f.debug_tuple("File").field(file).finish(),
        }
    }
}

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// TLS after the command `STARTTLS`.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// No TLS, for a server on this machine.
    None,
}

/// Mail.
#[derive(Debug, Clone, PartialEq)]
pub struct EmailConfig {
    /// Name of the mail server.
    pub smtp_host: String,
    /// Its port.
    pub smtp_port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// User and the file with the password.
    pub login: Option<(String, SecretFile)>,
    /// Address of the sender.
    pub from: String,
    /// Addresses of the recipients.
    pub to: Vec<String>,
    /// File with certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// A heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub struct HeartbeatConfig {
    /// File with the URL, to which `/start` and `/fail` are added.
    pub url_file: SecretFile,
    /// File with certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// Reads all channels.
pub(super) fn read(root: &mut Reader<'_>) -> Vec<AlertConfig> {
    let mut alerts: Vec<AlertConfig> = Vec::new();
    // All names in the file: a source with a mistake in it is not an unknown one.
    let named = root.value("sources").and_then(DeValue::as_table).map(in_file_order).unwrap_or_default();
    let names: Vec<&str> = named.into_iter().map(|(name, ..)| name).collect();
    for reader in root.tables("alerts") {
        if let Some(alert) = read_alert(reader, &alerts, &names) {
            alerts.push(alert);
        }
    }
    alerts
}

fn read_alert(mut reader: Reader<'_>, others: &[AlertConfig], names: &[&str]) -> Option<AlertConfig> {
    let kind = reader.string("kind");
    reader.missing("kind", &format!("the kind of alert, one of: {}", KINDS.join(", ")));
    let name = reader.string("name");
    let sources = reader.patterns("sources");
    if sources.as_ref().is_some_and(Patterns::is_empty) {
        reader.problem("sources", "an empty list would send nothing; leave the key out for all sources");
    }
    for unknown in
        sources.iter().flat_map(Patterns::iter).filter(|text| is_plain(text) && !names.contains(text))
    {
        let meant = nearest(unknown, names.iter().copied());
        let meant = meant.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
        reader.problem("sources", &format!("there is no source {unknown:?}{meant}"));
    }
    let bounds = Duration::from_secs(1)..=Duration::from_secs(600);
    let timeout = reader.duration("timeout", bounds).unwrap_or(TIMEOUT);
    let tries = reader.integer("tries", 1..=8).and_then(|tries| tries.try_into().ok()).unwrap_or(TRIES);
    let kind_name = kind?;
    let kind = match kind_name.as_str() {
        "webhook" => read_webhook(&mut reader).map(AlertKind::Webhook),
        "ntfy" => read_ntfy(&mut reader).map(AlertKind::Ntfy),
        "email" => read_email(&mut reader).map(AlertKind::Email),
        "heartbeat" => read_heartbeat(&mut reader).map(AlertKind::Heartbeat),
        other => {
            let meant = match (nearest(other, KINDS), alert_kind(other)) {
                (Some(near), _) => format!("; did you mean {near:?}?"),
                (None, Some(meant)) => format!("; {meant}"),
                (None, None) => String::new(),
            };
            let known = KINDS.join(", ");
            let what = format!("unknown kind of alert {other:?}; the kinds are: {known}{meant}");
            reader.problem("kind", &what);
            return None;
        }
    };
    let name = match name {
        Some(name) if others.iter().any(|other| other.name == name) => {
            reader.problem("name", &format!("another alert has the name {name:?} as well"));
            name
        }
        Some(name) => name,
        None => free_name(&kind_name, others),
    };
    reader.finish();
    let sources = sources.or_else(|| Patterns::new(["*"]).ok()).unwrap_or_default();
    Some(AlertConfig { name, sources, timeout, tries, kind: kind? })
}

/// Whether a pattern is a plain name, which matches only itself.
fn is_plain(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', ']', '{', '}', '\\'])
}

/// The kind, with a number if there are several.
fn free_name(kind: &str, others: &[AlertConfig]) -> String {
    let taken = |name: &str| others.iter().any(|other| other.name == name);
    let numbered = (2..).map(|number| format!("{kind}-{number}"));
    std::iter::once(kind.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

fn read_webhook(reader: &mut Reader<'_>) -> Option<WebhookConfig> {
    let url_file = reader.secret_file("url_file");
    reader.missing("url_file", "the path of a file that holds the URL");
    let formats = [
        ("plain", WebhookFormat::Plain),
        ("slack", WebhookFormat::Slack),
        ("mattermost", WebhookFormat::Mattermost),
        ("discord", WebhookFormat::Discord),
        ("teams", WebhookFormat::Teams),
        ("telegram", WebhookFormat::Telegram),
    ];
    let format = reader.choice("format", &formats).unwrap_or(WebhookFormat::Plain);
    let telegram = format == WebhookFormat::Telegram;
    let chat_id = reader.text_or_number("chat_id");
    match (&chat_id, telegram) {
        (None, true) => reader.missing("chat_id", "the id of the chat, as a number or \"@name\""),
        (Some(_), false) => reader.problem("chat_id", "belongs to format = \"telegram\""),
        _ => {}
    }
    let (token_file, ca_file) = (reader.secret_file("token_file"), reader.path("ca_file"));
    Some(WebhookConfig { url_file: url_file?, format, chat_id, token_file, ca_file })
}

/// Whether ntfy accepts this as the name of a topic.
pub(super) fn is_topic(topic: &str) -> bool {
    (1..=64).contains(&topic.len()) && topic.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

fn read_ntfy(reader: &mut Reader<'_>) -> Option<NtfyConfig> {
    let url = reader.string("url").unwrap_or_else(|| NTFY.to_owned());
    if !is_server(&url) {
        let what = "must be the plain URL of a server, such as \"https://ntfy.sh\"; \
                    http:// only leads to this machine";
        reader.problem("url", what);
    }
    let topic = reader.string("topic");
    if topic.as_ref().is_some_and(|topic| !is_topic(topic)) {
        reader.problem("topic", "must be 1 to 64 of A-Z a-z 0-9 _ -");
    }
    let topic = topic.map(Topic::Given);
    let topic_file = reader.secret_file("topic_file").map(Topic::File);
    let topic = match (topic, topic_file) {
        (Some(_), Some(_)) => {
            reader.problem("topic_file", "give either topic or topic_file, not both");
            None
        }
        (None, None) => {
            reader.missing("topic", "the topic, or topic_file with the path of a file that holds it");
            None
        }
        (given, file) => given.or(file),
    };
    let (token_file, ca_file) = (reader.secret_file("token_file"), reader.path("ca_file"));
    Some(NtfyConfig { url: url.trim_end_matches('/').to_owned(), topic: topic?, token_file, ca_file })
}

/// Whether this is a URL without user or query, encrypted unless it leads to this machine.
fn is_server(url: &str) -> bool {
    if url.contains(['@', '?', '#', ' ']) {
        return false;
    }
    let host = |rest: &str| {
        let authority = rest.split('/').next().unwrap_or_default();
        // An IPv6 address has its colons in brackets.
        let end = authority.rfind(':').filter(|end| !authority[*end..].contains(']'));
        authority[..end.unwrap_or(authority.len())].trim_matches(['[', ']']).to_owned()
    };
    match url.split_once("://") {
        Some(("https", rest)) => !host(rest).is_empty(),
        Some(("http", rest)) => Host::Tcp(host(rest)).is_local(),
        _ => false,
    }
}

fn read_email(reader: &mut Reader<'_>) -> Option<EmailConfig> {
    let smtp_host = reader.string("smtp_host");
    reader.missing("smtp_host", "the name of the mail server");
    let kinds = [("starttls", SmtpTls::Starttls), ("tls", SmtpTls::Tls), ("none", SmtpTls::None)];
    let tls = reader.choice("tls", &kinds).unwrap_or(SmtpTls::Starttls);
    let port = reader.integer("smtp_port", 1..=65_535).and_then(|port| port.try_into().ok());
    let smtp_port = port.unwrap_or(match tls {
        SmtpTls::Starttls => 587,
        SmtpTls::Tls => 465,
        SmtpTls::None => 25,
    });
    let (user, password_file) = (reader.string("user"), reader.secret_file("password_file"));
    let login = match (user, password_file) {
        (Some(user), Some(file)) => Some((user, file)),
        (Some(_), None) => {
            reader.missing("password_file", "the path of a file that holds the password of `user`");
            None
        }
        (None, Some(_)) => {
            reader.missing("user", "the user whose password `password_file` holds");
            None
        }
        (None, None) => None,
    };
    let local = smtp_host.as_ref().is_none_or(|host| Host::Tcp(host.clone()).is_local());
    if tls == SmtpTls::None && (!local || login.is_some()) {
        reader.problem("tls", "\"none\" is for a mail server on this machine, and without a user");
    }
    let from = reader.string("from");
    reader.missing("from", "the address of the sender");
    let listed = reader.strings("to");
    reader.missing("to", "the addresses of the recipients, as a list");
    let none = listed.as_ref().is_some_and(Vec::is_empty);
    let to = listed.unwrap_or_default();
    if none {
        reader.problem("to", "the list is empty; give at least one address");
    }
    for (key, address) in from.iter().map(|a| ("from", a)).chain(to.iter().map(|a| ("to", a))) {
        if address.parse::<lettre::message::Mailbox>().is_err() {
            reader.problem(key, &format!("{address:?} is not an e-mail address"));
        }
    }
    let ca_file = reader.path("ca_file");
    if to.is_empty() {
        return None;
    }
    Some(EmailConfig { smtp_host: smtp_host?, smtp_port, tls, login, from: from?, to, ca_file })
}

fn read_heartbeat(reader: &mut Reader<'_>) -> Option<HeartbeatConfig> {
    let url_file = reader.secret_file("url_file");
    reader.missing("url_file", "the path of a file that holds the URL");
    let ca_file = reader.path("ca_file");
    Some(HeartbeatConfig { url_file: url_file?, ca_file })
}

impl Reader<'_> {
    /// A text, or a whole number read as text.
    fn text_or_number(&mut self, key: &'static str) -> Option<String> {
        match self.value(key)? {
            DeValue::Integer(number) => Some(number.to_string()),
            _ => self.string(key),
        }
    }
}
