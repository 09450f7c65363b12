//! Webhooks: JSON in the form that the receiver wants.

use serde_json::{Value, json};

use super::{
    Channel, Refused, fit,
    http::{Body, Sender},
    short,
};
use crate::{
    alert::causes,
    config::{AlertConfig, WebhookConfig, WebhookFormat, load_url},
    error::{Error, Result},
    history::message::Message,
    settings::Secret,
    stream::cancel::Cancel,
};

/// Limits of the receivers, in units of UTF-16: <https://docs.slack.dev/reference/methods/chat.postMessage>,
/// <https://docs.mattermost.com>, <https://discord.com/developers/docs/resources/webhook>,
/// <https://core.telegram.org/bots/api#sendmessage>; a card of Teams may have 28 KB as JSON.
const SLACK: usize = 40_000;
const MATTERMOST: usize = 16_000;
const DISCORD: usize = 2_000;
const TEAMS: usize = 24_000;
/// JSON around a line in a card, in bytes.
const TEAMS_BLOCK: usize = 150;
const TELEGRAM: usize = 4_096;

/// A webhook.
pub(super) struct Webhook {
    url: Secret,
    format: WebhookFormat,
    chat_id: String,
    sender: Sender,
}

impl Webhook {
    /// Reads the files that the configuration names.
    pub(super) fn open(config: &AlertConfig, webhook: &WebhookConfig) -> Result<Self> {
        let token = webhook.token_file.as_ref().map(crate::settings::SecretFile::load).transpose()?;
        Ok(Self {
            url: load_url(&webhook.url_file)?,
            format: webhook.format,
            chat_id: webhook.chat_id.clone().unwrap_or_default(),
            sender: Sender::new(config.timeout, webhook.ca_file.as_deref(), token)?,
        })
    }
}

impl Channel for Webhook {
    fn send(&self, message: &Message, cancel: &Cancel) -> Result<(), Refused> {
        let content = shape(self.format, &self.chat_id, message).to_string();
        let body = Body { content_type: "application/json", content };
        let answer = self.sender.post(&self.url, &body, cancel)?;
        if self.format == WebhookFormat::Telegram {
            // Telegram may say no in the body of a success.
            let answer: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
            if answer.get("ok").and_then(Value::as_bool) == Some(false) {
                let said = answer.get("description").and_then(Value::as_str).unwrap_or("no reason given");
                let error = Error::failed("Telegram refused the message").because_text(said);
                let hint = "see whether `chat_id` is right, and whether the bot is a member of that chat";
                return Err(Refused::lasting(error.hint(hint)));
            }
        }
        Ok(())
    }
}

/// A message in the form of a receiver.
fn shape(format: WebhookFormat, chat_id: &str, message: &Message) -> Value {
    let (whole_title, text) = (message.title(), message.text());
    let title = short(&whole_title);
    let units = |text: &str| text.encode_utf16().count();
    // Inside a fence nothing is markup, so names stay what they are.
    let fence = |title: String, text: String, limit: usize| {
        let room = limit.saturating_sub(units(&title) + "\n```\n\n```".len());
        format!("{title}\n```\n{}\n```", fit(&fenced(&text), room, units))
    };
    match format {
        WebhookFormat::Plain => json!({
            "text": format!("{whole_title}\n\n{text}"),
            "title": whole_title,
            "purpose": message.purpose,
            "host": message.host,
            "at": crate::moment::rfc3339(&message.at),
            "new": message.new,
            "persisting": message.persisting,
            "recovered": message.recovered,
            "remarks": message.remarks,
            "causes": causes(message.new.iter().chain(&message.persisting)),
        }),
        WebhookFormat::Slack => {
            // https://docs.slack.dev/messaging/formatting-message-text: these three steer, nothing else is escaped
            let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            json!({"text": fence(fenced(&escape(&title)), escape(&text), SLACK)})
        }
        WebhookFormat::Mattermost => {
            json!({"text": fence(format!("**{}**", plain(&title)), text, MATTERMOST)})
        }
        WebhookFormat::Discord => json!({
            "content": fence(format!("**{}**", plain(&title)), text, DISCORD),
            "allowed_mentions": {"parse": []},
        }),
        WebhookFormat::Teams => {
            let measure =
                |text: &str| text.lines().map(|line| json!(line).to_string().len() + TEAMS_BLOCK).sum();
            teams(&title, &fit(&text, TEAMS, measure))
        }
        WebhookFormat::Telegram => {
            let text = fit(&format!("{title}\n\n{text}"), TELEGRAM, units);
            json!({"chat_id": chat_id, "text": text, "disable_web_page_preview": true})
        }
    }
}

/// <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>: an adaptive
/// card as attachment of a message.
fn teams(title: &str, text: &str) -> Value {
    // A text block knows Markdown, a run of text does not. Single line breaks are dropped in both: every line is a
    // block of its own.
    let block = |text: &str, style: (&str, &str), spacing: &str| {
        let run = json!({"type": "TextRun", "text": text, style.0: style.1});
        json!({"type": "RichTextBlock", "inlines": [run], "spacing": spacing})
    };
    let mut body = vec![block(title, ("weight", "Bolder"), "Default")];
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    body.extend(lines.map(|line| block(line, ("fontType", "Monospace"), "None")));
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
        match c {
            // Mattermost calls everybody for an escaped @channel as well; a space of no width makes it another word.
            '@' => plain.push_str("@\u{200b}"),
            c if "\\`*_{}[]()#+!|~<>".contains(c) => plain.extend(['\\', c]),
            c => plain.push(c),
        }
    }
    plain
}

/// A text that cannot end the fence around it.
fn fenced(text: &str) -> String {
    text.replace("```", "`\u{200b}`\u{200b}`")
}
