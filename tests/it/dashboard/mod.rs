//! The page that people look at: in a real browser, over a history with everything in it that goes wrong; and the same for
//! programs, tried against its own description.

mod access;
mod browser;
mod house;
mod interface;
mod server;
