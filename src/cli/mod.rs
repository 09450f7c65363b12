//! The command line. Each command has a file of its own, which calls the library and prints.

mod accept;
mod alert;
mod backup;
mod check;
mod config;
mod demo;
mod discover;
mod doctor;
mod drill;
mod forget;
mod generate;
mod init;
mod logging;
mod ls;
mod panics;
mod progress;
mod prune;
mod repair;
#[cfg(feature = "dashboard")]
mod report;
mod restore;
mod runbook;
#[cfg(feature = "dashboard")]
mod serve;
mod snapshots;
mod status;
mod systemd;
mod unlock;
mod watch;
mod written;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    config::Config,
    error::{Error, Result},
    known,
    output::Printer,
    stream::cancel::Cancel,
};

/// Backs up every database it finds into a restic repository, and restores it.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 all well, 1 failed, 2 usage or configuration, 3 some items failed and others \
                        succeeded, 4 the repository refused (not mounted, wrong password, no space, locked), 5 `status --check` or \
                        `watch` found something failed, late, partial, suspicious, vanished or unproven."
)]
struct Cli {
    /// Configuration file [default: $TIK_BACKUP_CONFIG, else /etc/tik-backup/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print results as one JSON document
    #[arg(long, global = true)]
    json: bool,
    /// Print more about what is done; twice for details such as tools and requests, three times for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create the repository, or report that it exists or has moved
    Init(init::Args),
    /// Show what a run would protect, and what is excluded by which rule
    Discover(discover::Args),
    /// Back up all sources or the named ones, then apply the retention to what succeeded
    Backup(backup::Args),
    /// List the snapshots in the repository
    Snapshots(snapshots::Args),
    /// List the files of a snapshot by the names that they have in the source
    Ls(ls::Args),
    /// Restore an item: into a database, or as files into a directory
    Restore(restore::Args),
    /// Prove that snapshots can be restored: into scratch servers, with the content compared to the backup
    Drill(drill::Args),
    /// Remove snapshots that are no longer needed, or those with the given ids; lists them first
    Forget(forget::Args),
    /// Check that the repository is sound
    Check(check::Args),
    /// Free the space of removed snapshots
    Prune(prune::Args),
    /// Repair a repository whose index is lost or whose packs are damaged
    #[command(subcommand)]
    Repair(repair::Command),
    /// Remove stale locks, and list the others
    Unlock(unlock::Args),
    /// Show which items are covered, late, failed or suspicious
    Status(status::Args),
    /// Send alerts for failed, late, partial, suspicious or unproven items; for a timer, also on a host with only the repository
    Watch(watch::Args),
    /// Accept a suspicious change, so that retention goes on, or accept that backups lack unreadable objects
    Accept(accept::Args),
    /// Send a test alert, or report that a systemd unit has failed
    #[command(subcommand)]
    Alert(alert::Command),
    /// Check the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Check everything that the first run needs, as the services will find it: files, storage, sources, alerts, timers
    Doctor(doctor::Args),
    /// Serve the dashboard as web pages, with metrics and JSON for programs
    #[cfg(feature = "dashboard")]
    Serve(serve::Args),
    /// Write the overview as a file
    #[cfg(feature = "dashboard")]
    Report(report::Args),
    /// Write the recovery runbook of this installation
    Runbook(runbook::Args),
    /// Write the systemd units and timers
    Systemd(systemd::Args),
    /// Write manual pages and completions for shells, for packages
    #[command(hide = true)]
    Generate(generate::Args),
    /// Demonstrate backup, drill and restore on throwaway servers
    Demo(demo::Args),
}

/// The context of a command.
struct Context {
    config: Option<PathBuf>,
    printer: Printer,
    cancel: Cancel,
}

impl Context {
    fn config(&self) -> Result<Config> {
        Config::load(self.config.as_deref())
    }

    /// With `--json`, prints the path of a result that is not JSON itself.
    fn written(&self, path: &Path) -> Result<()> {
        if !self.printer.is_json() {
            return Ok(());
        }
        let document = serde_json::json!({"written": path});
        self.printer.result(&document, String::new)
    }

    /// The configuration as if `host` were its host, if one is named, and whether that is another than it has. Only for
    /// reading: history and alerts are always of the configured host.
    fn config_of(&self, host: Option<&str>) -> Result<(Config, bool)> {
        let mut config = self.config()?;
        let Some(host) = host else { return Ok((config, false)) };
        let host = known::unescaped(host);
        if host.is_empty() {
            return Err(Error::usage("--host is empty: it needs the name of a host")
                .hint("`tik-backup snapshots --all-hosts` shows the hosts of the repository"));
        }
        let foreign = host != config.repository.host;
        let own = std::mem::replace(&mut config.repository.host, host);
        config.own_host = foreign.then_some(own);
        Ok((config, foreign))
    }
}

