//! A database, or a whole server, as a restore target, with the client tools to access it.

use super::{
    Target, parse_server_url, parse_url, read_back, restore,
    whole::{Grants, Part, Whole},
};
use crate::{
    azure::Engine,
    error::Result,
    settings::Secret,
    source::{
        KindConfig, azure,
        mysql::{MysqlConfig, clients::Clients, connect::ConnectParams},
        restore::{Options, Restored},
        target::{
            self, Accounts, Done, RestoreJob, RestoreTarget, ServerDone, ServerPart, ServerTarget,
            WholeServer,
        },
    },
    stream::cancel::Cancel,
};

/// A database, with the client tools to access it.
struct Into {
    target: Target,
    clients: Clients,
}

impl RestoreTarget for Into {
    fn kind(&self) -> &'static str {
        "mysql"
    }

    fn set_password(&mut self, password: Secret) -> Result<()> {
        self.target.params.password = Some(password.into());
        Ok(())
    }

    fn restore(&self, job: &RestoreJob<'_>) -> Result<Done> {
        let RestoreJob { manifest, files, options, notice, cancel, .. } = *job;
        let done = restore(manifest, files, &self.target, &self.clients, options, cancel, notice)?;
        Ok(Done::Database(Box::new(done)))
    }

    fn read_back(
        &self,
        job: &RestoreJob<'_>,
        done: &Restored,
        notes: &mut Vec<String>,
    ) -> Result<Vec<String>> {
        read_back::differences(&self.target, &self.clients, job, done, notes)
    }
}

/// Parses the URL of a target. The directories of client tools are taken from the source if it is of this kind.
///
/// # Errors
/// The URL is not valid for a database.
pub(in crate::source) fn by_url(
    url: &str,
    configured: Option<&(dyn KindConfig + 'static)>,
) -> Result<Box<dyn RestoreTarget>> {
    Ok(Box::new(Into { target: parse_url(url)?, clients: clients(configured) }))
}

/// A database on the server of a source, of which `item` is or was an item.
///
/// # Errors
/// The server cannot be found, or its configuration names files that cannot be read.
pub(in crate::source) fn on_own_server(
    configured: &MysqlConfig,
    item: &str,
    database: &str,
    cancel: &Cancel,
) -> Result<Box<dyn RestoreTarget>> {
    let server = azure::found(&configured.server, Engine::Mysql, item, cancel)?;
    let target = Target { params: ConnectParams::configured(&server)?, database: database.to_owned() };
    Ok(Box::new(Into { target, clients: Clients::find(&configured.server.client_dirs) }))
}

fn clients(configured: Option<&(dyn KindConfig + 'static)>) -> Clients {
    let mysql = configured.and_then(MysqlConfig::of);
    Clients::find(mysql.map_or(&[][..], |mysql| &mysql.server.client_dirs))
}

/// All databases of a server and its accounts with one command.
pub(in crate::source) struct AllOfServer;

impl WholeServer for AllOfServer {
    fn servers(&self) -> &'static [&'static str] {
        &["MySQL", "MariaDB"]
    }

    fn example(&self) -> &'static str {
        "mysql://user@host:3306"
    }

    fn open(
        &self,
        url: &str,
        configured: Option<&(dyn KindConfig + 'static)>,
    ) -> Result<Box<dyn ServerTarget>> {
        Ok(Box::new(Server { params: parse_server_url(url)?, clients: clients(configured) }))
    }
}

/// A server, with the client tools to access it.
struct Server {
    params: ConnectParams,
    clients: Clients,
}

impl ServerTarget for Server {
    fn set_password(&mut self, password: Secret) -> Result<()> {
        self.params.password = Some(password.into());
        Ok(())
    }

    fn restore(
        &self,
        parts: &[ServerPart<'_>],
        options: &Options,
        notice: &dyn Fn(&str),
        cancel: &Cancel,
    ) -> Result<Vec<ServerDone>> {
        let databases: Vec<Part<'_>> =
            parts.iter().filter(|part| !part.is_globals).map(|part| self.part(part)).collect();
        let whole = Whole::prepare(&databases, &self.params, &self.clients, options, cancel)?;
        let globals = parts.iter().filter(|part| part.is_globals);
        let grants: Vec<Result<Grants>> = globals
            .map(|part| {
                notice(&format!("{}: accounts", part.manifest.item));
                accounts(&whole, part, options)
            })
            .collect();
        let restored = whole.restore(&databases, notice);
        let verified: Vec<Result<Restored>> = databases
            .iter()
            .zip(restored)
            .map(|(part, done)| self.verified(part, options, notice, cancel, done?))
            .collect();
        let granted: Vec<Result<Accounts>> = grants.into_iter().map(|grants| whole.grant(grants?)).collect();
        let (mut verified, mut granted) = (verified.into_iter(), granted.into_iter());
        let done = parts.iter().filter_map(|part| match part.is_globals {
            true => granted.next().map(ServerDone::Accounts),
            false => verified.next().map(|done| ServerDone::Database(Box::new(done))),
        });
        Ok(done.collect())
    }
}

impl Server {
    fn part<'a>(&self, part: &ServerPart<'a>) -> Part<'a> {
        let target = Target { params: self.params.clone(), database: part.name.to_owned() };
        Part { manifest: part.manifest, files: part.files, target }
    }

    /// Reads a database back if requested.
    fn verified(
        &self,
        part: &Part<'_>,
        options: &Options,
        notice: &dyn Fn(&str),
        cancel: &Cancel,
        mut done: Restored,
    ) -> Result<Restored> {
        if options.verify {
            let into = Into { target: part.target.clone(), clients: self.clients.clone() };
            let (manifest, files) = (part.manifest, part.files);
            let job = RestoreJob { manifest, files, globals: None, options, notice, cancel };
            target::verify(&into, &job, &mut done)?;
        }
        Ok(done)
    }
}

fn accounts(whole: &Whole<'_>, globals: &ServerPart<'_>, options: &Options) -> Result<Grants> {
    if options.no_owner {
        return Ok(Grants::left_out("accounts and grants were not restored: --no-owner"));
    }
    whole.accounts(globals.manifest, globals.files)
}
