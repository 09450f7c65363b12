//! Progress of a run: bars on a terminal, otherwise a line when an item ends and periodic lines while it runs.

use std::{
    collections::HashMap,
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::output::lines::{Priority, draws_bars};
use crate::{
    backup::Observer,
    error::Problem,
    outcome::{ItemOutcome, ItemReport},
    output::{Printer, duration, name, size, terminal::Terminal},
};

/// Time between two lines about items that are still running.
const LINE_EVERY: Duration = Duration::from_secs(60);
/// Time between two updates of the bars.
const BAR_EVERY: Duration = Duration::from_millis(200);

/// The bars are drawn as many times a second at most.
const DRAWS: u8 = 20;

struct Running {
    bytes: Arc<AtomicU64>,
    begin: Instant,
    bar: Option<ProgressBar>,
}

impl Running {
    /// Takes its bar off the terminal.
    fn end(self, bars: Option<&MultiProgress>) {
        if let (Some(bar), Some(bars)) = (self.bar, bars) {
            bar.finish_and_clear();
            bars.remove(&bar);
        }
    }
}

#[derive(Default)]
struct State {
    running: HashMap<String, Running>,
    /// The error of a failed item, and the item: another one with the same error refers to it.
    failed: HashMap<Problem, String>,
    over: bool,
}

struct Inner {
    printer: Printer,
    bars: Option<MultiProgress>,
    state: Mutex<State>,
    changed: Condvar,
}

/// Shows a run.
pub struct Progress {
    inner: Arc<Inner>,
    ticker: Option<JoinHandle<()>>,
}

impl Progress {
    /// Bars if stderr is a terminal.
    pub fn new(printer: Printer) -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        // On a terminal that cannot move its cursor (TERM=dumb) no bar would show.
        let bars = bars.filter(|bars| !bars.is_hidden()).map(|_| {
            let terminal = Box::new(Terminal::default());
            MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(terminal, DRAWS))
        });
        if let Some(bars) = bars.clone() {
            // Not through the bars' own printing: that would drop lines when the terminal is not drawn to.
            draws_bars(Some(Arc::new(move |print: &mut dyn FnMut()| bars.suspend(print))));
        }
        let inner = Arc::new(Inner { printer, bars, state: Mutex::default(), changed: Condvar::new() });
        let ticking = inner.clone();
        // Without the thread there is no progress between start and end of an item, which is harmless.
        let ticker = thread::Builder::new().name("progress".to_owned()).spawn(move || ticking.tick()).ok();
        Self { inner, ticker }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.inner.state().over = true;
        self.inner.changed.notify_all();
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
        // Unfinished items are not reported: a run that fails as a whole, or is interrupted, leaves no bars.
        let cut_off = std::mem::take(&mut self.inner.state().running);
        cut_off.into_values().for_each(|running| running.end(self.inner.bars.as_ref()));
        if let Some(bars) = &self.inner.bars {
            draws_bars(None);
            // A closed terminal needs no clearing.
            let _ = bars.clear();
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn tick(&self) {
        let every = if self.bars.is_some() { BAR_EVERY } else { LINE_EVERY };
        let mut state = self.state();
        while !state.over {
            let timeout = self.changed.wait_for(&mut state, every);
            if !timeout.timed_out() || state.over {
                continue;
            }
            for (item, running) in &state.running {
                let bytes = running.bytes.load(Ordering::Relaxed);
                match &running.bar {
                    Some(bar) => {
                        // The total may have grown since the last time.
                        if bar.length().is_some_and(|length| length < bytes) {
                            bar.set_length(bytes);
                        }
                        bar.set_position(bytes);
                    }
                    None => self.say(&format!(
                        "{}: {} so far, {}",
                        name(item),
                        size(bytes),
                        rate(bytes, running.begin)
                    )),
                }
            }
        }
    }

    /// Shows an item no longer as running.
    fn end(&self, item: &str) {
        let running = self.state().running.remove(item);
        if let Some(running) = running {
            running.end(self.bars.as_ref());
        }
    }

    fn say(&self, line: &str) {
        self.printer.notice(line);
    }

    fn detail(&self, line: &str) {
        self.printer.detail(line);
    }
}

fn rate(bytes: u64, begin: Instant) -> String {
    let seconds = begin.elapsed().as_secs_f64().max(0.001);
    format!("{}/s", size((bytes as f64 / seconds) as u64))
}

fn bar(bars: &MultiProgress, item: &str, estimate: Option<u64>) -> ProgressBar {
    let template = if estimate.is_some() {
        "{wide_msg} {bar:24} {bytes:>10} of about {total_bytes} {binary_bytes_per_sec:>13}"
    } else {
        "{wide_msg} {spinner} {bytes:>10} {binary_bytes_per_sec:>13}"
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = estimate.map_or_else(ProgressBar::no_length, ProgressBar::new);
    // Drawing only starts after `add`: otherwise a bar draws on a line that is never cleared.
    let bar = bars.add(bar.with_style(style).with_message(name(item)));
    bar.tick();
    bar
}

/// The line for a failed item, or for a failed source with its known items.
fn failed(item: &ItemReport, error: &Problem) -> String {
    let known = match item.known_items {
        Some(1) => " (its known item was not backed up)".to_owned(),
        Some(items) => format!(" (its {items} known items were not backed up)"),
        None => String::new(),
    };
    let error = Problem { text: format!("{}{known}", error.text), hint: error.hint.clone() };
    format!("{}: FAILED: {error}", name(&item.name()))
}

impl Observer for Progress {
    fn notice(&self, message: &str) {
        self.inner.say(message);
    }

    fn failure(&self, message: &str) {
        self.inner.printer.say(Priority::Error, message);
    }

    fn started(&self, item: &str, estimate: Option<u64>, bytes: Arc<AtomicU64>) {
        let bar = self.inner.bars.as_ref().map(|bars| bar(bars, item, estimate));
        let running = Running { bytes, begin: Instant::now(), bar };
        // A second attempt at the same item has a bar of its own.
        let before = self.inner.state().running.insert(item.to_owned(), running);
        if let Some(before) = before {
            before.end(self.inner.bars.as_ref());
        }
        self.inner.detail(&format!("{}: started", name(item)));
    }

    fn stored(&self, item: &str) {
        self.inner.end(item);
        self.inner.detail(&format!("{}: stored, to be confirmed at the end of the run", name(item)));
    }

    fn finished(&self, item: &ItemReport) {
        self.inner.end(&item.name());
        let line = match (item.outcome, &item.error) {
            (ItemOutcome::Unchecked, Some(error)) => format!("{}: UNCHECKED: {error}", name(&item.name())),
            (ItemOutcome::Partial, Some(error)) => format!("{}: PARTIAL: {error}", name(&item.name())),
            (ItemOutcome::Vanished, _) => format!("{}: VANISHED", name(&item.name())),
            (_, Some(error)) => {
                let said = self.inner.state().failed.get(error).cloned();
                match said {
                    Some(first) => format!("{}: FAILED, as {}", name(&item.name()), name(&first)),
                    None => {
                        self.inner.state().failed.insert(error.clone(), item.name());
                        failed(item, error)
                    }
                }
            }
            _ => format!(
                "{}: ok, {} read, {} added, {}",
                name(&item.name()),
                size(item.bytes_read),
                size(item.bytes_added),
                duration(item.seconds)
            ),
        };
        let priority = match item.outcome {
            ItemOutcome::Ok => Priority::Info,
            ItemOutcome::Failed => Priority::Error,
            ItemOutcome::Unchecked | ItemOutcome::Partial | ItemOutcome::Vanished => Priority::Warning,
        };
        self.inner.printer.say(priority, &line);
        for change in &item.suspicious {
            self.inner
                .printer
                .say(Priority::Warning, &format!("{}: SUSPICIOUS: {change}", name(&item.name())));
        }
        for note in &item.notes {
            self.inner.say(&format!("{}: note: {note}", name(&item.name())));
        }
    }
}
