//! The target that `--into` names: a database, container or share, and how to reach it.

use super::request::Request;
use crate::{
    config::Config,
    error::{Error, Result},
    settings::SecretFile,
    source::{KindConfig, kind_of_scheme, target::RestoreTarget},
    stream::cancel::Cancel,
};

/// The error if `--overwrite` is used with a target other than a container or share.
pub(super) const NO_OVERWRITE: &str = "--overwrite is only for containers and file shares";

/// The target that `--into` names: a URL, or a database, container or share where the source has its own.
pub(super) fn find(
    config: &Config,
    request: &Request,
    into: &str,
    cancel: &Cancel,
) -> Result<Box<dyn RestoreTarget>> {
    let configured = config.source(&request.source).map(|source| &*source.kind);
    let mut target = match into.split_once("://") {
        Some((scheme, _)) => by_url(scheme, into, configured)?,
        None => {
            let configured = configured.ok_or_else(|| {
                Error::usage(format!(
                    "--into {into} means a database on the server of the source {}, which is not configured",
                    request.source
                ))
                .hint("write a URL: --into postgresql://user@host/database")
            })?;
            configured.target(&request.item, into, cancel)?
        }
    };
    if let Some(file) = &request.password_file {
        target.set_password(SecretFile::at("--password-file", file).load()?)?;
    }
    if request.options.overwrite && !target.can_overwrite() {
        return Err(Error::usage(NO_OVERWRITE)
            .hint("a database is restored into a new or empty one: choose another name, or empty it first"));
    }
    Ok(target)
}

fn by_url(
    scheme: &str,
    url: &str,
    configured: Option<&(dyn KindConfig + 'static)>,
) -> Result<Box<dyn RestoreTarget>> {
    match kind_of_scheme(scheme) {
        Some(kind) => kind.target_of_url(url, configured),
        None => Err(Error::usage(format!("--into: unsupported URL scheme {scheme}://")).hint(
            "write postgresql://user@host/database, mysql://…, mongodb://…, the https:// of a container or share, or a \
             name alone: of a database on the source's own server, or ACCOUNT/CONTAINER",
        )),
    }
}
