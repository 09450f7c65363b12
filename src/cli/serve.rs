//! `tik-backup serve`

use super::{Context, SUCCESS};
use crate::{
    config::Listen,
    error::{Error, Result},
    report::dashboard,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address and port, or unix:/path [default: `dashboard.listen`, else 127.0.0.1:8740]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let config = context.config()?;
    let mut settings = config.dashboard.clone().unwrap_or_default();
    if let Some(text) = &args.listen {
        settings.listen =
            text.parse::<Listen>().map_err(|fault| Error::usage(format!("--listen {text:?}: {fault}")))?;
    }
    let ready = |address: &str| context.printer.notice(&format!("listening on {address}"));
    dashboard::serve(config, &settings, &context.cancel, &ready)?;
    Ok(SUCCESS)
}
