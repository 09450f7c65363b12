//! `tik-backup restore`

use std::{ffi::OsString, path::PathBuf};

use super::{Context, SUCCESS, written};
use crate::{
    backup::Selector,
    error::{Error, Result},
    output::{count, duration, name, printable, size, time},
    repository::At,
    restore::{
        self, Destination, Options, Report, Request, Restored, ServerItem, ServerReport, ServerRequest,
        Storage,
    },
    source::manifest::Omitted,
};

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("destination").required(true).args(["into", "to"])))]
pub(super) struct Args {
    /// What to restore: one item; with --all a source, or SOURCE/SERVER of a source that has several
    #[arg(value_name = "SOURCE[/ITEM]")]
    item: Selector,
    /// Restore all databases of the source and its accounts into the server that --into names without a database (MySQL,
    /// MariaDB): first the tables of all databases, then their views
    #[arg(long, conflicts_with_all = ["to", "table", "path"])]
    all: bool,
    /// Restore into this database: postgresql://user@host/database, mysql://…, mongodb://…, or a name on the source's own
    /// server; or into this container or share: its https:// URL, ACCOUNT/CONTAINER or ACCOUNT/share:NAME. It is created if
    /// it does not exist, and must be empty otherwise
    #[arg(long, value_name = "URL|NAME")]
    into: Option<String>,
    /// Write the files into this new directory: the dump for the database's own tools, or the content of a directory, container
    /// or share
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Which snapshot: latest, an id, or the newest taken at or before a time
    #[arg(long, value_name = "latest|ID|TIME", default_value = "latest")]
    at: String,
    /// A snapshot of this host; the configured host unless given
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Restore only this table or collection
    #[arg(long, value_name = "[SCHEMA.]NAME", conflicts_with = "to")]
    table: Option<String>,
    /// Restore only this file, this directory with everything below it, or all matches of a pattern: of directories, containers and file
    /// shares. Names are those in the source; * and ? stop at /, ** does not. May be given several times
    #[arg(long, value_name = "PATTERN", conflicts_with = "table")]
    path: Vec<OsString>,
    /// File with the password of the account in --into; of a container or share a key or shared access signature
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    password_file: Option<PathBuf>,
    /// The connecting account owns everything: no owners, no definers
    #[arg(long, conflicts_with = "to")]
    no_owner: bool,
    /// Do not restore privileges (GRANT)
    #[arg(long, conflicts_with = "to")]
    no_privileges: bool,
    /// Everything goes to the default tablespace; of MySQL and MariaDB also without DATA DIRECTORY and INDEX DIRECTORY
    #[arg(long, conflicts_with = "to")]
    no_tablespaces: bool,
    /// Do not create missing roles
    #[arg(long, conflicts_with = "to")]
    no_roles: bool,
    /// Leave out objects that only a superuser can restore, and list them
    #[arg(long, conflicts_with = "to")]
    skip_superuser_objects: bool,
    /// Replace blobs and files that have the same name in the target container or share; others stay
    #[arg(long, conflicts_with = "to")]
    overwrite: bool,
    /// Continue after errors: restore everything that can be restored, and write the statements of missing objects into a file
    /// (PostgreSQL; exit code 3 if something is missing)
    #[arg(long = "continue", conflicts_with = "to")]
    keep_going: bool,
    /// Connections that load rows at the same time; without it as many as this machine has processors, up to four; 1 for one
    /// after the other (PostgreSQL, MySQL, MariaDB)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16), conflicts_with = "to")]
    jobs: Option<u16>,
    /// Also restore setuid and setgid bits, capabilities and devices, as root into a directory; only if you trust everyone who
    /// could write to the backed-up files
    #[arg(long, requires = "to")]
    with_setuid_and_devices: bool,
    /// Afterwards read everything back and compare the contents with the backup, not only the number of rows
    #[arg(long)]
    verify: bool,
}

