//! The certificates that this machine trusts.

use std::path::PathBuf;

use crate::error::Error;

/// Paths of the bundle of trusted certificates on common systems.
const CA_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// The bundle of trusted certificates, if there is one.
pub(super) fn ca_bundle() -> Option<PathBuf> {
    let named =
        ["SSL_CERT_FILE", "NIX_SSL_CERT_FILE"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    named.chain(CA_BUNDLES.map(PathBuf::from)).find(|path| path.is_file())
}

/// The error if there is none.
pub(super) fn no_bundle() -> Error {
    Error::failed("no bundle of the system's trusted certificates was found")
        .because_text(format!("searched $SSL_CERT_FILE, {}", CA_BUNDLES.join(", ")))
        .hint("install `ca-certificates`, or name a file as `sslrootcert`")
}
