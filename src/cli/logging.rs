//! The log on stderr: events of this crate. Each further `-v` shows more of them.
//!
//! Fields of events are names, numbers and texts that operators see anyway, never values of the configuration. Messages of
//! libraries are different: their debug messages may contain signatures and tokens, so only levels up to information are shown,
//! and secrets in addresses are removed.

use std::fmt;

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use crate::output::{
    lines::{self, Priority},
    name,
};

/// The target of events of this crate.
const OWN: &str = env!("CARGO_CRATE_NAME");

/// Shows events according to the number of `-v` options. Without any, no subscriber is installed.
pub(super) fn show(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => Level::INFO,
        2 => Level::DEBUG,
        _ => Level::TRACE,
    };
    let shown = tracing::subscriber::set_global_default(Registry::default().with(Lines { level }));
    // Some libraries write records of `log` instead of events.
    if shown.is_ok() && level == Level::TRACE {
        crate::repository::hear_libraries(library);
    }
}

/// Shows events up to a level.
struct Lines {
    level: Level,
}

impl Lines {
    fn shows(&self, metadata: &Metadata<'_>) -> bool {
        if is_own(metadata.target()) {
            return *metadata.level() <= self.level;
        }
        self.level == Level::TRACE && *metadata.level() <= Level::INFO
    }
}

/// The source or item of a span.
struct About(String);

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        self.shows(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.level))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !is_own(attributes.metadata().target()) {
            return;
        }
        let mut place = Place::default();
        attributes.record(&mut place);
        if let (Some(about), Some(span)) = (place.about(), context.span(id)) {
            span.extensions_mut().insert(About(about));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        lines::say(priority(*event.metadata().level()), &line(event, &context));
    }
}

/// An event as one line, with the source or item of the innermost span that has one.
fn line<S: Subscriber + for<'s> LookupSpan<'s>>(event: &Event<'_>, context: &Context<'_, S>) -> String {
    let mut text = Text::default();
    event.record(&mut text);
    let about = context.event_scope(event).and_then(|mut spans| {
        spans.find_map(|span| span.extensions().get::<About>().map(|about| about.0.clone()))
    });
    let line = text.line(about.as_deref());
    let target = event.metadata().target();
    if is_own(target) { line } else { foreign(target, &line) }
}

fn is_own(target: &str) -> bool {
    target.strip_prefix(OWN).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn priority(level: Level) -> Priority {
    match level {
        Level::ERROR => Priority::Error,
        Level::WARN => Priority::Warning,
        Level::INFO => Priority::Info,
        _ => Priority::Debug,
    }
}

/// Shows a log record of a library.
fn library(record: &log::Record<'_>) {
    let priority = match record.level() {
        log::Level::Error => Priority::Error,
        log::Level::Warn => Priority::Warning,
        log::Level::Info => Priority::Info,
        log::Level::Debug | log::Level::Trace => return,
    };
    let text = name(&record.args().to_string());
    // The progress of a library may have no title.
    if !text.is_empty() {
        lines::say(priority, &foreign(record.target(), &text));
    }
}

/// A message of a library.
fn foreign(target: &str, text: &str) -> String {
    format!("{}: {}", name(target), without_secrets(text))
}

/// The text without users, passwords and queries of the addresses in it.
fn without_secrets(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let end = after.find(|c: char| c.is_whitespace() || "\"'`<>()".contains(c)).unwrap_or(after.len());
        let (address, behind) = after.split_at(end);
        let (address, query) = match address.find(['?', '#']) {
            Some(at) => (&address[..at], "?…"),
            None => (address, ""),
        };
        let address = address.rsplit_once('@').map_or(address, |(_, address)| address);
        safe.extend([before, "://", address, query]);
        rest = behind;
    }
    safe + rest
}

/// Fields `source` and `item` of a span.
#[derive(Default)]
struct Place {
    source: Option<String>,
    item: Option<String>,
}

impl Place {
    fn about(self) -> Option<String> {
        let source = self.source?;
        Some(match self.item {
            Some(item) => name(&format!("{source}/{item}")),
            None => name(&source),
        })
    }
}

