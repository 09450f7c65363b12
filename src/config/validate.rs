//! Checks that go beyond the text of the configuration: can every file it names be used?

use std::{fs::File, path::Path};

use super::{
    AzurePrincipal, Config, RepositoryLocation, RootCertificates, ServerConfig, SourceConfig, SourceKind,
};
use crate::error::{Error, Result};

impl Config {
    /// Tries to load every secret and to open every certificate that the configuration names, and keeps none.
    ///
    /// # Errors
    /// Exit code 2 with every file that cannot be used, one line each, and what to do about it.
    pub fn validate_secrets(&self) -> Result<()> {
        let mut problems = Vec::new();
        let repository = &self.repository;
        if matches!(repository.location, RepositoryLocation::File { .. }) {
            problems.extend(repository.location.load().err());
        }
        problems.extend(repository.password_file.load().err());
        problems.extend(repository.options_files.values().filter_map(|file| file.load().err()));
        for source in &self.sources {
            match &source.kind {
                SourceKind::Postgres(postgres) => check_server(source, &postgres.server, &mut problems),
                SourceKind::Mysql(mysql) => check_server(source, &mysql.server, &mut problems),
                SourceKind::Mongodb(mongodb) => problems.extend(mongodb.uri_file.load().err()),
                SourceKind::AzureStorage(azure) => check_principal(&azure.principal, &mut problems),
                SourceKind::Directory(_) => {}
            }
        }
        for alert in &self.alerts {
            problems.extend(alert.secret_files().into_iter().filter_map(|file| file.load().err()));
        }
        match problems.len() {
            0 => Ok(()),
            1 => problems.pop().map_or(Ok(()), Err),
            count => {
                let lines: Vec<_> = problems.iter().map(one_line).collect();
                Err(Error::usage(format!("{count} files cannot be used\n{}", lines.join("\n"))))
            }
        }
    }
}

fn check_principal(principal: &AzurePrincipal, problems: &mut Vec<Error>) {
    for file in [&principal.tenant_id_file, &principal.client_id_file, &principal.client_secret_file] {
        problems.extend(file.load().err());
    }
}

fn check_server(source: &SourceConfig, server: &ServerConfig, problems: &mut Vec<Error>) {
    problems.extend(server.password_file.as_ref().and_then(|file| file.load().err()));
    if let Some(azure) = &server.azure {
        check_principal(&azure.principal, problems);
    }
    let root = match &server.sslrootcert {
        Some(RootCertificates::File(path)) => Some(path),
        _ => None,
    };
    for (key, path) in
        [("sslrootcert", root), ("sslcert", server.sslcert.as_ref()), ("sslkey", server.sslkey.as_ref())]
    {
        problems.extend(path.and_then(|path| check_file(source, key, path).err()));
    }
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
            Err(problem("cannot be read").because(&error).hint("correct the path, or give read access to it"))
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
