//! Typed access to one table of the configuration. The keys that are read are the valid ones; [`Reader::finish`] reports
//! all others.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    document::{Document, in_file_order, join_key, type_of},
    patterns::{PathGlob, Paths, Patterns},
    secret::SecretFile,
    suggest::{is_sensitive, meant},
    values::{parse_duration, parse_size, show_duration, show_size},
};

/// A table while it is read. A table that is missing or of the wrong type reads as an empty one, and its required keys are
/// not reported as missing, because the table itself was reported.
pub struct Reader<'d> {
    pub(crate) document: &'d Document<'d>,
    path: String,
    line: Option<usize>,
    table: Option<&'d DeTable<'d>>,
    known: Vec<&'static str>,
}

impl<'d> Reader<'d> {
    /// The reader of the whole document.
    pub(crate) fn root(document: &'d Document<'d>, table: &'d DeTable<'d>) -> Self {
        Self { document, path: String::new(), line: None, table: Some(table), known: Vec::new() }
    }

    /// The reader of the table that is the `value` of `key` in this table.
    pub(crate) fn inner(&self, key: &str, start: usize, value: &'d DeValue<'d>) -> Self {
        self.at(self.key_path(key), start, value)
    }

    fn at(&self, path: String, start: usize, value: &'d DeValue<'d>) -> Self {
        let line = Some(self.document.line(start));
        let table = value.as_table();
        if table.is_none() {
            let name = if path == "sources" { "sources.NAME" } else { path.as_str() };
            let text = format!("{path}: must be a table ([{name}]), not {}", type_of(value));
            self.document.report(line, text);
        }
        Self { document: self.document, path, line, table, known: Vec::new() }
    }

