//! Finds the word that was probably meant, and knows which key names point at secrets.

/// Parts of a key's name that make its value unfit for any message.
const SENSITIVE: [&str; 8] =
    ["password", "passwd", "passphrase", "secret", "token", "key", "uri", "credential"];

/// Whether the value of a key with this name must never be shown.
pub(super) fn is_sensitive(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SENSITIVE.iter().any(|part| key.contains(part))
}

/// Whether a storage option of this name holds a secret and so must come from a file. Narrower than
/// [`is_sensitive`]: `access_key_id` is only a name, and the `key` of sftp is a path.
pub(super) fn is_secret_option(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    if ["_id", "_path", "_file"].iter().any(|end| key.ends_with(end)) {
        return false;
    }
    ["password", "passwd", "passphrase", "secret", "token"].iter().any(|part| key.contains(part))
        || key.ends_with("_key")
        || ["credential", "credentials", "connection_string"].contains(&key.as_str())
}

/// The candidate most like `word`, if one is like it at all.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| {
            let plain = candidate.replace('-', "_");
            (strsim::damerau_levenshtein(&word, &plain), candidate)
        })
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_a_stranger_finds_none() {
        let keys = ["password_file", "port", "host", "databases", "keep_daily"];
        assert_eq!(nearest("pasword_file", keys), Some("password_file"));
        assert_eq!(nearest("password-file", keys), Some("password_file"));
        assert_eq!(nearest("Port", keys), Some("port"));
        assert_eq!(nearest("database", keys), Some("databases"));
        assert_eq!(nearest("keep_dayly", keys), Some("keep_daily"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("x", keys), None);
    }

    #[test]
    fn names_of_secrets_are_known() {
        for name in ["password", "Client_Secret", "sas_token", "sslkey", "uri", "password_file"] {
            assert!(is_sensitive(name), "{name}");
        }
        for name in ["port", "host", "exclude", "location"] {
            assert!(!is_sensitive(name), "{name}");
        }
        for name in ["secret_access_key", "account-key", "session_token", "password", "credential"] {
            assert!(is_secret_option(name), "{name}");
        }
        for name in ["access_key_id", "key", "bucket", "credential_path", "endpoint"] {
            assert!(!is_secret_option(name), "{name}");
        }
    }
}
