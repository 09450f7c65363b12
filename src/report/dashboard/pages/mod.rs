//! The HTML pages. All data passes through the escaping of the templates; nothing is inserted as markup.

mod chart;
mod item;
mod overview;
mod runs;

use jiff::Zoned;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

pub(super) use item::{item, source};
pub(super) use overview::{Filter, matches, overview};
pub(super) use runs::{run, runs};

use crate::{
    history::ledger::{Ledger, State},
    output::{printable, time},
};

const STYLE: &str = include_str!("../style.css");

/// How a page is delivered.
enum Binding {
    /// By the server, with links to style sheet and script.
    Served,
    /// As a self-contained file.
    Alone,
}

/// Renders a complete page.
pub fn report(ledger: &Ledger) -> String {
    overview::alone(ledger).into_string()
}

fn page(title: &str, here: &str, binding: &Binding, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @match binding {
                    Binding::Served => {
                        link rel="stylesheet" href="/style.css";
                        link rel="icon" href="data:,";
                        script src="/script.js" defer {}
                    }
                    Binding::Alone => {
                        meta http-equiv="Content-Security-Policy" content=(policy_alone());
                        link rel="icon" href="data:,";
                        style { (PreEscaped(STYLE)) }
                    }
                }
                title { (title) " · tik-backup" }
            }
            body {
                @if matches!(binding, Binding::Served) {
                    a.skip href="#main" { "Skip to the content" }
                    header.top {
                        nav aria-label="Pages" {
                            @for (path, name) in [("/", "Overview"), ("/runs", "Runs")] {
                                a href=(path) aria-current=[(here == path).then_some("page")] { (name) }
                            }
                        }
                        span.brand { "tik-backup" }
                    }
                }
                main id="main" { (body) }
            }
        }
    }
}

/// The content security policy of a self-contained report.
fn policy_alone() -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"
    )
}

/// An error page.
pub(super) fn problem(title: &str, text: &str) -> Markup {
    page(
        title,
        "",
        &Binding::Served,
        &html! { h1 { (title) } pre.error { (printable(text)) } p { a href="/" { "Overview" } } },
    )
}

/// Severity of a state, for its colour and sign, which always accompany a word.
fn grade(state: State) -> &'static str {
    match state {
        State::Failed | State::NeverBackedUp | State::Unchecked => "bad",
        State::Late | State::Partial | State::Suspicious | State::Vanished | State::NotProven => "warn",
        State::Protected => "good",
        State::New | State::Excluded | State::Unconfigured => "none",
    }
}

fn sign(grade: &str) -> &'static str {
    match grade {
        "bad" => "✗",
        "warn" => "!",
        "good" => "✓",
        _ => "–",
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Failed => "failed",
        State::NeverBackedUp => "never backed up",
        State::Late => "late",
        State::Unchecked => "unchecked",
        State::Partial => "partial",
        State::Suspicious => "suspicious",
        State::Vanished => "vanished",
        State::NotProven => "not proven",
        State::New => "new",
        State::Protected => "protected",
        State::Excluded => "excluded",
        State::Unconfigured => "not configured",
    }
}

fn badge(state: State) -> Markup {
    let grade = grade(state);
    html! { span.badge.(grade) { span aria-hidden="true" { (sign(grade)) } " " (word(state)) } }
}

fn outcome(text: &str) -> Markup {
    let grade = match text {
        "ok" | "proven" => "good",
        "failed" | "unchecked" => "bad",
        "partial" | "interrupted" | "unproven" => "warn",
        _ => "none",
    };
    html! { span.badge.(grade) { span aria-hidden="true" { (sign(grade)) } " " (text) } }
}

/// A time and its age.
fn moment(at: Option<&Zoned>, age: Option<i64>) -> Markup {
    html! {
        @match at {
            Some(at) => {
                time datetime=(at.timestamp()) title=(time(at)) {
                    @match age { Some(age) => { (ago(age)) } None => { (time(at)) } }
                }
            }
            None => { span.faint { "never" } }
        }
    }
}

/// An age in readable form.
fn ago(seconds: i64) -> String {
    let text = match seconds.max(0) {
        0..60 => return "just now".to_owned(),
        s @ 60..7_200 => format!("{} min", s / 60),
        s @ 7_200..172_800 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    };
    format!("{text} ago")
}

/// A count with separated thousands.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A URL with a query.
fn link(path: &str, query: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let pairs: Vec<_> = query
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", encode(value)))
        .collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

fn item_link(source: &str, item: Option<&str>) -> String {
    match item {
        Some(item) => link("/item", &[("source", source), ("item", item)]),
        None => link("/source", &[("source", source)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ages_are_for_people() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((ago(59).as_str(), ago(3_600).as_str()), ("just now", "60 min ago"));
        assert_eq!((ago(86_400).as_str(), ago(172_800).as_str()), ("24 h ago", "2 days ago"));
    }

    #[test]
    fn names_survive_in_addresses() {
        assert_eq!(item_link("a b", Some("x/y&z=<\"")), "/item?source=a%20b&item=x%2Fy%26z%3D%3C%22");
        assert_eq!(link("/", &[("q", "")]), "/");
    }
}
