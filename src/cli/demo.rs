//! `tik-backup demo`

use super::{Context, SUCCESS};
use crate::error::Result;

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_context: &Context, _args: &Args) -> Result<u8> {
    Ok(SUCCESS)
}