/// Exit code of an incomplete restore.
const INCOMPLETE: u8 = 3;
/// Exit code of a restore that restored nothing.
const FAILED: u8 = 1;

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    // An empty variable of a script must not select everything.
    if args.path.iter().any(|path| path.is_empty()) {
        return Err(Error::usage("--path is empty")
            .hint("name a file, a directory or a pattern; leave --path out to restore everything"));
    }
    if args.all {
        return server(context, args);
    }
    let item = args.item.item.clone().ok_or_else(|| {
        Error::usage(format!("`{}` names a source; name one item of it: SOURCE/ITEM", args.item.source)).hint(
            format!(
                "`tik-backup snapshots {}` lists them; --all restores all of a MySQL or MariaDB server",
                args.item.source
            ),
        )
    })?;
    let destination = match (&args.into, &args.to) {
        (Some(into), _) => Destination::Database(into.clone()),
        (None, Some(folder)) => Destination::Folder(folder.clone()),
        (None, None) => return Err(Error::usage("name a destination: --into or --to")),
    };
    let request = Request {
        source: args.item.source.clone(),
        item,
        at: At::parse(&args.at)?,
        destination,
        password_file: args.password_file.clone(),
        options: options(args),
    };
    let (config, _) = context.config_of(args.host.as_deref())?;
    let report =
        restore::run(&config, &request, &|message| context.printer.notice(message), &context.cancel)?;
    context.printer.result(&report, || text(&report))?;
    let lacks = |database: &Restored| {
        !database.missing.is_empty() || !database.differences.is_empty() || is_warned(database)
    };
    let incomplete = report.database.as_ref().is_some_and(lacks);
    Ok(match &report.storage {
        Some(storage) if storage.failed_count > 0 && storage.files == 0 && storage.directories == 0 => FAILED,
        Some(storage) if storage.failed_count > 0 => INCOMPLETE,
        _ if incomplete => INCOMPLETE,
        _ => SUCCESS,
    })
}

fn options(args: &Args) -> Options {
    Options {
        table: args.table.clone(),
        paths: args.path.clone(),
        no_owner: args.no_owner,
        no_privileges: args.no_privileges,
        no_tablespaces: args.no_tablespaces,
        no_roles: args.no_roles,
        skip_superuser: args.skip_superuser_objects,
        overwrite: args.overwrite,
        definitions: false,
        keep_going: args.keep_going,
        verify: args.verify,
        jobs: args.jobs.map(usize::from),
        uncounted: false,
        privileged: args.with_setuid_and_devices,
        scratch: false,
    }
}

/// Restores a whole server.
fn server(context: &Context, args: &Args) -> Result<u8> {
    let request = ServerRequest {
        source: args.item.source.clone(),
        server: args.item.item.clone(),
        at: At::parse(&args.at)?,
        into: args.into.clone().unwrap_or_default(),
        password_file: args.password_file.clone(),
        options: options(args),
    };
    let (config, _) = context.config_of(args.host.as_deref())?;
    let report =
        restore::run_server(&config, &request, &|message| context.printer.notice(message), &context.cancel)?;
    context.printer.result(&report, || server_text(&report))?;
    Ok(match report.outcome {
        "ok" => SUCCESS,
        "partial" => INCOMPLETE,
        _ => FAILED,
    })
}

fn server_text(report: &ServerReport) -> String {
    let restored = report.items.iter().filter(|item| item.whole).count();
    let mut text = String::new();
    for item in &report.items {
        text.push_str(&item_text(&report.source, item));
        text.push('\n');
    }
    text.push_str(&format!(
        "{restored} of {} restored with all that the snapshots hold, {}",
        crate::output::count(report.items.len(), "item"),
        duration(report.seconds)
    ));
    text
}

fn item_text(source: &str, item: &ServerItem) -> String {
    let what = name(&format!("{source}/{}", item.item));
    let from = match (&item.snapshot, &item.time) {
        (Some(snapshot), Some(of)) => format!(" from snapshot {} of {}", &snapshot[..8], time(of)),
        _ => String::new(),
    };
    let mut text = match (&item.error, &item.database) {
        (Some(error), _) => format!("{what}: NOT RESTORED{from}: {}", printable(error).replace('\n', "\n  ")),
        (None, Some(database)) => {
            let mut text = format!(
                "restored {what} into the {}database {}{from}: {}\n{}{}{}",
                if database.created { "new " } else { "" },
                name(&database.database),
                size(database.bytes),
                counted(database),
                missing(database),
                different(database),
            );
            database.notes.iter().for_each(|note| text.push_str(&format!("\nnote: {note}")));
            text
        }
        (None, None) if item.whole => format!("accounts of {what}{from}"),
        (None, None) => format!("NOT ALL accounts of {what} were restored{from}"),
    };
    let notes = item.notes.iter().cloned().chain(Omitted::notes(&item.omitted));
    notes.for_each(|note| text.push_str(&format!("\nnote: {}", printable(&note))));
    text
}

fn text(report: &Report) -> String {
    let what = name(&format!("{}/{}", report.source, report.item));
    let from = format!("snapshot {} of {}", &report.snapshot[..8], time(&report.time));
    let mut text = match (&report.database, &report.storage) {
        (Some(database), _) => restored(database, &what, &from, report.seconds),
        (None, Some(storage)) => stored(storage, &what, &from, report.seconds),
        (None, None) => written::text(report, &what, &from),
    };
    for note in Omitted::notes(&report.omitted) {
        text.push_str(&format!("\nnote: {note}"));
    }
    text
}