/// Exit code of a command that succeeded.
const SUCCESS: u8 = 0;
/// Exit code of a check that found something late, failed, suspicious or unproven.
const FOUND: u8 = 5;

/// After this time without an answer of the storage, a signal ends the program.
const HANGS: std::time::Duration = std::time::Duration::from_secs(20);

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are not errors. A failure to print cannot be reported.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    panics::quiet(cli.verbose > 0);
    logging::show(cli.verbose);
    let context = Context {
        config: cli.config,
        printer: Printer::new(cli.json, cli.verbose > 0),
        cancel: Cancel::of_the_program(),
    };
    let code =
        handle_signals(&context).and_then(|()| dispatch(cli.command, &context)).unwrap_or_else(|error| {
            let error = context.cancel.explain(error);
            context.printer.error(&error);
            error.code()
        });
    crate::repository::end_sessions();
    // Threads that wait for the storage end with the process.
    ExitCode::from(code)
}

fn dispatch(command: Command, context: &Context) -> Result<u8> {
    match command {
        Command::Init(args) => init::run(context, &args),
        Command::Discover(args) => discover::run(context, &args),
        Command::Backup(args) => backup::run(context, &args),
        Command::Snapshots(args) => snapshots::run(context, &args),
        Command::Ls(args) => ls::run(context, &args),
        Command::Restore(args) => restore::run(context, &args),
        Command::Drill(args) => drill::run(context, &args),
        Command::Forget(args) => forget::run(context, &args),
        Command::Check(args) => check::run(context, &args),
        Command::Prune(args) => prune::run(context, &args),
        Command::Repair(command) => repair::run(context, &command),
        Command::Unlock(args) => unlock::run(context, &args),
        Command::Status(args) => status::run(context, &args),
        Command::Watch(args) => watch::run(context, &args),
        Command::Accept(args) => accept::run(context, &args),
        Command::Alert(command) => alert::run(context, &command),
        Command::Config(command) => config::run(context, &command),
        Command::Doctor(args) => doctor::run(context, &args),
        #[cfg(feature = "dashboard")]
        Command::Serve(args) => serve::run(context, &args),
        #[cfg(feature = "dashboard")]
        Command::Report(args) => report::run(context, &args),
        Command::Runbook(args) => runbook::run(context, &args),
        Command::Systemd(args) => systemd::run(context, &args),
        Command::Generate(args) => generate::run(&args),
        Command::Demo(args) => demo::run(context, &args),
    }
}

/// A hanging call on a mounted storage cannot be cancelled. After a signal, the process exits without
/// waiting for it; the next run reports that this one was interrupted.
#[allow(clippy::exit)] // nothing else ends a process whose thread hangs in the kernel
fn leave_what_hangs(cancel: &Cancel, printer: Printer) {
    let signalled = std::time::Instant::now();
    loop {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let hangs = crate::repository::waited().is_some_and(|waited| waited >= HANGS);
        if hangs && signalled.elapsed() >= HANGS {
            let error = Error::repository("the storage does not answer")
                .hint("check the storage, its mount and the network; everything committed so far is intact");
            let error = cancel.explain(error);
            printer.error(&error);
            std::process::exit(i32::from(error.code()));
        }
    }
}

/// SIGINT and SIGTERM end a run cleanly: children are stopped, locks removed. A second signal ends the program at once.
/// SIGHUP is ignored: restic sends it to check whether the owner of a lock is alive.
fn handle_signals(context: &Context) -> Result<()> {
    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGTERM},
        iterator::Signals,
    };
    let failed = |e: std::io::Error| Error::failed("cannot handle signals").because(&e);
    let again = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Armed by the first signal, this ends the program at the second.
        signal_hook::flag::register_conditional_shutdown(signal, 1, again.clone()).map_err(failed)?;
        signal_hook::flag::register(signal, again.clone()).map_err(failed)?;
    }
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(failed)?;
    let (cancel, printer) = (context.cancel.clone(), context.printer);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                match signal {
                    SIGINT => cancel.cancel("interrupted (SIGINT)"),
                    SIGTERM => cancel.cancel("terminated (SIGTERM)"),
                    _ => continue,
                }
                let cancel = cancel.clone();
                // Without it only the second signal ends a hanging call.
                let _ = std::thread::Builder::new()
                    .name("ending".to_owned())
                    .spawn(move || leave_what_hangs(&cancel, printer));
            }
        })
        .map_err(failed)?;
    Ok(())
}
