//! A container or share as a target of restores.

use super::{Target, restore};
use crate::{
    error::{Error, Result},
    settings::Secret,
    source::{
        KindConfig,
        azure::{AzureStorageConfig, NAME},
        restore::Restored,
        target::{Done, RestoreJob, RestoreTarget},
    },
};

impl RestoreTarget for Target {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn set_password(&mut self, password: Secret) -> Result<()> {
        self.secret = Some(password);
        Ok(())
    }

    fn can_overwrite(&self) -> bool {
        true
    }

    fn restore(&self, job: &RestoreJob<'_>) -> Result<Done> {
        let RestoreJob { manifest, files, options, notice, cancel, .. } = *job;
        Ok(Done::Storage(restore(manifest, files, self, options, cancel, notice)?))
    }

    fn read_back(&self, _: &RestoreJob<'_>, _: &Restored, _: &mut Vec<String>) -> Result<Vec<String>> {
        Err(Error::failed("what was put into a container or share is not read back"))
    }
}

/// The target that a URL names. Its service principal may write to it, if the source is of this kind.
pub(in crate::source) fn by_url(
    url: &str,
    configured: Option<&(dyn KindConfig + 'static)>,
) -> Box<dyn RestoreTarget> {
    let principal = configured.and_then(AzureStorageConfig::of).map(|azure| azure.principal.clone());
    Box::new(Target { into: url.to_owned(), principal, secret: None })
}

/// A container or share that the service principal of a source sees.
pub(in crate::source) fn on_own_account(
    configured: &AzureStorageConfig,
    into: &str,
) -> Box<dyn RestoreTarget> {
    Box::new(Target { into: into.to_owned(), principal: Some(configured.principal.clone()), secret: None })
}
