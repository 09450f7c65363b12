//! Loading a dump in several sessions at the same time: see [`crate::source::mysql::script::Spread`].

mod limits;
mod marks;
mod shared;
mod state;
mod worker;

use std::{
    collections::BTreeSet,
    io::{self, Write},
    sync::Arc,
    thread::{self, Scope},
    time::Instant,
};

use self::{
    shared::Shared,
    state::{Mark, Number},
    worker::{IDLE, NOTHING, PATIENT, connect, work},
};
use super::{hints, warnings::Warnings};
use crate::{
    error::{Error, Result},
    settings::Secret,
    source::{
        manifest::{Digested, Manifest},
        mysql::{
            code::Code,
            script::{Created, Lanes, Spread},
            session::Session,
        },
        restore::Options,
    },
    stream::{cancel::Cancel, child::into_error, input::ChildInput},
};

pub(super) use self::worker::{Observer, Start};

/// A database with less than this many bytes of rows is loaded in one session, unless a number of sessions is given.
const SMALL: u64 = 8 << 20;
/// The keys of tables with at least this many bytes of rows are added after the rows.
const LARGE: u64 = 1 << 20;
/// Bytes of rows that are passed on at a time.
const CHUNK: usize = 256 * 1024;

/// How a database is loaded in several sessions.
#[derive(Debug)]
pub(super) struct Plan {
    /// Sessions that load rows.
    sessions: usize,
    /// Tables whose keys are added after their rows.
    large: BTreeSet<String>,
}

impl Plan {
    /// Decides by the size of the database and the settings of the server; `None` if one session is to do everything.
    pub(super) fn make(
        session: &Session<'_>,
        manifest: &Manifest,
        options: &Options,
        notice: &dyn Fn(&str),
    ) -> Option<Self> {
        let (table, jobs) = (options.table.as_ref(), options.jobs);
        // A dump that was not understood is passed on as it is.
        if manifest.digested != Digested::Yes {
            return None;
        }
        let chosen =
            || manifest.objects.iter().filter(|object| table.is_none_or(|table| object.name == *table));
        let bytes: u64 = chosen().map(|object| object.bytes).sum();
        // A drill has a number of its own, whatever the size.
        let demanded = !options.scratch && jobs.is_some_and(|jobs| jobs > 1);
        let is_refused = !options.scratch && jobs == Some(1);
        if is_refused || bytes < SMALL && !demanded {
            return None;
        }
        let wanted = limits::wanted(jobs);
        let sessions = match limits::number(session, wanted) {
            limits::Number::Of(number) => number,
            limits::Number::Less(number, reason) => {
                if number == 1 || demanded {
                    notice(&format!("loading rows in {number} instead of {wanted} sessions: {reason}"));
                }
                number
            }
            limits::Number::One(reason) => {
                notice(&format!("loading in one session: {reason}"));
                return None;
            }
        };
        let needed = referenced_by_others(session);
        let large = chosen().filter(|object| object.bytes >= LARGE).map(|object| object.name.clone());
        let large = large.filter(|name| !needed.contains(&name.to_lowercase()));
        Some(Self { sessions, large: large.collect() })
    }
}

/// The tables, in lower case, that foreign keys of other databases refer to: they may need any of their keys from the beginning.
fn referenced_by_others(session: &Session<'_>) -> BTreeSet<String> {
    let query = "SELECT DISTINCT REFERENCED_TABLE_NAME FROM information_schema.KEY_COLUMN_USAGE \
                 WHERE REFERENCED_TABLE_SCHEMA = DATABASE() AND TABLE_SCHEMA <> DATABASE()";
    let found: Vec<[String; 1]> = session.rows(query).unwrap_or_default();
    found.into_iter().map(|[name]| name.to_lowercase()).collect()
}

/// What was loaded.
pub(super) struct Loaded<T> {
    /// The result of the feeding function.
    pub(super) fed: T,
    /// Notes for the operator.
    pub(super) notes: Vec<String>,
}

