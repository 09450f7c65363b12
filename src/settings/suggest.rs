//! Suggests the word that was probably meant, and knows which key names are those of secrets.

/// Parts of a key's name with which its value must not appear in a message.
const SENSITIVE: [&str; 8] =
    ["password", "passwd", "passphrase", "secret", "token", "key", "uri", "credential"];

/// Whether the value of a key with this name must never be shown.
pub(crate) fn is_sensitive(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SENSITIVE.iter().any(|part| key.contains(part))
}

/// Whether a storage option of this name holds a secret and so must come from a file. Narrower than
/// [`is_sensitive`]: `access_key_id` is only a name, and the `key` of sftp is a path.
pub(crate) fn is_secret_option(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    if ["_id", "_path", "_file"].iter().any(|end| key.ends_with(end)) {
        return false;
    }
    ["password", "passwd", "passphrase", "secret", "token"].iter().any(|part| key.contains(part))
        || key.ends_with("_key")
        || ["credential", "credentials", "connection_string"].contains(&key.as_str())
}

/// Names that other programs use, and the names here: the first of these keys that is valid in its place is suggested.
const OTHER_WORDS: [(&[&str], &[&str]); 11] = [
    (&["hostname", "server", "address", "addr", "endpoint"], &["host", "smtp_host", "uri_file", "listen"]),
    (&["host"], &["uri_file", "smtp_host", "listen"]),
    (&["username", "login", "role", "account"], &["user"]),
    (&["dbname", "db", "dbs", "schema", "schemas"], &["databases"]),
    (&["tls", "ssl", "ssl_mode", "encryption"], &["sslmode", "tls"]),
    (
        &["path", "url", "uri", "repo", "target", "destination"],
        &["location", "paths", "url_file", "uri_file"],
    ),
    (&["dir", "dirs", "directory", "directories", "folder", "folders", "include"], &["paths", "location"]),
    (&["ignore", "skip", "excludes", "excluded", "exclude_databases"], &["exclude"]),
    (&["time", "cron", "at", "when", "timer", "interval"], &["schedule"]),
    (&["type", "engine", "driver"], &["kind"]),
    (&["port", "bind"], &["smtp_port", "listen"]),
];

/// Other names of kinds of alert.
const OTHER_ALERTS: [(&[&str], &str); 5] = [
    (
        &["slack", "mattermost", "discord", "teams", "telegram"],
        "write kind = \"webhook\" and its name as `format`, for example format = \"slack\"",
    ),
    (&["msteams", "ms-teams", "microsoft-teams"], "write kind = \"webhook\" and format = \"teams\""),
    (&["mail", "e-mail", "smtp", "sendmail"], "write kind = \"email\""),
    (
        &[
            "healthcheck",
            "healthchecks",
            "healthchecks.io",
            "hc-ping",
            "uptime-kuma",
            "cronitor",
            "ping",
            "dead-man",
        ],
        "write kind = \"heartbeat\"",
    ),
    (
        &[
            "http",
            "https",
            "rest",
            "url",
            "pushover",
            "gotify",
            "pagerduty",
            "opsgenie",
            "matrix",
            "rocketchat",
            "sms",
        ],
        "what takes JSON by HTTP is a \"webhook\"; docs/alerts.md shows what is sent",
    ),
];

/// What to write for a kind of alert that other programs call by this name.
pub(crate) fn alert_kind(word: &str) -> Option<&'static str> {
    by_other_name(word, &OTHER_ALERTS)
}

/// What to write in place of a word that other programs use: each list of words has its own text.
pub(crate) fn by_other_name(word: &str, names: &[(&[&str], &'static str)]) -> Option<&'static str> {
    let word = word.to_ascii_lowercase().replace('_', "-");
    names.iter().find(|(others, _)| others.contains(&word.as_str())).map(|(_, meant)| *meant)
}

/// The valid key that was probably meant: one with a similar name, or one that other programs call by this name.
pub(crate) fn meant<'c>(word: &str, valid: &[&'c str]) -> Option<&'c str> {
    let plain = word.to_ascii_lowercase().replace('-', "_");
    let keep = format!("keep_{plain}");
    let others = OTHER_WORDS.iter().filter(|(others, _)| others.contains(&plain.as_str()));
    nearest(word, valid.iter().copied()).or_else(|| valid.iter().copied().find(|key| *key == keep)).or_else(
        || others.flat_map(|(_, keys)| *keys).find_map(|key| valid.iter().copied().find(|v| v == key)),
    )
}

/// The candidate most similar to `word`, if one is similar enough.
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
    fn words_of_other_programs_find_ours() {
        let server = ["host", "user", "port", "password_file", "sslmode", "databases", "exclude", "kind"];
        for (word, ours) in [
            ("hostname", "host"),
            ("Server", "host"),
            ("username", "user"),
            ("dbname", "databases"),
            ("ssl", "sslmode"),
            ("type", "kind"),
        ] {
            assert_eq!(meant(word, &server), Some(ours), "{word}");
        }
        assert_eq!(meant("daily", &["keep_last", "keep_daily"]), Some("keep_daily"));
        assert_eq!(meant("path", &["location", "mount"]), Some("location"));
        assert_eq!(meant("folders", &["kind", "paths"]), Some("paths"));
        assert_eq!(meant("colour", &server), None);
        assert!(alert_kind("slack").is_some_and(|meant| meant.contains("format")));
        assert!(alert_kind("colour").is_none());
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
