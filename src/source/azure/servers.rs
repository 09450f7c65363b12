//! `azure = true`: every flexible server of a kind that Resource Manager lists, each backed up by the source of its kind. Items
//! carry the server's name before their own: `SERVER/DATABASE`.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};

use super::{client, subscriptions};
use crate::{
    azure::{Azure, Engine, FlexibleServer},
    error::{Error, Problem, Result},
    settings::{self, Patterns},
    source::{Discovery, Excluded, Item, Source, manifest::Manifest, name::ItemName, server::ServerConfig},
    stream::{cancel::Cancel, sink::Sink},
    workers,
};

/// The number of servers that are queried in parallel.
const PARALLEL: usize = 8;
/// States in which a server does not answer.
const DOWN: [&str; 4] = ["stopped", "stopping", "disabled", "dropping"];

/// Makes the source for a server: its name for messages and its host.
pub(crate) type Open = Box<dyn Fn(&str, &str) -> Result<Box<dyn Source>> + Send + Sync>;

/// All flexible servers of a kind.
pub struct AzureServers {
    name: String,
    engine: Engine,
    azure: Azure,
    exclude: Patterns,
    open: Open,
    servers: Mutex<BTreeMap<String, Arc<dyn Source>>>,
}

impl AzureServers {
    /// A source as configured; `open` makes the source for one server. Reads the files of the service principal.
    pub(crate) fn new(
        name: &str,
        engine: Engine,
        config: &settings::AzureServers,
        open: Open,
    ) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            engine,
            azure: client(&config.principal)?,
            exclude: config.exclude_servers.clone(),
            open,
            servers: Mutex::default(),
        })
    }

    fn servers(&self) -> MutexGuard<'_, BTreeMap<String, Arc<dyn Source>>> {
        self.servers.lock()
    }

    /// The source of an item's server, and the item with its name in that source.
    fn inner(&self, item: &Item) -> Result<(Arc<dyn Source>, Item)> {
        let (server, name) = item
            .name
            .split_once('/')
            .ok_or_else(|| Error::failed(format!("{} is not SERVER/DATABASE", item.name)))?;
        let source = self.servers().get(server).cloned();
        let source = source.ok_or_else(|| Error::failed(format!("the server {server} was not found")))?;
        Ok((source, Item { name: name.to_owned(), ..item.clone() }))
    }

    fn ask(&self, server: &FlexibleServer, cancel: &Cancel) -> Discovery {
        let mut found = Discovery::default();
        let problem =
            |problem: Problem| Item { name: server.name.clone(), estimate: None, problem: Some(problem) };
        if DOWN.contains(&server.state.to_ascii_lowercase().as_str()) {
            found.items.push(problem(
                Problem::new(format!("the server's state is {}: NOT protected", server.state))
                    .hint("start it for the backup, or exclude it with exclude_servers"),
            ));
            return found;
        }
        let asked = (self.open)(&format!("{}/{}", self.name, server.name), &server.host)
            .and_then(|source| Ok((source.discover(cancel)?, source)));
        match asked {
            Ok((inner, source)) => {
                let whole = |name: String| format!("{}/{name}", server.name);
                found.items.extend(inner.problem.map(problem));
                let items = inner.items.into_iter();
                found.items.extend(items.map(|item| Item { name: whole(item.name), ..item }));
                let excluded = inner.excluded.into_iter();
                found.excluded.extend(excluded.map(|e| Excluded { name: whole(e.name), rule: e.rule }));
                self.servers().insert(server.name.clone(), Arc::from(source));
            }
            Err(error) => found.items.push(problem(Problem::from(error))),
        }
        found
    }
}

/// All servers of a kind in all subscriptions, and the problems of subscriptions that could not be queried. If there
/// are neither, it is an error: most likely a permission is missing.
fn list(azure: &Azure, engine: Engine, cancel: &Cancel) -> Result<(Discovery, Vec<FlexibleServer>)> {
    let (mut found, mut servers) = (Discovery::default(), Vec::new());
    let listed = subscriptions::list(azure, cancel, &|subscription| {
        azure.flexible_servers(engine, subscription, cancel)
    })?;
    let count = listed.len();
    for subscription in listed {
        servers.extend(subscription.take("database servers", &mut found));
    }
    if servers.is_empty() && found.items.is_empty() {
        return Err(Error::failed(format!(
            "the service principal sees no flexible server of this kind in {count} subscriptions"
        ))
        .hint("give it the role Reader on the subscriptions or on the servers"));
    }
    Ok((found, servers))
}

/// The server of an item, by name; a server found through Resource Manager has its host set.
pub(in crate::source) fn found(
    server: &ServerConfig,
    engine: Engine,
    item: &str,
    cancel: &Cancel,
) -> Result<ServerConfig> {
    let mut server = server.clone();
    if let Some(azure) = server.azure.take() {
        // Without a slash the name is that of the server.
        let item = ItemName::parse(item, true);
        let name = item.server.unwrap_or(item.name);
        server.host = settings::Host::Tcp(server_host(&azure, engine, name, cancel)?);
    }
    Ok(server)
}

/// The host of the server of this name.
fn server_host(
    config: &settings::AzureServers,
    engine: Engine,
    server: &str,
    cancel: &Cancel,
) -> Result<String> {
    let azure = client(&config.principal)?;
    let found = subscriptions::find(
        &azure,
        cancel,
        &|subscription| azure.flexible_servers(engine, subscription, cancel),
        &|found: &FlexibleServer| found.name == server,
    )?;
    found.map(|found| found.host).ok_or_else(|| {
        Error::failed(format!("the service principal sees no flexible server {server}"))
            .hint("write a URL with another server's host: --into SCHEME://USER@HOST/DATABASE")
    })
}

impl Source for AzureServers {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        match self.engine {
            Engine::Postgres => "postgres",
            Engine::Mysql => "mysql",
        }
    }

    fn discover(&self, cancel: &Cancel) -> Result<Discovery> {
        let mut wanted = Vec::new();
        let (mut found, servers) = list(&self.azure, self.engine, cancel)?;
        for server in servers {
            found.answered.push(server.name.clone());
            match self.exclude.matched(&server.name) {
                Some(pattern) => {
                    let rule = format!("exclude_servers = \"{pattern}\"");
                    found.excluded.push(Excluded { name: server.name, rule });
                }
                None => wanted.push(server),
            }
        }
        let asked = workers::map(&wanted, PARALLEL, |server| self.ask(server, cancel));
        cancel.check()?;
        for part in asked {
            found.items.extend(part.items);
            found.excluded.extend(part.excluded);
        }
        found.items.sort_by(|a, b| a.name.cmp(&b.name));
        found.excluded.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn dump(&self, item: &Item, sink: &dyn Sink, cancel: &Cancel) -> Result<Manifest> {
        let (source, inner) = self.inner(item)?;
        let mut manifest = source.dump(&inner, sink, cancel)?;
        manifest.source.clone_from(&self.name);
        manifest.item.clone_from(&item.name);
        Ok(manifest)
    }

    fn is_gone(&self, item: &Item, cancel: &Cancel) -> bool {
        self.inner(item).is_ok_and(|(source, inner)| source.is_gone(&inner, cancel))
    }

    fn try_again(&self, item: &Item) -> bool {
        self.inner(item).is_ok_and(|(source, inner)| source.try_again(&inner))
    }
}
