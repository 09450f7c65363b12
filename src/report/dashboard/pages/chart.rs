//! Small charts as inline SVG, without scripts.

use maud::{Markup, html};

/// A sparkline; empty for fewer than two values.
pub(super) fn line(values: &[u64], what: &str) -> Markup {
    const WIDTH: f64 = 72.0;
    const HEIGHT: f64 = 18.0;
    let Some(largest) = values.iter().copied().max().filter(|_| values.len() > 1) else { return html! {} };
    let step = WIDTH / (values.len() - 1) as f64;
    let points: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let height = if largest == 0 { 0.0 } else { *value as f64 / largest as f64 * (HEIGHT - 2.0) };
            format!("{:.1},{:.1}", index as f64 * step, HEIGHT - 1.0 - height)
        })
        .collect();
    html! {
        svg.line viewBox="0 0 72 18" width="72" height="18" role="img" aria-label=(what) {
            polyline points=(points.join(" ")) {}
        }
    }
}

/// Bars are sized for at least this many.
const FEWEST: usize = 30;

/// One bar.
pub(super) struct Bar {
    pub(super) value: f64,
    /// Its description.
    pub(super) title: String,
    /// `good`, `bad` or `warn`.
    pub(super) grade: &'static str,
}

/// A bar chart, oldest first.
pub(super) fn bars(bars: &[Bar], what: &str) -> Markup {
    const HEIGHT: f64 = 80.0;
    let largest = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let each = 600.0 / bars.len().max(FEWEST) as f64;
    html! {
        svg.bars viewBox="0 0 600 80" role="img" aria-label=(what) preserveAspectRatio="none" {
            @for (index, bar) in bars.iter().enumerate() {
                @let height = if largest > 0.0 { (bar.value / largest * (HEIGHT - 2.0)).max(2.0) } else { 2.0 };
                rect.(bar.grade) x=(format!("{:.2}", index as f64 * each)) y=(format!("{:.2}", HEIGHT - height))
                    width=(format!("{:.2}", (each * 0.8).max(0.5))) height=(format!("{height:.2}")) {
                    title { (bar.title) }
                }
            }
        }
    }
}

/// A mark on a time line.
pub(super) struct Mark {
    /// Seconds since 1970.
    pub(super) at: i64,
    pub(super) title: String,
    /// Whether retention keeps it.
    pub(super) keep: bool,
}

/// A time line, oldest first.
pub(super) fn timeline(marks: &[Mark], what: &str) -> Markup {
    let Some((first, last)) = marks.iter().map(|mark| mark.at).fold(None, |ends: Option<(i64, i64)>, at| {
        Some(ends.map_or((at, at), |(first, last)| (first.min(at), last.max(at))))
    }) else {
        return html! {};
    };
    let span = (last - first).max(1) as f64;
    html! {
        svg.timeline viewBox="0 0 620 30" role="img" aria-label=(what) {
            line x1="10" y1="15" x2="610" y2="15" {}
            @for mark in marks {
                circle.(if mark.keep { "kept" } else { "leaving" }) cx=(format!("{:.1}", 10.0 + (mark.at - first) as f64 / span * 600.0)) cy="15" r="5" {
                    title { (mark.title) }
                }
            }
        }
    }
}