    /// The tables of a list of tables, such as `[[alerts]]`; messages number them from 1.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(list) = value.as_array() else {
            self.problem(key, &format!("must be a list of tables, each begun with [[{key}]]"));
            return Vec::new();
        };
        let entries = list.iter().zip(1..);
        let path = self.key_path(key);
        entries
            .map(|(entry, number)| self.at(format!("{path}[{number}]"), entry.span().start, entry.get_ref()))
            .collect()
    }

    /// The table under `key`, or an empty one if it is missing.
    pub(crate) fn table(&mut self, key: &'static str) -> Self {
        self.known.push(key);
        match self.entry(key) {
            Some((start, value)) => self.inner(key, start, value.get_ref()),
            None => Self {
                document: self.document,
                path: self.key_path(key),
                line: None,
                table: None,
                known: Vec::new(),
            },
        }
    }

    /// The entries in the order of the file: name, offset, value. The caller checks the names.
    pub(crate) fn entries(&self) -> Vec<(&'d str, usize, &'d DeValue<'d>)> {
        let Some(table) = self.table else { return Vec::new() };
        in_file_order(table)
            .into_iter()
            .map(|(key, span, value)| (key, span.start, value.get_ref()))
            .collect()
    }

    /// The table's name without its section, such as the name of a source.
    pub(crate) fn own_name(&self) -> &str {
        let (_, name) = self.path.split_once('.').unwrap_or(("", &self.path));
        name.trim_matches('"')
    }

    /// Whether the table is in the file.
    pub(crate) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether the key is in the file, with any value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Whether the key is in the file and its value is a list.
    pub(crate) fn is_list(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|(_, value)| value.get_ref().as_array().is_some())
    }

    /// Whether the key is in the file and its value is exactly this text.
    pub(crate) fn is_text(&self, key: &str, text: &str) -> bool {
        self.entry(key).is_some_and(|(_, value)| value.get_ref().as_str() == Some(text))
    }

    /// The key's full name.
    pub(crate) fn key_path(&self, key: &str) -> String {
        join_key(&self.path, key)
    }

    /// Notes a problem with a key; the line is the key's or, if it is not there, the table's.
    pub(crate) fn problem(&self, key: &str, what: &str) {
        let line = self.entry(key).map_or(self.line, |(start, _)| Some(self.document.line(start)));
        self.document.report(line, format!("{}: {what}", self.key_path(key)));
    }

    /// Notes a problem with the table itself.
    pub(crate) fn table_problem(&self, what: &str) {
        self.document.report(self.line, format!("{}: {what}", self.path));
    }

    /// Notes that a required key is missing, unless it is there.
    pub(crate) fn missing(&self, key: &str, what: &str) {
        if self.is_present() && !self.has(key) {
            self.problem(key, &format!("missing: {what}"));
        }
    }

    /// Notes an invalid value, which is shown unless the key may hold a secret.
    fn bad_value(&self, key: &str, must: &str, shown: &str) {
        if is_sensitive(key) {
            self.problem(key, must);
        } else {
            self.problem(key, &format!("{must}, not {shown}"));
        }
    }

    fn entry(&self, key: &str) -> Option<(usize, &'d Spanned<DeValue<'d>>)> {
        self.table?.get_key_value(key).map(|(name, value)| (name.span().start, value))
    }

    /// The value of a key. Reading it marks the key as valid.
    pub(crate) fn value(&mut self, key: &'static str) -> Option<&'d DeValue<'d>> {
        self.known.push(key);
        self.entry(key).map(|(_, value)| value.get_ref())
    }

    fn wrong_type(&self, key: &str, must: &str, value: &DeValue<'_>) {
        self.problem(key, &format!("must be {must}, not {}", type_of(value)));
    }

    /// A text; not empty and without control characters.
    pub(crate) fn string(&mut self, key: &'static str) -> Option<String> {
        self.text(key, "a string")
    }

    fn text(&mut self, key: &'static str, must: &str) -> Option<String> {
        let value = self.value(key)?;
        let Some(text) = value.as_str() else {
            self.wrong_type(key, must, value);
            return None;
        };
        match text_fault(text) {
            Some(fault) => self.problem(key, fault),
            None => return Some(text.to_owned()),
        }
        None
    }

    /// One of several words.
    pub(crate) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.bad_value(key, &format!("must be one of {}", words.join(", ")), &format!("{text:?}"));
        }
        found
    }

    /// A path, made absolute.
    pub(crate) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key, "a string with a path")?;
        if text.starts_with("credential:") {
            self.problem(
                key,
                "a systemd credential can only stand for a key that ends in _file; give a path",
            );
            return None;
        }
        if let Some(fault) = unexpanded(&text) {
            self.problem(key, fault);
            return None;
        }
        Some(self.document.folder().join(text))
    }

    /// A file that holds a secret.
    pub(crate) fn secret_file(&mut self, key: &'static str) -> Option<SecretFile> {
        let text = self.text(key, "a string with a path")?;
        if let Some(fault) = unexpanded(&text) {
            self.problem(key, fault);
            return None;
        }
        SecretFile::from_value(self.key_path(key), &text, self.document.folder())
            .map_err(|fault| self.problem(key, &fault))
            .ok()
    }

    /// True or false.
    pub(crate) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.value(key) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.wrong_type(key, "true or false", value);
            default
        })
    }

    /// A whole number within bounds.
    pub(crate) fn integer(&mut self, key: &'static str, bounds: RangeInclusive<i64>) -> Option<i64> {
        let value = self.value(key)?;
        let Some(digits) = value.as_integer() else {
            let quoted = value.as_str().is_some_and(|text| text.parse::<i64>().is_ok());
            self.wrong_type(key, if quoted { "an integer, without quotes" } else { "an integer" }, value);
            return None;
        };
        let number = i64::from_str_radix(digits.as_str(), digits.radix()).ok();
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            let must = format!("must be from {} to {}", bounds.start(), bounds.end());
            self.bad_value(key, &must, &digits.to_string());
        }
        number
    }

    /// A size in bytes within bounds.
    pub(crate) fn size(&mut self, key: &'static str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let text = self.text(key, "a size in quotes, such as \"16MiB\"")?;
        match parse_size(&text) {
            Some(size) if bounds.contains(&size) => return Some(size),
            Some(_) => {
                let must =
                    format!("must be from {} to {}", show_size(*bounds.start()), show_size(*bounds.end()));
                self.bad_value(key, &must, &format!("{text:?}"));
            }
            None => {
                let must = "must be a whole number and B, KiB, MiB, GiB, TiB, KB, MB, GB or TB";
                self.bad_value(key, must, &format!("{text:?}"));
            }
        }
        None
    }

    /// A duration within bounds.
    pub(crate) fn duration(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let text = self.text(key, "a duration in quotes, such as \"15m\"")?;
        match parse_duration(&text) {
            Some(duration) if bounds.contains(&duration) => return Some(duration),
            Some(_) => {
                let (least, most) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
                self.bad_value(key, &format!("must be from {least} to {most}"), &format!("{text:?}"));
            }
            None => {
                let must = "must be whole numbers with s, m, h or d, such as \"15m\" or \"1h30m\"";
                self.bad_value(key, must, &format!("{text:?}"));
            }
        }
        None
    }

    /// A list of texts, none of them empty.
    pub(crate) fn strings(&mut self, key: &'static str) -> Option<Vec<String>> {
        let value = self.value(key)?;
        let Some(list) = value.as_array() else {
            let single = value.as_str().is_some();
            let must = if single { "a list of strings, such as [\"…\"]" } else { "a list of strings" };
            self.wrong_type(key, must, value);
            return None;
        };
        let mut texts = Vec::new();
        for element in list.iter() {
            let fault = match element.get_ref().as_str() {
                None => format!("must be a list of strings, but has {} in it", type_of(element.get_ref())),
                Some(text) => match text_fault(text) {
                    Some(fault) => format!("an entry of the list {fault}"),
                    None => {
                        texts.push(text.to_owned());
                        continue;
                    }
                },
            };
            let line = self.document.line(element.span().start);
            self.document.report(Some(line), format!("{}: {fault}", self.key_path(key)));
        }
        Some(texts)
    }

    /// A list of paths, made absolute.
    pub(crate) fn paths(&mut self, key: &'static str) -> Vec<PathBuf> {
        let folder = self.document.folder();
        let texts = self.strings(key).unwrap_or_default();
        for fault in texts.iter().filter_map(|text| unexpanded(text)) {
            self.problem(key, fault);
        }
        texts.into_iter().map(|text| folder.join(text)).collect()
    }

    /// A list of globs.
    pub(crate) fn patterns(&mut self, key: &'static str) -> Option<Patterns> {
        let texts = self.strings(key)?;
        // One at a time, so that every invalid pattern is reported.
        for text in &texts {
            if let Err(fault) = Patterns::new([text]) {
                self.problem(key, &fault);
            }
        }
        Patterns::new(texts).ok()
    }

    /// Reads `exclude`: patterns over paths. A pattern that cannot work is reported here, and not in the middle of a run.
    pub(crate) fn exclude(&mut self, paths: Paths) -> Vec<String> {
        let exclude = self.strings("exclude").unwrap_or_default();
        for pattern in &exclude {
            if let Err(fault) = PathGlob::new(pattern, paths) {
                self.problem("exclude", &fault);
            }
        }
        exclude
    }

    /// Reads `databases`; without the key, all databases.
    pub(crate) fn databases(&mut self) -> Patterns {
        let databases = self.patterns("databases");
        if databases.as_ref().is_some_and(Patterns::is_empty) {
            let what = "an empty list would back up nothing; leave the key out for all databases";
            self.problem("databases", what);
        }
        databases.or_else(|| Patterns::new(["*"]).ok()).unwrap_or_default()
    }

    /// Reports every key that was not read.
    pub(crate) fn finish(self) {
        for (key, start, _) in self.entries() {
            if !self.known.contains(&key) {
                let line = Some(self.document.line(start));
                self.document.report(line, format!("{}: {}", self.key_path(key), self.unknown(key)));
            }
        }
    }

    /// Where a key belongs, if it is valid in another place.
    fn place_of(&self, key: &str) -> Option<String> {
        let is_source = || self.entry(key).is_some_and(|(_, value)| value.get_ref().get("kind").is_some());
        match (self.path.as_str(), key) {
            ("", name) if is_source() && !["sources", "source", "alert", "alerts"].contains(&name) => {
                Some(format!("a source needs a section [{}]", join_key("sources", name)))
            }
            ("drill", "schedule" | "time" | "when" | "calendar") => {
                Some("the schedule is `drill` in the section [systemd]".to_owned())
            }
            (section, "state_dir" | "remind_every") if !section.is_empty() => Some(
                "it belongs above the first section: keys below a section header are part of that section"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    fn unknown(&self, key: &str) -> String {
        let known = || self.known.iter().copied();
        // `password`, `passwd`, `uri` and the like: secrets are never in the configuration.
        let plain = key.to_ascii_lowercase();
        let plain = if ["pass", "passwd", "passphrase", "pw"].contains(&plain.as_str()) {
            "password"
        } else {
            &plain
        };
        let file_key = format!("{plain}_file");
        if let Some(file_key) = known().find(|known| *known == file_key) {
            return format!(
                "a secret must not be in the configuration: put it into a file and name that file in {file_key:?}"
            );
        }
        if let Some(place) = self.place_of(key) {
            return format!("unknown key here: {place}");
        }
        match meant(key, &self.known) {
            Some(meant) => format!("unknown key; did you mean {meant:?}?"),
            None => format!("unknown key; the valid keys are {}", known().collect::<Vec<_>>().join(", ")),
        }
    }
}

/// The fault of a path that only a shell would expand.
pub(crate) fn unexpanded(path: &str) -> Option<&'static str> {
    if path == "~" || path.starts_with("~/") {
        Some("must be a complete path: only shells expand ~")
    } else if path.starts_with("$HOME") || path.starts_with("${") {
        Some("must be a complete path: only shells expand variables")
    } else {
        None
    }
}

/// The fault of a text that cannot be used, without repeating the text.
pub(crate) fn text_fault(text: &str) -> Option<&'static str> {
    if text.trim().is_empty() {
        Some("must not be empty")
    } else if text.chars().any(char::is_control) {
        Some("must not hold a newline or another control character")
    } else {
        None
    }
}
