//! The demo's third server in a program that was built without MongoDB: there never is one.

use std::path::Path;

use super::environment::{Environment, Ran};
use crate::{error::Result, stream::cancel::Cancel};

/// A server that cannot exist.
pub(super) enum MongodbPart {}

impl MongodbPart {
    pub(super) fn start(_: &Environment, _: &Cancel) -> Result<Option<Self>> {
        Ok(None)
    }

    pub(super) fn is_confined(&self) -> bool {
        match *self {}
    }

    pub(super) fn program(&self) -> &Path {
        match *self {}
    }

    pub(super) fn version(&self) -> &str {
        match *self {}
    }

    pub(super) fn config(&self) -> String {
        match *self {}
    }

    pub(super) fn content(&self) -> Result<String> {
        match *self {}
    }

    pub(super) fn lose(&self) -> Result<()> {
        match *self {}
    }

    pub(super) fn restore(&self, _: &Environment) -> Result<Ran> {
        match *self {}
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        match *self {}
    }
}
