//! The tools for reading the configuration, and the parts of it that sources and lower layers need.

pub(crate) mod azure;
pub(crate) mod document;
pub(crate) mod drill;
pub(crate) mod location;
mod patterns;
pub(crate) mod reader;
pub(crate) mod secret;
pub(crate) mod server;
mod source;
pub(crate) mod suggest;
#[cfg(test)]
pub(crate) mod testing;
mod values;

pub use azure::{AzurePrincipal, AzureServers};
pub use drill::{DrillConfig, SandboxRule};
pub use location::{Location, RepositoryLocation, place_of};
pub use patterns::Patterns;
pub(crate) use patterns::{PathGlob, Paths};
pub(crate) use secret::PLACEHOLDER;
pub use secret::{Secret, SecretFile};
pub use server::{Host, RootCertificates, SslMode};
pub(crate) use source::IDLE_TIMEOUT;
pub use source::{SourceName, SourceSettings};
pub(crate) use suggest::nearest;
