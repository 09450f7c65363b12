//! The dashboard in a real browser, with a history of all kinds of problems; and the API, tested against its
//! description.

mod access;
mod browser;
mod house;
mod interface;
mod server;
