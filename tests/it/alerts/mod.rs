//! Channels of alerts through the library: what they make of answers that are rare, hostile or only look like success.

mod mail;
mod setup;
mod webhooks;
