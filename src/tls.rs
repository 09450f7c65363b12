//! Classifies failed TLS connections by the types of the TLS library's errors.

use std::{error::Error as StdError, io};

use rustls::Error as TlsError;

/// Whether a connection failed because the peer's certificate was missing or not accepted.
pub(crate) fn is_of_certificate(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<TlsError>() {
            return matches!(error, TlsError::InvalidCertificate(_) | TlsError::NoCertificatesPresented);
        }
        // `io::Error::source` skips the error inside it.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::CertificateError;

    #[test]
    fn a_refused_certificate_is_found_below_other_errors_and_by_its_type() {
        let unknown = || TlsError::InvalidCertificate(CertificateError::UnknownIssuer);
        assert!(is_of_certificate(&unknown()));
        assert!(is_of_certificate(&io::Error::other(io::Error::other(unknown()))));
        assert!(is_of_certificate(&TlsError::NoCertificatesPresented));
        assert!(!is_of_certificate(&TlsError::DecryptError));
        assert!(!is_of_certificate(&io::Error::other("the host certificate.example does not answer")));
    }
}
