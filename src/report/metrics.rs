//! The ledger as metrics in Prometheus' text format, for node_exporter's textfile collector:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use jiff::Zoned;
use prometheus::{
    TextEncoder,
    proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::{
    error::{Error, Result},
    history::ledger::{Entry, Ledger, ProblemKind, State},
};

/// All metrics of a ledger.
pub fn prometheus(ledger: &Ledger) -> Result<String> {
    let mut out = Families::default();
    out.family("tik_backup_build_info", "Version of the program; always 1.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    out.family("tik_backup_ledger_timestamp_seconds", "When these metrics were written.")
        .sample(&[], seconds(&ledger.at));
    out.family("tik_backup_ok", "1 if nothing is wrong, 0 otherwise.").sample(&[], flag(ledger.summary.ok));
    out.family("tik_backup_problems", "Problems that need attention.")
        .sample(&[], ledger.summary.problems as f64);
    totals(&mut out, ledger);
    items(&mut out, ledger);
    sources(&mut out, ledger);
    repository(&mut out, ledger);
    history(&mut out, ledger);
    alerts(&mut out, ledger);
    out.text()
}

fn totals(out: &mut Families, ledger: &Ledger) {
    out.family("tik_backup_items", "Items in each state.");
    for state in State::ALL {
        let count =
            ledger.summary.states.iter().find(|count| count.state == state).map_or(0, |count| count.items);
        out.sample(&[("state", state.as_str())], count as f64);
    }
    out.family("tik_backup_expected_items", "Items that should be backed up.")
        .sample(&[], ledger.summary.expected as f64);
    out.family("tik_backup_backed_up_items", "Expected items whose newest snapshot is recent enough.")
        .sample(&[], ledger.summary.backed_up as f64);
    out.family("tik_backup_proven_items", "Expected items whose last proof is recent enough.")
        .sample(&[], ledger.summary.proven as f64);
    if let Some(seconds) = ledger.summary.restore_seconds {
        out.family(
            "tik_backup_restore_duration_seconds",
            "How long restoring everything takes, one after the other, as measured by drills.",
        )
        .sample(&[], seconds);
    }
    out.family("tik_backup_running_runs", "Runs in progress.").sample(&[], ledger.running.len() as f64);
}

fn items(out: &mut Families, ledger: &Ledger) {
    type Value = fn(&Entry) -> Option<f64>;
    let families: [(&str, &str, Value); 12] = [
        ("tik_backup_item_last_success_timestamp_seconds", "Time of the newest snapshot.", |entry| {
            entry.last_backup.as_ref().map(seconds)
        }),
        ("tik_backup_item_last_proof_timestamp_seconds", "Time of the last proven snapshot.", |entry| {
            entry.last_proof.as_ref().map(seconds)
        }),
        (
            "tik_backup_item_restore_duration_seconds",
            "How long its restore took in the last drill.",
            |entry| entry.restore_seconds,
        ),
        ("tik_backup_item_max_age_seconds", "Age from which the newest snapshot is late.", |entry| {
            entry.max_age_seconds.map(|age| age as f64)
        }),
        ("tik_backup_item_size_bytes", "Size of the newest snapshot.", |entry| {
            entry.bytes.map(|bytes| bytes as f64)
        }),
        ("tik_backup_item_rows", "Rows, documents or files of the newest snapshot.", |entry| {
            entry.rows.map(|rows| rows as f64)
        }),
        ("tik_backup_item_duration_seconds", "How long the last successful backup took.", |entry| {
            entry.seconds
        }),
        ("tik_backup_item_snapshots", "Snapshots in the repository.", |entry| Some(entry.snapshots as f64)),
        ("tik_backup_item_failed", "1 if the last attempt failed.", |entry| {
            Some(flag(entry.state == State::Failed))
        }),
        ("tik_backup_item_held", "1 if retention is held for a suspicious change.", |entry| {
            Some(flag(entry.held))
        }),
        ("tik_backup_item_omitted_objects", "Unreadable objects that the newest snapshot lacks.", |entry| {
            Some(entry.omitted as f64)
        }),
        ("tik_backup_item_next_run_timestamp_seconds", "When the item is due next.", |entry| {
            entry.next.as_ref().map(seconds)
        }),
    ];
    let shown = |entry: &&Entry| entry.item.is_some() && entry.state != State::Excluded;
    for (name, help, value) in families {
        out.family(name, help);
        for entry in ledger.items.iter().filter(shown) {
            if let Some(value) = value(entry) {
                let item = entry.item.as_deref().unwrap_or_default();
                out.sample(&[("source", &entry.source), ("item", item), ("kind", &entry.kind)], value);
            }
        }
    }
    out.family("tik_backup_problem", "1 for each problem; without item it concerns the whole source.");
    for entry in &ledger.items {
        let item = entry.item.as_deref().unwrap_or_default();
        for problem in &entry.problems {
            let labels =
                [("source", entry.source.as_str()), ("item", item), ("problem", problem.kind.as_str())];
            out.sample(&labels, 1.0);
        }
    }
}

fn sources(out: &mut Families, ledger: &Ledger) {
    let each = |out: &mut Families, value: &dyn Fn(&crate::history::ledger::SourceEntry) -> Option<f64>| {
        for source in &ledger.sources {
            if let Some(value) = value(source) {
                out.sample(&[("source", &source.source), ("kind", &source.kind)], value);
            }
        }
    };
    out.family("tik_backup_source_last_run_timestamp_seconds", "When the last run of the source began.");
    each(out, &|source| source.last_run.as_ref().map(seconds));
    out.family("tik_backup_source_last_discovery_timestamp_seconds", "When the source was last listed.");
    each(out, &|source| source.last_discovery.as_ref().map(seconds));
    out.family("tik_backup_source_discovered_items", "Items found then, without excluded ones.");
    each(out, &|source| Some(source.discovered as f64));
    out.family("tik_backup_source_excluded_items", "Items excluded then.");
    each(out, &|source| Some(source.excluded as f64));
    out.family("tik_backup_source_next_run_timestamp_seconds", "When the source is due next.");
    each(out, &|source| source.next.as_ref().map(seconds));
}

fn repository(out: &mut Families, ledger: &Ledger) {
    let repository = &ledger.repository;
    out.family("tik_backup_repository_reachable", "1 if the repository could be read just now.")
        .sample(&[], flag(repository.error.is_none()));
    out.family("tik_backup_repository_snapshots", "Snapshots of this program in the repository.")
        .sample(&[], repository.snapshots as f64);
    if let Some(bytes) = repository.bytes {
        out.family("tik_backup_repository_size_bytes", "Bytes of the repository's packs.")
            .sample(&[], bytes as f64);
    }
    if let Some(free) = repository.free {
        out.family("tik_backup_repository_free_bytes", "Free bytes at the location of the repository.")
            .sample(&[], free as f64);
    }
}

fn history(out: &mut Families, ledger: &Ledger) {
    let is_whole = ledger.problems.iter().all(|problem| problem.kind != ProblemKind::History);
    out.family("tik_backup_history_ok", "0 if the history was damaged or cannot be written, 1 otherwise.")
        .sample(&[], flag(is_whole));
}

fn alerts(out: &mut Families, ledger: &Ledger) {
    out.family("tik_backup_alert_waiting_messages", "Alerts waiting for delivery.");
    for channel in &ledger.alerts {
        out.sample(&[("channel", &channel.channel), ("kind", &channel.kind)], channel.waiting as f64);
    }
    out.family("tik_backup_alert_failing", "1 if the last message could not be delivered.");
    for channel in &ledger.alerts {
        let failing = flag(channel.failing_since.is_some());
        out.sample(&[("channel", &channel.channel), ("kind", &channel.kind)], failing);
    }
    out.family(
        "tik_backup_alert_last_delivery_timestamp_seconds",
        "When the channel last accepted a message.",
    );
    for channel in &ledger.alerts {
        if let Some(last) = &channel.last_delivery {
            out.sample(&[("channel", &channel.channel), ("kind", &channel.kind)], seconds(last));
        }
    }
}

/// Writer for families of gauges. A family is begun before its samples.
#[derive(Default)]
struct Families(Vec<MetricFamily>);

impl Families {
    /// Begins a family. It is written with its first sample.
    fn family(&mut self, name: &str, help: &str) -> &mut Self {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(MetricType::GAUGE);
        self.0.push(family);
        self
    }

    /// Adds a sample to the current family.
    fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        let Some(family) = self.0.last_mut() else { return };
        let pair = |&(name, value): &(&str, &str)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        };
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_gauge(gauge);
        metric.set_label(labels.iter().map(pair).collect());
        family.mut_metric().push(metric);
    }

    /// The exposition format has no families without samples.
    fn text(self) -> Result<String> {
        let shown: Vec<MetricFamily> =
            self.0.into_iter().filter(|family| !family.get_metric().is_empty()).collect();
        let text = TextEncoder::new().encode_to_string(&shown);
        text.map_err(|error| Error::failed("cannot write the metrics").because(&error))
    }
}

fn seconds(time: &Zoned) -> f64 {
    time.timestamp().as_millisecond() as f64 / 1000.0
}

fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_out() {
        let mut out = Families::default();
        out.family("m", "Help.").sample(&[("item", "a\"} 1\nevil 2\\")], 0.5);
        assert_eq!(
            out.text().unwrap(),
            "# HELP m Help.\n# TYPE m gauge\nm{item=\"a\\\"} 1\\nevil 2\\\\\"} 0.5\n"
        );
    }

    #[test]
    fn a_family_without_samples_does_not_appear() {
        let mut out = Families::default();
        out.family("a", "A.");
        out.family("b", "B.").sample(&[], 1.0);
        assert_eq!(out.text().unwrap(), "# HELP b B.\n# TYPE b gauge\nb 1\n");
    }
}