impl Visit for Place {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "source" => self.source = Some(value.to_owned()),
            "item" => self.item = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// An event as text.
#[derive(Default)]
struct Text {
    message: String,
    /// ` key=value` for each.
    fields: String,
}

impl Text {
    fn add(&mut self, field: &Field, value: &str) {
        let value = name(value);
        if field.name() == "message" {
            self.message = value;
            return;
        }
        let is_plain = !value.is_empty() && !value.contains([' ', '"', '=']);
        let value = if is_plain { value } else { format!("\"{}\"", value.replace('"', "\\\"")) };
        self.fields.extend([" ", field.name(), "=", &value]);
    }

    /// One line: `SOURCE/ITEM: message key=value …`.
    fn line(&self, about: Option<&str>) -> String {
        let about = about.map(|about| format!("{about}: ")).unwrap_or_default();
        format!("{about}{}{}", self.message, self.fields)
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, &format!("{value:.3}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing::{debug, info, info_span, trace, warn};

    use super::*;

    /// Collects lines instead of printing them.
    struct Collect {
        lines: Lines,
        said: Arc<Mutex<Vec<String>>>,
    }

    impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Collect {
        fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
            self.lines.shows(metadata)
        }

        fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
            self.lines.on_new_span(attributes, id, context);
        }

        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            self.said.lock().push(line(event, &context));
        }
    }

    fn said(level: Level, work: impl FnOnce()) -> Vec<String> {
        let said = Arc::default();
        let layer = Collect { lines: Lines { level }, said: Arc::clone(&said) };
        tracing::subscriber::with_default(Registry::default().with(layer), work);
        std::mem::take(&mut *said.lock())
    }

    #[test]
    fn an_event_is_one_line_with_its_item_and_fields() {
        let lines = said(Level::INFO, || {
            info!(run = "r1", "the run begins");
            let _item = info_span!("item", source = "main", item = "sh\u{1b}op\n2").entered();
            info!(bytes = 12_u64, seconds = 1.25, why = "it says \"no\"", empty = "", "stored\nwhole");
            let inner = info_span!("something else");
            warn!(parent: &inner, count = 2, "of a span within");
        });
        assert_eq!(
            lines,
            [
                "the run begins run=r1",
                "main/sh\\u{1b}op\\n2: stored\\nwhole bytes=12 seconds=1.250 why=\"it says \\\"no\\\"\" empty=\"\"",
                "main/sh\\u{1b}op\\n2: of a span within count=2",
            ]
        );
    }

    #[test]
    fn levels_and_origins_decide_what_is_shown() {
        let tell = || {
            info!("i");
            debug!("d");
            trace!("t");
            info!(target: "library::part", "li https://jane:pw@host/x?sig=1");
            debug!(target: "library::part", "ld");
            info!(target: "tik_backup_like", "another");
        };
        assert_eq!(said(Level::INFO, tell), ["i"]);
        assert_eq!(said(Level::DEBUG, tell), ["i", "d"]);
        let all = ["i", "d", "t", "library::part: li https://host/x?…", "tik_backup_like: another"];
        assert_eq!(said(Level::TRACE, tell), all);
    }

    #[test]
    fn an_event_of_another_thread_belongs_to_the_item_whose_span_it_entered() {
        let lines = said(Level::INFO, || {
            let span = info_span!("item", source = "main", item = "shop");
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            let work = || tracing::dispatcher::with_default(&dispatch, || span.in_scope(|| info!("read")));
            std::thread::scope(|scope| drop(scope.spawn(work)));
        });
        assert_eq!(lines, ["main/shop: read"]);
    }

    #[test]
    fn addresses_in_what_libraries_tell_hold_no_secrets() {
        assert_eq!(
            without_secrets("at rest:https://u:p@ss@host:8000/x/?a=b, and \"s3://bucket/x#y\" a@b ?c"),
            "at rest:https://host:8000/x/?… and \"s3://bucket/x?…\" a@b ?c"
        );
    }
}
