//! Checks that go beyond the text of the configuration: can every file it names be used?

use std::{fs::File, path::Path};

use super::{
    AzurePrincipal, Config, MysqlConfig, PostgresConfig, RepositoryConfig, RepositoryLocation,
    RootCertificates, SecretFile, ServerConfig, SourceConfig, SourceKind,
};
use crate::error::{Error, Result};

impl Config {
    /// Tries to load every secret and to open every certificate that the configuration names, and keeps none.
    ///
    /// # Errors
    /// Exit code 2 with every file that cannot be used, one line each, and what to do about it.
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

    /// An error for every secret that cannot be loaded and every certificate that cannot be opened. Of credentials that only
    /// a unit of systemd has nothing can be told elsewhere.
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
            if let SourceKind::Postgres(PostgresConfig { server, .. })
            | SourceKind::Mysql(MysqlConfig { server, .. }) = &source.kind
            {
                check_certificates(source, server, &mut problems);
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
    /// Checks that no folder that is to be backed up is, or lies in, the repository or the state directory, wherever links
    /// lead.
    ///
    /// # Errors
    /// Exit code 2 with the first folder for which this is so.
    pub fn validate_folders(&self) -> Result<()> {
        for source in &self.sources {
            let SourceKind::Directory(directory) = &source.kind else { continue };
            let places: Vec<_> = directory
                .protected()
                .into_iter()
                .filter_map(|(what, place)| Some((what, place.canonicalize().ok()?)))
                .collect();
            for path in &directory.paths {
                let Ok(folder) = path.canonicalize() else { continue };
                let problem =
                    places.iter().find_map(|(what, place)| super::directory::overlap(&folder, what, place));
                if let Some(problem) = problem {
                    let key = super::document::join_key(&source_key(source), "paths");
                    return Err(Error::usage(format!(
                        "{key}: {} cannot be backed up: {problem}",
                        path.display()
                    ))
                    .hint("take it out of `paths`, or move what lies there"));
                }
            }
        }
        Ok(())
    }
}

impl Config {
    /// Files with certificates and their keys, which are read as they lie, each with the key that names it.
    pub fn certificates(&self) -> Vec<(String, &Path)> {
        let mut files = Vec::new();
        for source in &self.sources {
            if let SourceKind::Postgres(PostgresConfig { server, .. })
            | SourceKind::Mysql(MysqlConfig { server, .. }) = &source.kind
            {
                let key = |name: &str| super::document::join_key(&source_key(source), name);
                files.extend(certificates(server).into_iter().map(|(name, path)| (key(name), path)));
            }
        }
        files
    }
}

impl RepositoryConfig {
    /// All files with secrets that it names, that with the location first.
    pub fn secret_files(&self) -> Vec<&SecretFile> {
        let location = match &self.location {
            RepositoryLocation::File { file, .. } => Some(file),
            RepositoryLocation::Given(_) => None,
        };
        location.into_iter().chain([&self.password_file]).chain(self.options_files.values()).collect()
    }
}

impl AzurePrincipal {
    fn secret_files(&self) -> [&SecretFile; 3] {
        [&self.tenant_id_file, &self.client_id_file, &self.client_secret_file]
    }
}

impl SourceConfig {
    /// All files with secrets that it names.
    pub fn secret_files(&self) -> Vec<&SecretFile> {
        match &self.kind {
            SourceKind::Postgres(PostgresConfig { server, .. })
            | SourceKind::Mysql(MysqlConfig { server, .. }) => {
                let principal = server.azure.iter().flat_map(|azure| azure.principal.secret_files());
                server.password_file.iter().chain(principal).collect()
            }
            SourceKind::Mongodb(mongodb) => vec![&mongodb.uri_file],
            SourceKind::AzureStorage(azure) => azure.principal.secret_files().to_vec(),
            SourceKind::Directory(_) => Vec::new(),
        }
    }
}

fn check_certificates(source: &SourceConfig, server: &ServerConfig, problems: &mut Vec<Error>) {
    for (key, path) in certificates(server) {
        problems.extend(check_file(source, key, path).err());
    }
}

fn certificates(server: &ServerConfig) -> Vec<(&'static str, &Path)> {
    let root = match &server.sslrootcert {
        Some(RootCertificates::File(path)) => Some(path),
        _ => None,
    };
    let files =
        [("sslrootcert", root), ("sslcert", server.sslcert.as_ref()), ("sslkey", server.sslkey.as_ref())];
    files.into_iter().filter_map(|(key, path)| Some((key, path?.as_path()))).collect()
}

fn check_file(source: &SourceConfig, key: &str, path: &Path) -> Result<()> {
    let problem = |what: &str| {
        let key = super::document::join_key(&source_key(source), key);
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

fn source_key(source: &SourceConfig) -> String {
    super::document::join_key("sources", source.name.as_str())
}

fn one_line(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{} → {hint}", error.summary()),
        None => error.summary(),
    }
}
