//! What is wrong with a connection string that the driver refuses, said without showing a secret of it.

use mongodb::error::Error as DriverError;

use super::secrets::{PIECE, Secrets, odd_ports};
use crate::error::Error;

/// Options that the driver knows, as MongoDB's documentation writes them.
const OPTIONS: [&str; 46] = [
    "adaptiveRetries",
    "appName",
    "authMechanism",
    "authMechanismProperties",
    "authSource",
    "compressors",
    "connectTimeoutMS",
    "directConnection",
    "enableOverloadRetargeting",
    "heartbeatFrequencyMS",
    "journal",
    "loadBalanced",
    "localThresholdMS",
    "maxAdaptiveRetries",
    "maxConnecting",
    "maxIdleTimeMS",
    "maxPoolSize",
    "maxStalenessSeconds",
    "minPoolSize",
    "proxyHost",
    "proxyPassword",
    "proxyPort",
    "proxyUsername",
    "readConcernLevel",
    "readPreference",
    "readPreferenceTags",
    "replicaSet",
    "retryReads",
    "retryWrites",
    "serverMonitoringMode",
    "serverSelectionTimeoutMS",
    "socketTimeoutMS",
    "srvMaxHosts",
    "srvServiceName",
    "tls",
    "ssl",
    "tlsAllowInvalidCertificates",
    "tlsCAFile",
    "tlsCertificateKeyFile",
    "tlsCertificateKeyFilePassword",
    "tlsInsecure",
    "uuidRepresentation",
    "w",
    "waitQueueTimeoutMS",
    "wTimeoutMS",
    "zlibCompressionLevel",
];
/// Longer names of options are not shown.
const LONGEST_NAME: usize = 40;
/// The value of authMechanism for client certificates.
const X509: &str = "MONGODB-X509";

const ENCODE: &str =
    "percent-encode every one of : / ? # [ ] @ % in the user name and the password (%3A, %2F, …)";
const FORM: &str = "correct it; its form is mongodb://USER:PASSWORD@HOST:PORT/?OPTION=VALUE&OPTION=VALUE";
/// What to do about a password beside a client certificate.
pub(super) const NO_PASSWORD: &str = "authMechanism=MONGODB-X509 takes no password, but the certificate that \
                                      tlsCertificateKeyFile names: take the password out, or correct authMechanism";

/// What is wrong with a connection string that the driver refused with this error.
pub(super) fn malformed(text: &str, secrets: &Secrets, origin: &str, error: &DriverError) -> Error {
    let rest = text.strip_prefix("mongodb://").or_else(|| text.strip_prefix("mongodb+srv://"));
    let Some(rest) = rest else {
        return Error::usage(format!("{origin} does not begin with mongodb:// or mongodb+srv://"))
            .hint("copy it from the provider, or write mongodb://USER:PASSWORD@HOST:PORT/?tls=true");
    };
    let problem = Error::usage(format!("{origin} is not valid"));
    let (user_info, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
    if user_info.is_some_and(needs_encoding) {
        // The driver may parse a part of the password as a host or an option, and show it.
        return problem
            .because_text("its user name or password holds a character that means something else there")
            .hint(ENCODE);
    }
    let (authority, options) = place.split_once('?').unwrap_or((place, ""));
    let options = || {
        let all = options.split('&').filter(|option| !option.is_empty());
        all.map(|option| option.split_once('=').unwrap_or((option, "")))
    };
    let has_password = user_info.is_some_and(|user_info| user_info.contains(':'));
    let by_certificate = |(name, value): (&str, &str)| {
        name.eq_ignore_ascii_case("authMechanism") && value.eq_ignore_ascii_case(X509)
    };
    if has_password && options().any(by_certificate) {
        return problem
            .because_text("it holds a password beside authMechanism=MONGODB-X509")
            .hint(NO_PASSWORD);
    }
    let is_unknown = |name: &&str| !OPTIONS.iter().any(|known| known.eq_ignore_ascii_case(name));
    if let Some(name) = options().map(|(name, _)| name).find(is_unknown) {
        let hidden =
            (user_info.is_none() && !odd_ports(authority).is_empty()) || may_be_secret(name, user_info);
        return unknown(problem, Some(name).filter(|_| !hidden));
    }
    let said = error.kind.to_string();
    if secrets.betrayed_by(&said) {
        return problem.hint(FORM);
    }
    problem.because_text(secrets.clean(&said)).hint(FORM)
}

/// Whether a user name or password contains a character that must be percent-encoded.
fn needs_encoding(user_info: &str) -> bool {
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let mut escapes = user_info.split('%').skip(1).map(str::as_bytes);
    user_info.contains(['/', '?', '#', '[', ']', '@'])
        || user_info.matches(':').count() > 1
        || escapes.any(|after| !is_hex(after.first()) || !is_hex(after.get(1)))
}

/// Whether the name of an option contains a part of the user name or the password.
fn may_be_secret(name: &str, user_info: Option<&str>) -> bool {
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return true;
    }
    let shows = |secret: &str| {
        let mut pieces = secret.as_bytes().windows(PIECE);
        secret == name || pieces.any(|piece| memchr::memmem::find(name.as_bytes(), piece).is_some())
    };
    user_info.into_iter().flat_map(|user_info| user_info.split(':')).any(shows)
}

