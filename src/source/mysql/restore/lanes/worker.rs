//! A session that loads rows and then adds keys.

use std::{
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::{hints, warnings::Warnings},
    shared::Shared,
    state::{Mark, Number, Rows, Task},
};
use crate::{
    error::{Error, Result, Stopped},
    source::mysql::{code, code::Code, script::announce},
    stream::{cancel::Cancel, child::into_error, input::ChildInput},
};

/// A connection without a statement for this long is used, because networks and servers close idle ones.
pub(super) const IDLE: Duration = Duration::from_secs(30);
/// The statement for that.
pub(super) const NOTHING: &[u8] = b"DO 0;\n";
/// Settings of a session that may wait for others: for the next statement, for a lock on the counter of a table, and for keys
/// that are added by one long statement.
pub(super) const PATIENT: &[u8] =
    b"SET SESSION wait_timeout = 31536000, innodb_lock_wait_timeout = 86400, lock_wait_timeout = 31536000;\n\
      /*M!100101 SET SESSION max_statement_time = 0 */;\n";
/// Errors of a server without room for the files in which it sorts keys: they cannot be created, written (1, 3, 1026, 1878), or
/// the disk is full (1021, 1114), or the engine does not say why (1030).
const NO_ROOM: [u32; 7] = [1, 3, 1021, 1026, 1030, 1114, 1878];
/// Errors of a server or account with too many connections.
const TOO_MANY: [u32; 3] = [1040, 1203, 1226];
/// How often a connection is tried then, and the time between two tries.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// Takes the lines that a client prints.
pub(in super::super) type Observer = Box<dyn Fn(&str) + Send + Sync>;

/// Starts a client, which ends with the stop flag.
pub(in super::super) type Start<'a> = &'a (dyn Fn(&Cancel, Observer) -> Result<ChildInput> + Sync);

/// Starts a client for a session.
fn open(start: Start<'_>, warnings: &Warnings, shared: &Arc<Shared>) -> Result<ChildInput> {
    let (warnings, marks) = (warnings.clone(), Arc::clone(shared));
    let observe = move |line: &str| {
        if !marks.line(line) {
            warnings.line(line);
        }
    };
    start(&shared.stop, Box::new(observe))
}

/// A session that loads rows.
pub(super) struct Worker<'a> {
    shared: Arc<Shared>,
    start: Start<'a>,
    warnings: Warnings,
    /// The server that it must be connected to.
    server: &'a str,
    input: ChildInput,
    headed: bool,
    announced: Option<Number>,
    /// Jobs with rows of the table announced that were passed on without a mark.
    unmarked: u64,
    used: Instant,
}

/// Connects a session, and runs what is to be run until there is nothing more.
pub(super) fn work(shared: &Arc<Shared>, start: Start<'_>, warnings: Warnings, server: &str) {
    let _guard = Guard(shared);
    let mut worker = match Worker::connect(shared, start, warnings, server) {
        Ok(worker) => worker,
        Err(error) => return shared.unusable(error),
    };
    shared.connected();
    let done = worker.run();
    let Worker { input, warnings, .. } = worker;
    if let Err(error) = done.and_then(|()| input.finish().map(drop)) {
        // Only now all statements have been run.
        let doing = warnings.present();
        let error = hints::explain(error);
        let stopped = error.is::<Stopped>();
        shared.fail(if doing.is_empty() || stopped { error } else { error.context(doing) });
    }
    shared.ended();
}

/// Reports the panic of a thread as an error, so that no other thread waits for it.
struct Guard<'a>(&'a Shared);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::failed("a part of the restore ended unexpectedly"));
        }
    }
}

impl<'a> Worker<'a> {
    fn connect(shared: &Arc<Shared>, start: Start<'a>, warnings: Warnings, server: &'a str) -> Result<Self> {
        let (input, found) = connect(start, &warnings, shared)?;
        if found != server {
            return Err(Error::failed(
                "the address leads to several servers, and a table that one has created may not exist on the other yet",
            ));
        }
        let shared = Arc::clone(shared);
        let used = Instant::now();
        Ok(Self { shared, start, warnings, server, input, headed: false, announced: None, unmarked: 0, used })
    }