fn restored(database: &Restored, what: &str, from: &str, seconds: f64) -> String {
    let mut text = format!(
        "restored {what} into the {}database {} from {from}: {}, {}\n{}",
        if database.created { "new " } else { "" },
        name(&database.database),
        size(database.bytes),
        duration(seconds),
        counted(database),
    );
    if !database.roles_created.is_empty() {
        text.push_str(&format!(
            "\nroles created without login: {}",
            name(&database.roles_created.join(", "))
        ));
    }
    text.push_str(&missing(database));
    text.push_str(&different(database));
    text.push_str(&warned(database));
    for note in &database.notes {
        text.push_str(&format!("\nnote: {note}"));
    }
    text
}

fn stored(storage: &Storage, what: &str, from: &str, seconds: f64) -> String {
    let mut text = format!(
        "restored {what} into {}{} from {from}: {}, {}, {}",
        if storage.created { "the new " } else { "" },
        name(&storage.into),
        crate::output::count(storage.files, "file"),
        size(storage.bytes),
        duration(seconds)
    );
    text.push_str(&refused(storage));
    storage.notes.iter().for_each(|note| text.push_str(&format!("\nnote: {note}")));
    text
}

/// The first blobs or files that could not be written.
fn refused(storage: &Storage) -> String {
    const FEW: usize = 20;
    let mut text = String::new();
    for failed in storage.failed.iter().take(FEW) {
        let what = format!("{} {}: {}", failed.kind, failed.name, failed.reason);
        text.push_str(&format!("\nNOT RESTORED: {}", name(&what)));
    }
    let more = storage.failed_count.saturating_sub(FEW as u64);
    if more > 0 {
        text.push_str(&format!("\nNOT RESTORED: {more} more; `failed` of --json names the first thousand"));
    }
    text
}

/// The first objects that are missing after a restore, and the file with all of them.
fn missing(database: &Restored) -> String {
    const FEW: usize = 20;
    if database.missing.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\nMISSING: {} of the dump could not be restored",
        crate::output::count(database.missing.len(), "entry")
    );
    if let Some(file) = &database.missing_file {
        text.push_str(&format!("; the statements are in {}", file.display()));
    }
    for missing in database.missing.iter().take(FEW) {
        let dot = if missing.schema.is_empty() { "" } else { "." };
        let colon = if missing.reason.is_empty() { "" } else { ": " };
        let what = format!("{} {}{dot}{}", missing.kind, missing.schema, missing.name);
        text.push_str(&format!("\n  {}{colon}{}", name(&what), name(&missing.reason)));
    }
    let more = database.missing.len().saturating_sub(FEW);
    if more > 0 {
        text.push_str(&format!("\n  and {more} more"));
    }
    text
}

/// The first differences after a restore with `--continue --verify`.
fn different(database: &Restored) -> String {
    const FEW: usize = 20;
    if database.differences.is_empty() {
        return String::new();
    }
    let mut text = "\nDIFFERENT from the backup; do not use it before you have looked at each:".to_owned();
    for difference in database.differences.iter().take(FEW) {
        text.push_str(&format!("\n  {}", name(difference)));
    }
    let more = database.differences.len().saturating_sub(FEW);
    if more > 0 {
        text.push_str(&format!("\n  and {more} more"));
    }
    text
}

/// Whether warnings of the server are a problem: not if everything was read back and is equal.
fn is_warned(database: &Restored) -> bool {
    !database.warnings.is_empty() && !database.compared
}

/// Warnings of the server while loading.
fn warned(database: &Restored) -> String {
    if database.warnings.is_empty() {
        return String::new();
    }
    let mut text = if is_warned(database) {
        "\nWARNINGS of the server while it loaded the dump: what it stored may not be what was backed up. Restore with \
         --verify to compare everything:"
            .to_owned()
    } else {
        "\nnote: the server warned while it loaded the dump, and yet the contents are equal:".to_owned()
    };
    for warning in &database.warnings {
        text.push_str(&format!("\n  {}", name(warning)));
    }
    text
}

/// The counted rows; a dump may also have no tables to count.
fn counted(database: &Restored) -> String {
    if database.tables == 0 {
        return if database.compared {
            "contents compared and equal".to_owned()
        } else {
            "no table was counted".to_owned()
        };
    }
    let (row, table) = if database.collections { ("document", "collection") } else { ("row", "table") };
    let contents = if database.compared { "contents compared and equal" } else { "as many as in the backup" };
    let all = database.missing.is_empty() && database.differences.is_empty();
    // For MongoDB only indexes may be missing.
    let contents = if all || database.collections { contents } else { "the others are listed below" };
    format!("{} counted in {}, {contents}", count(database.rows, row), count(database.tables, table))
}