/// An option that the driver does not know; its name, if it may be shown.
fn unknown(problem: Error, name: Option<&str>) -> Error {
    let Some(name) = name else {
        return problem.because_text("one of its options is unknown").hint(
            "compare what follows the ? with the options of connection strings in MongoDB's documentation",
        );
    };
    let lower = name.to_ascii_lowercase();
    let distance = |known: &str| strsim::damerau_levenshtein(&known.to_ascii_lowercase(), &lower);
    let nearest =
        OPTIONS.into_iter().map(|known| (distance(known), known)).min_by_key(|(distance, _)| *distance);
    let problem = problem.because_text(format!("the option {name} is unknown"));
    match nearest {
        Some((distance, known)) if distance * 3 <= name.len() => {
            problem.hint(format!("did you mean {known}?"))
        }
        _ => problem.hint("remove it, or correct its name"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::{
        error::{Error, Kind},
        settings::Secret,
        source::mongodb::connect::Params,
    };

    #[track_caller]
    fn refused(uri: &str) -> Error {
        let error = Params::parse(&Secret::new(uri.to_owned()), "uri_file").unwrap_err();
        assert_eq!(error.kind(), Kind::Usage, "{uri}");
        for secret in ["hunter", "jane"] {
            assert!(!error.to_string().contains(secret), "{uri}: {error}");
        }
        error
    }

    #[test]
    fn an_unknown_option_is_named_with_the_nearest_that_is_valid() {
        for (uri, said, hint) in [
            ("mongodb://jane:hunter2@h/?tls=true&foo=bar", "option foo is unknown", "remove it"),
            ("mongodb://h/?foo=hunter2", "option foo is unknown", "remove it"),
            ("mongodb://h/?foo", "option foo is unknown", "remove it"),
            (
                "mongodb+srv://jane:hunter2@h/?authSorce=x",
                "option authSorce is unknown",
                "did you mean authSource?",
            ),
            ("mongodb://jane@h/?tsl=true", "option tsl is unknown", "did you mean tls?"),
            // With one letter of the password in it, it is shown all the same.
            ("mongodb://jane:r@h/?tls=true&retry=hunter2", "option retry is unknown", "remove it"),
        ] {
            let error = refused(uri);
            assert!(error.summary().contains(said), "{uri}: {error}");
            let told = error.hint_text().unwrap();
            assert!(told.contains(hint) && !told.contains("percent"), "{uri}: {error}");
        }
    }

    #[test]
    fn a_name_that_may_be_a_piece_of_a_secret_is_not_shown() {
        for uri in [
            "mongodb://jane:hunter2@h/?hunter2=1",
            "mongodb://jane:hunter2@h/?xhunterx=1",
            "mongodb://jane:pass?hunter2=1",
            "mongodb://jane:hunter2?x=1",
            "mongodb://jane:hunter2",
            "mongodb://jane:hunter/two",
        ] {
            assert!(!refused(uri).hint_text().unwrap().contains("percent"), "{uri}");
        }
        assert!(refused("mongodb://jane:hunter2@h/?hunter2=1").summary().contains("one of its options"));
    }

    #[test]
    fn a_password_beside_a_certificate_is_told_to_be_one_too_many() {
        for uri in [
            "mongodb://jane:hunter2@h/?authMechanism=MONGODB-X509&tls=true",
            "mongodb://jane:hunter2@h/?tls=true&authmechanism=mongodb-x509",
        ] {
            let error = refused(uri);
            assert!(error.summary().contains("MONGODB-X509"), "{error}");
            let hint = error.hint_text().unwrap();
            assert!(hint.contains("takes no password") && !hint.contains("percent"), "{error}");
        }
        let uri = "mongodb://jane@localhost/?authMechanism=MONGODB-X509&tls=true";
        let mut params = Params::parse(&Secret::new(uri.to_owned()), "uri_file").unwrap();
        let error = params.set_password(Secret::new("hunter2".to_owned())).unwrap_err();
        assert!(error.hint_text().unwrap().contains("takes no password"), "{error}");
    }

    #[test]
    fn encoding_is_advised_where_a_character_needs_it_and_nowhere_else() {
        for uri in [
            "mongodb://jane:hunter/2@h/?tls=true",
            "mongodb://jane:hunter?2@h/?tls=true",
            "mongodb://jane:hunter@2@h/?tls=true",
            "mongodb://jane:hunter:2@h/?tls=true",
            "mongodb://jane:hunter%2@h/?tls=true",
            "mongodb://jane:hunter%@h/?tls=true",
            "mongodb://jane:hunter#2@h/?tls=true",
        ] {
            assert!(refused(uri).hint_text().unwrap().contains("percent-encode"), "{uri}");
        }
        for uri in [
            "mongodb://jane:hunter2@h:port/?tls=true",
            "mongodb://jane:hunter2@h/?tls=perhaps",
            "mongodb://jane:hunter2@h/?tls=true&tls=true",
            "mongodb://jane:hunter2@/?tls=true",
            "mongodb://jane:hunter%2F2@h/?tls=true&authMechanism=hunter2",
        ] {
            assert!(!refused(uri).hint_text().unwrap().contains("percent"), "{uri}");
        }
    }
}
