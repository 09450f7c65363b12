//! Webhooks: JSON in the form that the receiver wants.

use serde_json::{Value, json};

use super::{
    Channel, Refused, fit,
    http::{Body, Sender},
};
use crate::{
    alert::message::Message,
    config::{AlertConfig, Secret, WebhookConfig, WebhookFormat},
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// Limits of the receivers, in characters: <https://docs.slack.dev/reference/methods/chat.postMessage>,
/// <https://docs.mattermost.com>, <https://discord.com/developers/docs/resources/webhook>,
/// <https://core.telegram.org/bots/api#sendmessage>; a card of Teams may have 28 KB.
const SLACK: usize = 40_000;
const MATTERMOST: usize = 16_000;
const DISCORD: usize = 2_000;
const TEAMS: usize = 20_000;
const TELEGRAM: usize = 4_096;

/// A webhook.
pub(super) struct Webhook {
    name: String,
    url: Secret,
    format: WebhookFormat,
    chat_id: String,
    sender: Sender,
}

impl Webhook {
    /// Reads the files that the configuration names.
    pub(super) fn open(config: &AlertConfig, webhook: &WebhookConfig) -> Result<Self> {
        let token = webhook.token_file.as_ref().map(crate::config::SecretFile::load).transpose()?;
        Ok(Self {
            name: config.name.clone(),
            url: webhook.url_file.load()?,
            format: webhook.format,
            chat_id: webhook.chat_id.clone().unwrap_or_default(),
            sender: Sender::new(config.timeout, webhook.ca_file.as_deref(), token)?,
        })
    }
}

impl Channel for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn send(&self, message: &Message, cancel: &Cancel) -> Result<(), Refused> {
        let content = shape(self.format, &self.chat_id, message).to_string();
        let body = Body { content_type: "application/json", content };
        let answer = self.sender.post(&self.url, &body, cancel)?;
        if self.format == WebhookFormat::Telegram {
            // Telegram may say no in the body of a success.
            let answer: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
            if answer.get("ok").and_then(Value::as_bool) == Some(false) {
                let said = answer.get("description").and_then(Value::as_str).unwrap_or("no reason given");
                return Err(Refused::lasting(
                    Error::failed("Telegram refused the message").because_text(said),
                ));
            }
        }
        Ok(())
    }
}

/// A message in the form of a receiver.
fn shape(format: WebhookFormat, chat_id: &str, message: &Message) -> Value {
    let (title, text) = (message.title(), message.text());
    let whole = format!("{title}\n\n{text}");
    let characters = |text: &str| text.chars().count();
    match format {
        WebhookFormat::Plain => json!({
            "text": whole,
            "title": title,
            "purpose": message.purpose,
            "host": message.host,
            "at": message.at,
            "new": message.new,
            "persisting": message.persisting,
            "recovered": message.recovered,
            "remarks": message.remarks,
        }),
        WebhookFormat::Slack => {
            // https://docs.slack.dev/messaging/formatting-message-text: these three steer, nothing else is escaped
            let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            json!({"text": format!("{}\n```\n{}\n```", fenced(&escape(&title)), fit(&fenced(&escape(&text)), SLACK - 2_000, characters))})
        }
        WebhookFormat::Mattermost => {
            // Inside a fence nothing is Markdown, so names stay what they are.
            let text = fit(&fenced(&text), MATTERMOST, characters);
            json!({"text": format!("**{}**\n```\n{text}\n```", plain(&title))})
        }
        WebhookFormat::Discord => {
            let room = DISCORD.saturating_sub(characters(&title) * 2 + 20);
            let text = fit(&fenced(&text), room, characters);
            let content = format!("**{}**\n```\n{text}\n```", plain(&title));
            let content: String = content.chars().take(DISCORD).collect();
            json!({"content": content, "allowed_mentions": {"parse": []}})
        }
        WebhookFormat::Teams => teams(&title, &fit(&text, TEAMS, str::len)),
        WebhookFormat::Telegram => {
            // It counts in units of UTF-16.
            let units = |text: &str| text.encode_utf16().count();
            json!({"chat_id": chat_id, "text": fit(&whole, TELEGRAM, units), "disable_web_page_preview": true})
        }
    }
}

/// <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>: an adaptive
/// card as attachment of a message.
fn teams(title: &str, text: &str) -> Value {
    let block = |text: &str, more: Value| {
        let mut block = json!({"type": "TextBlock", "text": text, "wrap": true});
        if let (Value::Object(block), Value::Object(more)) = (&mut block, more) {
            block.extend(more);
        }
        block
    };
    // A text block knows some Markdown and drops single line breaks: every line is a block of its own.
    let mut body = vec![block(&plain(title), json!({"weight": "bolder", "size": "medium"}))];
    body.extend(
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| block(&plain(line), json!({"fontType": "monospace", "spacing": "none"}))),
    );
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
            },
        }],
    })
}

/// Markdown's signs made text.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\`*_{}[]()#+!|~<>@".contains(c) {
            plain.push('\\');
        }
        plain.push(c);
    }
    plain
}

/// A text that cannot end the fence around it.
fn fenced(text: &str) -> String {
    text.replace("```", "`\u{200b}`\u{200b}`")
}
