//! The section `[Service]`: settings of all services, from the data shared with NixOS, and of single services.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::settings::PLACEHOLDER;

/// Hardening and limits: those of all services, and those by task.
const DATA: &str = include_str!("../units.json");

/// Directories that `ProtectHome=` hides.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// Directories that `PrivateTmp=` replaces.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// Settings of a service in order.
pub(super) struct Service {
    pub(super) settings: Vec<(String, Vec<String>)>,
}

impl Service {
    /// The settings of all services, changed by those of `groups`.
    pub(super) fn new(groups: &[&str]) -> Self {
        let data: Map<String, Value> = serde_json::from_str(DATA).unwrap_or_default();
        let mut service = Self { settings: Vec::new() };
        for group in ["service"].iter().chain(groups) {
            let Some(Value::Object(settings)) = data.get(*group) else { continue };
            for (key, value) in settings {
                match value {
                    Value::Null => service.remove(key),
                    Value::Array(values) => service.set_all(key, values.iter().filter_map(text).collect()),
                    value => service.set_all(key, text(value).into_iter().collect()),
                }
            }
        }
        service
    }

    pub(super) fn set(&mut self, key: &str, value: String) {
        self.set_all(key, vec![value]);
    }

    fn set_all(&mut self, key: &str, values: Vec<String>) {
        match self.settings.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = values,
            None => self.settings.push((key.to_owned(), values)),
        }
    }

    fn add(&mut self, key: &str, value: String) {
        match self.settings.iter_mut().find(|(name, _)| name == key) {
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
            None => self.settings.push((key.to_owned(), vec![value])),
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.settings.retain(|(name, _)| name != key);
    }

    /// Hands over a secret file as a credential. A missing file becomes an empty line, so that the program still starts,
    /// reports the missing file, and does everything that does not need it, above all alerts.
    pub(super) fn credential(&mut self, id: &str, path: &Path) {
        self.add("LoadCredential", format!("{id}:{}", percent(&path.display().to_string())));
        self.add("SetCredential", format!("{id}:{}", PLACEHOLDER.escape_default()));
    }

    /// Variables from a file. Where it is `optional`, the service starts without it too.
    pub(super) fn environment_file(&mut self, path: &Path, optional: bool) {
        let prefix = if optional { "-" } else { "" };
        self.set("EnvironmentFile", format!("{prefix}{}", percent(&path.display().to_string())));
    }

    /// Lets it write to a directory. A missing one is not an error here, because the program reports it better.
    pub(super) fn write_to(&mut self, path: &Path) {
        self.add("ReadWritePaths", word(&format!("-{}", percent(&path.display().to_string()))));
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.settings.iter().any(|(name, _)| name == key)
    }

    /// Makes files visible that the confinement would hide.
    pub(super) fn reveal(&mut self, paths: &[PathBuf]) {
        if paths.iter().any(|path| HOMES.iter().any(|home| path.starts_with(home))) {
            self.set("ProtectHome", "read-only".to_owned());
        }
        if paths.iter().any(|path| TEMPORARY.iter().any(|folder| path.starts_with(folder))) {
            self.remove("PrivateTmp");
        }
    }

    /// Makes everything visible below directories that it backs up.
    pub(super) fn reveal_all(&mut self, paths: &[PathBuf]) {
        self.reveal(paths);
        // A private one would replace files that are to be backed up with the directory above.
        if paths.iter().any(|path| TEMPORARY.iter().any(|folder| Path::new(folder).starts_with(path))) {
            self.remove("PrivateTmp");
        }
    }

    /// Lets it write to the directory of a socket. systemd creates one below /run, which other users may enter.
    pub(super) fn socket_in(&mut self, folder: &Path) {
        match folder.strip_prefix("/run").ok().and_then(Path::to_str) {
            Some(below) if !below.is_empty() && !below.contains(char::is_whitespace) => {
                self.set("RuntimeDirectory", percent(below));
            }
            _ => self.write_to(folder),
        }
    }

    /// Lets it write to the state directory. systemd creates one below /var/lib, owned by the service's user.
    pub(super) fn state(&mut self, path: &Path) {
        match path.strip_prefix("/var/lib").ok().and_then(Path::to_str) {
            Some(below) if !below.is_empty() && !below.contains(char::is_whitespace) => {
                self.set("StateDirectory", percent(below));
                self.set("StateDirectoryMode", "0700".to_owned());
            }
            _ => {
                self.write_to(path);
                // The user's home, where ssh has its keys, known hosts and connections.
                self.set("StateDirectory", "tik-backup".to_owned());
                self.set("StateDirectoryMode", "0700".to_owned());
            }
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A command line in the syntax of systemd.service(5). `%i` in `words` stays a specifier.
pub(super) fn command(executable: &Path, config: &Path, words: &[&str]) -> String {
    let literal = |path: &Path| word(&percent(&path.display().to_string()).replace('$', "$$"));
    let rest = words.iter().map(|text| {
        let text = if *text == "%i" { (*text).to_owned() } else { percent(text).replace('$', "$$") };
        word(&text)
    });
    let head = [literal(executable), "--config".to_owned(), literal(config)];
    head.into_iter().chain(rest).collect::<Vec<_>>().join(" ")
}

/// `%` begins a specifier.
fn percent(text: &str) -> String {
    text.replace('%', "%%")
}

/// One word, in quotes if it needs them.
fn word(text: &str) -> String {
    if text.contains(|c: char| c.is_whitespace() || "\"'\\;".contains(c)) {
        return format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    }
    text.to_owned()
}

/// The name of the unit that mounts something at `path`: systemd.unit(5), "String escaping".
pub(super) fn mount_unit(path: &Path) -> String {
    let text = path.to_string_lossy();
    let parts: Vec<_> = text.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return "-.mount".to_owned();
    }
    let mut name = String::new();
    for (index, byte) in parts.join("/").bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if index == 0 => name.push_str("\\x2e"),
            byte if byte.is_ascii_alphanumeric() || b":_.".contains(&byte) => name.push(byte.into()),
            byte => name.push_str(&format!("\\x{byte:02x}")),
        }
    }
    name + ".mount"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_mounts_are_escaped_as_systemd_does() {
        for (path, unit) in [
            ("/mnt/backup", "mnt-backup.mount"),
            ("/mnt/my-box/", "mnt-my\\x2dbox.mount"),
            ("/", "-.mount"),
            ("/.snapshots", "\\x2esnapshots.mount"),
            ("/srv/ä b", "srv-\\xc3\\xa4\\x20b.mount"),
        ] {
            assert_eq!(mount_unit(Path::new(path)), unit);
        }
    }

    #[test]
    fn words_are_quoted_and_specifiers_doubled() {
        let line =
            command(Path::new("/opt/50% off/tik"), Path::new("/etc/a\"b.toml"), &["check", "5%", "%i"]);
        assert_eq!(line, r#""/opt/50%% off/tik" --config "/etc/a\"b.toml" check 5%% %i"#);
    }

    #[test]
    fn a_group_changes_and_removes_what_all_have() {
        let drill = Service::new(&["drill"]);
        let find =
            |key: &str| drill.settings.iter().find(|(name, _)| name == key).map(|(_, values)| values.clone());
        assert_eq!(find("MemoryDenyWriteExecute"), None);
        assert_eq!(find("RestrictNamespaces"), Some(vec!["user mnt pid net ipc".to_owned()]));
        assert_eq!(find("NoNewPrivileges"), Some(vec!["true".to_owned()]));
    }
}
