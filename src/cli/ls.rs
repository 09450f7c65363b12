//! `tik-backup ls`

use std::{
    ffi::OsString,
    io::{self, BufWriter, ErrorKind, StdoutLock, Write},
};

use jiff::tz::TimeZone;

use super::{Context, SUCCESS};
use crate::{
    backup::Selector,
    error::{Error, Result},
    output::{name, size, time},
    repository::At,
    restore::{self, ListEntry, ListHeader, ListRequest, Lister},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The item
    #[arg(value_name = "SOURCE/ITEM")]
    item: Selector,
    /// A file, a directory with everything below it, or a pattern: * and ? stop at /, ** does not. Without it everything is listed
    path: Option<OsString>,
    /// Which snapshot: latest, an id, or the newest taken at or before a time
    #[arg(long, value_name = "latest|ID|TIME", default_value = "latest")]
    at: String,
    /// A snapshot of this host; the configured host unless given
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8> {
    let item = args.item.item.clone().ok_or_else(|| {
        Error::usage(format!("`{}` names a source; name one item of it: SOURCE/ITEM", args.item.source))
            .hint(format!("`tik-backup snapshots {}` lists them", args.item.source))
    })?;
    let request = ListRequest {
        source: args.item.source.clone(),
        item,
        at: At::parse(&args.at)?,
        path: args.path.clone(),
    };
    let (config, _) = context.config_of(args.host.as_deref())?;
    let notice = |message: &str| context.printer.notice(message);
    let mut lines = Lines {
        out: BufWriter::new(io::stdout().lock()),
        json: context.printer.is_json(),
        first: true,
        closed: false,
    };
    let listed =
        restore::list(&config, &request, &mut lines, &notice, &context.cancel).and_then(|()| lines.end());
    match listed {
        // The program that reads our output, such as `head`, may stop early.
        Err(_) if lines.closed => Ok(SUCCESS),
        listed => listed.map(|()| SUCCESS),
    }
}

/// Prints line by line; the JSON is one document.
struct Lines {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    /// No entry was listed yet.
    first: bool,
    /// The reader of our output has closed it.
    closed: bool,
}

impl Lines {
    fn print(&mut self, text: &str) -> Result<()> {
        let printed = self.out.write_all(text.as_bytes());
        self.checked(printed)
    }

    fn checked(&mut self, printed: io::Result<()>) -> Result<()> {
        printed.map_err(|error| {
            self.closed |= error.kind() == ErrorKind::BrokenPipe;
            Error::failed("cannot print").because(&error)
        })
    }

    fn end(&mut self) -> Result<()> {
        if self.json {
            self.print(if self.first { "]}\n" } else { "\n]}\n" })?;
        }
        let flushed = self.out.flush();
        self.checked(flushed)
    }
}

impl Lister for Lines {
    fn begin(&mut self, header: &ListHeader) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        let header = json(header)?;
        // The entries are another field of it.
        let open = header.strip_suffix('}').unwrap_or(&header);
        self.print(&format!("{open},\"entries\":["))
    }

    fn entry(&mut self, entry: &ListEntry) -> Result<()> {
        let text = if self.json {
            format!("{}\n{}", if self.first { "" } else { "," }, json(entry)?)
        } else {
            line(entry)
        };
        self.first = false;
        self.print(&text)
    }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::failed("cannot print").because(&e))
}

/// Size, time and name.
fn line(entry: &ListEntry) -> String {
    let length = entry.bytes.map_or_else(|| "-".to_owned(), size);
    let modified = entry.modified.map(|modified| time(&modified.to_zoned(TimeZone::UTC)));
    let mut text = format!("{length:>10}  {:<19}  {}", modified.as_deref().unwrap_or("-"), name(&entry.path));
    match (entry.kind.as_str(), &entry.target) {
        ("directory", _) => text.push('/'),
        ("file" | "block", _) => {}
        ("symlink", Some(target)) => text.push_str(&format!(" -> {}", name(target))),
        (kind, _) => text.push_str(&format!("  ({})", name(kind))),
    }
    if let Some(tier) = &entry.tier {
        text.push_str(&format!("  ({})", name(tier)));
    }
    if let Some(reason) = &entry.missing {
        text.push_str(&format!("  (not in the snapshot: {})", name(reason)));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: &str, bytes: Option<u64>) -> ListEntry {
        ListEntry {
            path: path.to_owned(),
            kind: kind.to_owned(),
            bytes,
            modified: None,
            target: None,
            tier: None,
            missing: None,
        }
    }

    #[test]
    fn names_stay_on_their_line_and_what_is_not_there_says_so() {
        let told = |entry: &ListEntry| line(entry).trim_start().to_owned();
        assert_eq!(
            told(&entry("a\nb\u{1b}[31m", "file", Some(1536))),
            "1.5 KiB  -                    a\\nb\\u{1b}[31m\n"
        );
        assert!(told(&entry("a", "directory", None)).ends_with("  a/\n"));
        let link = ListEntry { target: Some("x y".to_owned()), ..entry("l", "symlink", None) };
        assert!(told(&link).ends_with("  l -> x y\n"));
        assert!(told(&entry("p", "fifo", None)).ends_with("  p  (fifo)\n"));
        let old = ListEntry {
            tier: Some("Archive".to_owned()),
            missing: Some("it was in the archive tier".to_owned()),
            ..entry("old", "block", Some(1))
        };
        assert!(
            told(&old).ends_with("  old  (Archive)  (not in the snapshot: it was in the archive tier)\n")
        );
    }
}
