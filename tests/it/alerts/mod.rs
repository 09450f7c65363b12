//! Alert channels through the library: rare and hostile responses, and errors that look like success.

mod mail;
mod setup;
mod webhooks;
