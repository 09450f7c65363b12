//! What `--into` means: a database, container or share, and how to reach it.

use super::{Options, Request, Restored};
use crate::{
    azure::Engine,
    config::{AzureStorageConfig, Config, MongodbConfig, MysqlConfig, PostgresConfig, ServerConfig},
    error::{Error, Result},
    settings::{Host, Secret, SecretFile},
    source::{
        KindConfig, azure,
        manifest::Manifest,
        mongodb, mysql,
        postgres::{self, Role},
    },
    stream::{cancel::Cancel, files::Files},
};

/// The target and the tools to reach it with.
pub(super) enum Target {
    Postgres { target: postgres::restore::Target, clients: postgres::clients::Clients },
    Mysql { target: mysql::restore::Target, clients: mysql::clients::Clients },
    Mongodb(Box<mongodb::restore::Target>),
    Storage(Box<azure::restore::Target>),
}

/// What a restore did.
pub(super) enum Done {
    Database(Box<Restored>),
    Storage(azure::restore::Report),
}

impl Target {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Postgres { .. } => "postgres",
            Self::Mysql { .. } => "mysql",
            Self::Mongodb(_) => "mongodb",
            Self::Storage(_) => "azure-storage",
        }
    }

    /// Restores into it; `roles` are those of the server that the snapshot is of.
    pub(super) fn restore(
        &self,
        manifest: &Manifest,
        files: &dyn Files,
        roles: &[Role],
        options: &Options,
        notice: &dyn Fn(&str),
        cancel: &Cancel,
    ) -> Result<Done> {
        Ok(match self {
            Self::Postgres { target, clients } => Done::Database(Box::new(postgres::restore::restore(
                manifest, files, roles, target, clients, options, cancel, notice,
            )?)),
            Self::Mysql { target, clients } => Done::Database(Box::new(mysql::restore::restore(
                manifest, files, target, clients, options, cancel, notice,
            )?)),
            Self::Mongodb(target) => Done::Database(Box::new(mongodb::restore::restore(
                manifest, files, target, options, cancel, notice,
            )?)),
            Self::Storage(target) => {
                Done::Storage(azure::restore::restore(manifest, files, target, options, cancel, notice)?)
            }
        })
    }
}

/// The target that `--into` names: a URL, or a database, container or share where the source has its own.
pub(super) fn find(config: &Config, request: &Request, into: &str, cancel: &Cancel) -> Result<Target> {
    let configured = config.source(&request.source).map(|source| &*source.kind);
    let mut target = match into.split_once("://") {
        Some((scheme, _)) => by_url(scheme, into, configured)?,
        None => {
            let kind = configured.ok_or_else(|| {
                Error::usage(format!(
                    "--into {into} means a database on the server of the source {}, which is not configured",
                    request.source
                ))
                .hint("write a URL: --into postgresql://user@host/database")
            })?;
            on_own_server(kind, request, into, cancel)?
        }
    };
    if let Some(file) = &request.password_file {
        let password = SecretFile::at("--password-file", file).load()?;
        match &mut target {
            Target::Postgres { target, .. } => target.params.password = Some(password.into()),
            Target::Mongodb(target) => {
                target.params.set_password(Secret::new(password.expose().to_owned()))?;
            }
            Target::Mysql { target, .. } => {
                target.params.password = Some(Secret::new(password.expose().to_owned()).into());
            }
            Target::Storage(target) => target.secret = Some(Secret::new(password.expose().to_owned())),
        }
    }
    if request.options.overwrite && !matches!(target, Target::Storage(_)) {
        return Err(Error::usage("--overwrite is of use for containers and file shares only")
            .hint("a database is restored into a new or empty one: choose another name, or empty it first"));
    }
    Ok(target)
}

fn by_url(scheme: &str, url: &str, configured: Option<&(dyn KindConfig + 'static)>) -> Result<Target> {
    match scheme {
        "postgresql" | "postgres" => {
            let postgres = configured.and_then(PostgresConfig::of);
            let dirs = postgres.map_or(&[][..], |postgres| &postgres.server.client_dirs);
            let clients = postgres::clients::Clients::find(dirs);
            Ok(Target::Postgres { target: postgres::restore::parse_url(url)?, clients })
        }
        "mysql" | "mariadb" => {
            let mysql = configured.and_then(MysqlConfig::of);
            let dirs = mysql.map_or(&[][..], |mysql| &mysql.server.client_dirs);
            let clients = mysql::clients::Clients::find(dirs);
            Ok(Target::Mysql { target: mysql::restore::parse_url(url)?, clients })
        }
        "https" | "http" => {
            let principal =
                configured.and_then(AzureStorageConfig::of).map(|azure| azure.principal.clone());
            let target = azure::restore::Target { into: url.to_owned(), principal, secret: None };
            Ok(Target::Storage(Box::new(target)))
        }
        "mongodb" | "mongodb+srv" => Ok(Target::Mongodb(Box::new(mongodb::restore::parse_url(url)?))),
        other => Err(Error::usage(format!("--into: a URL of kind {other}:// is not known")).hint(
            "write postgresql://user@host/database, mysql://…, mongodb://…, the https:// of a container or share, or a \
             name alone: of a database on the source's own server, or ACCOUNT/CONTAINER",
        )),
    }
}

fn on_own_server(
    kind: &(dyn KindConfig + 'static),
    request: &Request,
    into: &str,
    cancel: &Cancel,
) -> Result<Target> {
    let database = into.to_owned();
    let host = |server: &ServerConfig, engine| -> Result<ServerConfig> {
        let mut server = server.clone();
        if let Some(azure) = server.azure.take() {
            let name = request.item.split('/').next().unwrap_or_default();
            server.host = Host::Tcp(azure::server_host(&azure, engine, name, cancel)?);
        }
        Ok(server)
    };
    if let Some(azure) = AzureStorageConfig::of(kind) {
        return Ok(Target::Storage(Box::new(azure::restore::Target {
            into: database,
            principal: Some(azure.principal.clone()),
            secret: None,
        })));
    }
    if let Some(server) = PostgresConfig::of(kind) {
        return Ok(Target::Postgres {
            target: postgres::restore::Target {
                params: postgres::params(&PostgresConfig {
                    server: host(&server.server, Engine::Postgres)?,
                    ..server.clone()
                })?,
                database,
                maintenance_db: server.maintenance_db.clone(),
            },
            clients: postgres::clients::Clients::find(&server.server.client_dirs),
        });
    }
    if let Some(server) = MongodbConfig::of(kind) {
        let params = mongodb::connect::Params::load(&server.uri_file)?;
        return Ok(Target::Mongodb(Box::new(mongodb::restore::Target::new(params, database)?)));
    }
    if let Some(server) = MysqlConfig::of(kind) {
        return Ok(Target::Mysql {
            target: mysql::restore::Target {
                params: mysql::connect::ConnectParams::configured(&host(&server.server, Engine::Mysql)?)?,
                database,
            },
            clients: mysql::clients::Clients::find(&server.server.client_dirs),
        });
    }
    Err(Error::usage("a folder is restored with --to DIR"))
}
