//! Checks that go beyond the text of the configuration: whether every file that it names can be used.

use std::{fs::File, path::Path};

use super::{Config, RepositoryConfig, SourceConfig};
use crate::{
    error::{Error, Result},
    settings::{RepositoryLocation, SecretFile},
};

impl Config {
    /// Loads every secret and opens every certificate that the configuration names, and drops them again.
    ///
    /// # Errors
    /// Exit code 2 with every file that cannot be used, one line each, and a hint.
    pub fn validate_secrets(&self) -> Result<()> {
        Self::one_error(self.unusable_files())
    }

    /// All problems with files as one error.
    pub(crate) fn one_error(mut problems: Vec<Error>) -> Result<()> {
        match problems.len() {
            0 => Ok(()),
            1 => problems.pop().map_or(Ok(()), Err),
            count => {
                let lines: Vec<_> = problems.iter().map(one_line).collect();
                Err(Error::usage(format!("{count} files cannot be used\n{}", lines.join("\n"))))
            }
        }
    }

    /// An error for every secret that cannot be loaded and every certificate that cannot be opened. Credentials that only a
    /// systemd unit has are not checked elsewhere.
    pub(crate) fn unusable_files(&self) -> Vec<Error> {
        let mut problems = Vec::new();
        let unusable = |file: &SecretFile| if file.is_elsewhere() { None } else { file.load().err() };
        let repository = &self.repository;
        if let RepositoryLocation::File { file, .. } = &repository.location
            && !file.is_elsewhere()
        {
            problems.extend(repository.location.load().err());
        }
        let secrets =
            repository.secret_files().into_iter().skip_while(|file| file.key().ends_with("location_file"));
        problems.extend(secrets.filter_map(unusable));
        for source in &self.sources {
            problems.extend(source.secret_files().into_iter().filter_map(unusable));
            for (key, path) in source.kind.certificates() {
                problems.extend(check_file(source, key, path).err());
            }
        }
        let token = self.dashboard.iter().filter_map(|dashboard| dashboard.token_file.as_ref());
        problems.extend(token.filter_map(unusable));
        for alert in &self.alerts {
            problems.extend(alert.unusable_files());
        }
        problems
    }
}

impl Config {
    /// Checks that no directory to be backed up is, or lies in, the repository or the state directory. Links are followed.
    ///
    /// # Errors
    /// Exit code 2 with the first such directory.
    pub fn validate_folders(&self) -> Result<()> {
        self.sources.iter().try_for_each(|source| source.kind.check_places(&|key| source.key_path(key)))
    }
}

impl Config {
    /// Files with certificates and their keys, each with its configuration key. They are not handed over as credentials.
    pub fn certificates(&self) -> Vec<(String, &Path)> {
        let mut files = Vec::new();
        for source in &self.sources {
            let named = source.kind.certificates().into_iter();
            files.extend(named.map(|(key, path)| (source.key_path(key), path)));
        }
        files
    }
}

impl RepositoryConfig {
    /// All files with secrets that it names; the file with the location comes first.
    pub fn secret_files(&self) -> Vec<&SecretFile> {
        let location = match &self.location {
            RepositoryLocation::File { file, .. } => Some(file),
            RepositoryLocation::Given(_) => None,
        };
        location.into_iter().chain([&self.password_file]).chain(self.options_files.values()).collect()
    }
}

fn check_file(source: &SourceConfig, key: &str, path: &Path) -> Result<()> {
    let problem = |what: &str| {
        let key = source.key_path(key);
        Error::usage(format!("{key}: the file {} {what}", path.display()))
    };
    let metadata = File::open(path).and_then(|file| file.metadata());
    match metadata {
        Ok(metadata) if metadata.is_dir() => Err(problem("is a directory").hint("name the file itself")),
        Ok(_) => Ok(()),
        Err(error) => {
            let hint =
                crate::fs::owner::reading_hint(path, &error).unwrap_or_else(|| "correct the path".to_owned());
            Err(problem("cannot be read").because(&error).hint(hint))
        }
    }
}

fn one_line(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{} → {hint}", error.summary()),
        None => error.summary(),
    }
}