/// Loads a dump: `feed` writes it as it would to a single session. `None` if no session besides the one of definitions can be
/// used: nothing has been done then.
pub(super) fn load<T>(
    plan: &Plan,
    start: Start<'_>,
    warnings: &Warnings,
    notice: &dyn Fn(&str),
    (cancel, password): (&Cancel, Option<&Secret>),
    feed: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<Option<Loaded<T>>> {
    let shared = &Arc::new(Shared::new(plan.sessions, cancel, password)?);
    let own = warnings.of_session();
    let (main, server) = connect(start, &own, shared).map_err(hints::explain)?;
    let server = &server;
    thread::scope(|scope| {
        let _ending = Ending(shared);
        spawn(scope, plan.sessions, shared, start, warnings, server);
        let (there, missing) = shared.wait_for_sessions()?;
        if let Some(error) = missing {
            let why = error.summary();
            if there == 0 {
                notice(&format!("loading in one session: another one cannot be used: {why}"));
                return Ok(None);
            }
            notice(&format!("loading rows in {there} instead of {} sessions: {why}", plan.sessions));
        }
        let mut crew = Crew::new(main, Arc::clone(shared));
        crew.define(PATIENT).map_err(into_error)?;
        let mut spread = Spread::new(&plan.large, crew);
        let fed = feed(&mut spread);
        let ended = fed.and_then(|fed| {
            let crew = spread.finish().map_err(|error| hints::explain(into_error(error)))?;
            crew.main.finish().map_err(hints::explain)?;
            Ok(fed)
        });
        let fed = ended.map_err(|error| shared.failed().unwrap_or_else(|| in_session(&own, error)))?;
        Ok(Some(Loaded { fed, notes: shared.notes() }))
    })
}

/// Ends the sessions that are still running.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.stop.cancel("the restore has ended");
    }
}

fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    number: usize,
    shared: &'scope Arc<Shared>,
    start: Start<'scope>,
    warnings: &Warnings,
    server: &'scope str,
) {
    // Log events of the threads belong to the caller's span.
    let span = tracing::Span::current();
    for _ in 0..number {
        let (span, warnings) = (span.clone(), warnings.of_session());
        scope.spawn(move || {
            let _span = span.enter();
            work(shared, start, warnings, server);
        });
    }
}

/// An error in the session of definitions.
fn in_session(warnings: &Warnings, error: Error) -> Error {
    let doing = warnings.present();
    let of_server = Code::of(&error).is_some();
    if of_server && !doing.is_empty() { error.context(doing) } else { error }
}

/// The session of definitions, and the way to those that load rows.
struct Crew {
    main: ChildInput,
    shared: Arc<Shared>,
    used: Instant,
    table: Option<(Number, bool)>,
    job: Option<Number>,
    chunk: Vec<u8>,
}

impl Crew {
    fn new(main: ChildInput, shared: Arc<Shared>) -> Self {
        Self { main, shared, used: Instant::now(), table: None, job: None, chunk: Vec::new() }
    }

    /// Passes the collected rows on.
    fn pass_on(&mut self) -> io::Result<()> {
        let Some((table, _)) = self.table.filter(|_| !self.chunk.is_empty()) else { return Ok(()) };
        let job = *self.job.get_or_insert_with(|| self.shared.begin_rows(table));
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        let (main, used) = (&mut self.main, &mut self.used);
        // It may have nothing to do for long while rows flow.
        if used.elapsed() > IDLE {
            look(main, used)?;
        }
        self.shared.add_rows(job, chunk, || look(main, used))
    }

    fn end_job(&mut self) -> io::Result<()> {
        self.pass_on()?;
        if let Some(job) = self.job.take() {
            self.shared.end_rows(job);
        }
        Ok(())
    }
}

/// Reports an error of the session of definitions, and keeps its connection from being idle.
fn look(main: &mut ChildInput, used: &mut Instant) -> io::Result<()> {
    main.check()?;
    if used.elapsed() > IDLE {
        *used = Instant::now();
        main.write_all(NOTHING)?;
    }
    Ok(())
}

impl Lanes for Crew {
    fn define(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.used = Instant::now();
        self.main.write_all(bytes)
    }

    fn head(&mut self, settings: Vec<u8>) -> io::Result<()> {
        self.shared.set_head(settings);
        Ok(())
    }

    fn created(&mut self, table: Created) -> io::Result<()> {
        let number = self.shared.add_table(&table.name);
        let (_, mark) = self.shared.mark(Mark::Created(number));
        self.table = Some((number, table.ordered));
        self.define(&mark)
    }

    fn rows(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() < CHUNK { Ok(()) } else { self.pass_on() }
    }

    fn rows_end(&mut self) -> io::Result<()> {
        match self.table {
            Some((_, false)) => self.end_job(),
            _ => Ok(()),
        }
    }

    fn complete(&mut self, then: Vec<u8>) -> io::Result<()> {
        self.end_job()?;
        if let Some((table, _)) = self.table.take() {
            self.shared.end_table(table, then);
        }
        Ok(())
    }

    fn join(&mut self) -> io::Result<()> {
        let (main, used) = (&mut self.main, &mut self.used);
        self.shared.close(|| look(main, used))
    }
}