    fn run(&mut self) -> Result<()> {
        loop {
            let unmarked = self.announced.filter(|_| self.unmarked > 0);
            let done = match self.shared.next(unmarked).map_err(into_error)? {
                Task::Mark => self.mark(),
                Task::Rows(rows) => self.rows(&rows),
                Task::Then { table, name, text } => {
                    self.complete(table, &name, &text)?;
                    Ok(())
                }
                Task::Nothing => self.look(),
                Task::End => return Ok(()),
            };
            done.map_err(into_error)?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.used = Instant::now();
        self.input.write_all(bytes)
    }

    /// Reports an error of the client, and keeps the connection from being idle.
    fn look(&mut self) -> io::Result<()> {
        self.input.check()?;
        if self.used.elapsed() > IDLE {
            self.write(NOTHING)?;
        }
        Ok(())
    }

    fn begin(&mut self, table: Number, name: &str) -> io::Result<()> {
        if !std::mem::replace(&mut self.headed, true) {
            self.write(PATIENT)?;
            let head = self.shared.head();
            self.write(&head)?;
        }
        if self.announced != Some(table) {
            self.announced = Some(table);
            self.write(&announce(&format!("table {name}")))?;
        }
        Ok(())
    }

    fn mark(&mut self) -> io::Result<()> {
        let jobs = std::mem::take(&mut self.unmarked);
        let Some(table) = self.announced else { return Ok(()) };
        let (_, text) = self.shared.mark(Mark::Loaded(table, jobs));
        self.write(&text)
    }

    fn rows(&mut self, rows: &Rows) -> io::Result<()> {
        self.begin(rows.table, &rows.name)?;
        while let Some(pieces) = self.shared.take_rows(rows.job)? {
            if pieces.is_empty() {
                self.input.check()?;
            }
            for piece in pieces {
                self.write(&piece)?;
            }
        }
        self.unmarked += 1;
        if rows.awaited { self.mark() } else { Ok(()) }
    }

    /// Runs the statements behind the rows of a table. If the server has no room to sort keys, it copies the table with them.
    fn complete(&mut self, table: Number, name: &str, text: &[u8]) -> Result<()> {
        let Err(error) = self.run_and_wait(table, name, text, b"") else { return Ok(()) };
        let no_room = Code::of(&error).is_some_and(|code| code.is_full()) || code::is_any(&error, &NO_ROOM);
        if !no_room || self.shared.check().is_err() {
            return Err(error);
        }
        let (start, server) = (self.start, self.server);
        *self = Self::connect(&self.shared, start, self.warnings.clone(), server)?;
        self.run_and_wait(table, name, text, b", ALGORITHM=COPY")?;
        let said = code::client_line(&error).unwrap_or_default();
        self.shared.add_note(format!(
            "the keys of the table {name} were built by copying it, because the server had no room to sort them: {said}"
        ));
        Ok(())
    }

    fn run_and_wait(&mut self, table: Number, name: &str, text: &[u8], how: &[u8]) -> Result<()> {
        self.begin(table, name).map_err(into_error)?;
        let (number, mark) = self.shared.mark(Mark::Complete(table));
        self.write(&[text, how, b";\n", &mark].concat()).map_err(into_error)?;
        while !self.shared.wait_for_mark(number) {
            self.shared.check().map_err(into_error)?;
            self.input.check().map_err(into_error)?;
        }
        Ok(())
    }
}

/// Starts a client and waits until it is connected. Returns it with the server that it reached.
pub(super) fn connect(
    start: Start<'_>,
    warnings: &Warnings,
    shared: &Arc<Shared>,
) -> Result<(ChildInput, String)> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let mut input = open(start, warnings, shared)?;
        match connected(&mut input, shared) {
            Ok(server) => return Ok((input, server)),
            Err(error) if tries == 0 || !code::is_any(&error, &TOO_MANY) => return Err(error),
            // Servers count a connection until they have noticed its end.
            Err(_) => {
                shared.stop.wait(PAUSE);
            }
        }
    }
}

fn connected(input: &mut ChildInput, shared: &Shared) -> Result<String> {
    let (number, mark) = shared.mark(Mark::Connected);
    input.write_all(&mark).map_err(into_error)?;
    while !shared.wait_for_mark(number) {
        shared.check().map_err(into_error)?;
        input.check().map_err(into_error)?;
    }
    Ok(shared.server(number).unwrap_or_default())
}
