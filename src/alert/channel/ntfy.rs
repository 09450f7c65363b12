//! ntfy: published as JSON to the server itself, which carries titles in any script: <https://docs.ntfy.sh/publish/#publish-as-json>.

use serde_json::json;

use super::{
    Channel, Refused, fit,
    http::{Body, Sender},
    short,
};
use crate::{
    config::{AlertConfig, NtfyConfig, Topic, load_topic},
    error::Result,
    history::message::{Message, Purpose},
    settings::{Secret, SecretFile},
    stream::cancel::Cancel,
};

/// Longest text of a message, in bytes; a longer one would become an attachment.
const LONGEST: usize = 4096;

/// A topic of ntfy.
pub(super) struct Ntfy {
    url: Secret,
    topic: Secret,
    sender: Sender,
}

impl Ntfy {
    /// Reads the files that the configuration names.
    pub(super) fn open(config: &AlertConfig, ntfy: &NtfyConfig) -> Result<Self> {
        let token = ntfy.token_file.as_ref().map(SecretFile::load).transpose()?;
        let topic = match &ntfy.topic {
            Topic::Given(topic) => Secret::new(topic.clone()),
            Topic::File(file) => load_topic(file)?,
        };
        Ok(Self {
            url: Secret::new(ntfy.url.clone()),
            sender: Sender::new(config.timeout, ntfy.ca_file.as_deref(), token)?.hide(&topic),
            topic,
        })
    }
}

impl Channel for Ntfy {
    fn send(&self, message: &Message, cancel: &Cancel) -> Result<(), Refused> {
        let (priority, tag) = match message.purpose {
            Purpose::Problem => (4, "rotating_light"),
            Purpose::Reminder => (3, "warning"),
            Purpose::Recovery => (2, "white_check_mark"),
            Purpose::Test => (3, "test_tube"),
        };
        let content = json!({
            "topic": self.topic.expose(),
            "title": short(&message.title()),
            "message": fit(&message.text(), LONGEST, str::len),
            "priority": priority,
            "tags": [tag],
        });
        let body = Body { content_type: "application/json", content: content.to_string() };
        self.sender.post(&self.url, &body, cancel).map(|_| ())
    }
}
