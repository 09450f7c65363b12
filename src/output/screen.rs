//! The terminal for results: its width, and whether it shows colours and non-ASCII characters.

use std::io::{IsTerminal, stdout};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The width assumed for a terminal that does not report one.
const COLUMNS: usize = 80;
/// The least width: a terminal that reports less is not believed.
const NARROWEST: usize = 20;

/// The layout of results. Output to a pipe or a file is never shortened, wrapped or coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Columns of the terminal; none if it is no terminal.
    pub columns: Option<usize>,
    /// With colours. They carry no information that the text lacks.
    pub colour: bool,
    /// With non-ASCII characters.
    pub unicode: bool,
}

impl Screen {
    /// For a file or a pipe, in UTF-8.
    pub const PLAIN: Self = Self { columns: None, colour: false, unicode: true };

    /// For stdout.
    pub fn of_stdout() -> Self {
        let terminal = stdout().is_terminal();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|value| value == "dumb");
        Self {
            columns: terminal.then(columns),
            // https://no-color.org
            colour: terminal && !dumb && !set("NO_COLOR"),
            unicode: unicode(),
        }
    }

    /// The mark for omitted text.
    fn ellipsis(&self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }

    /// A text in at most `columns` columns: the middle is omitted, because names differ at their ends.
    pub fn shortened(&self, text: &str, columns: usize) -> String {
        let ellipsis = self.ellipsis();
        if width(text) <= columns || columns <= width(ellipsis) {
            return text.to_owned();
        }
        let room = columns - width(ellipsis);
        let (start, end) = (room.div_ceil(2), room / 2);
        let head = taken(text.chars(), start);
        let tail: String = taken(text.chars().rev(), end).chars().rev().collect();
        format!("{head}{ellipsis}{tail}")
    }

    /// Wraps a text that begins at column `begin`; further lines are indented by `hang`. Commands between backticks are not broken, so
    /// that they can be copied.
    pub fn wrapped(&self, text: &str, begin: usize, hang: usize) -> String {
        let Some(columns) = self.columns else { return text.to_owned() };
        let mut lines = String::new();
        let (mut at, mut fresh) = (begin, true);
        for word in words(text) {
            let wide = width(word);
            if !fresh && at + 1 + wide > columns {
                lines.push('\n');
                lines.push_str(&" ".repeat(hang));
                (at, fresh) = (hang, true);
            }
            if !fresh {
                lines.push(' ');
                at += 1;
            }
            lines.push_str(word);
            (at, fresh) = (at + wide, false);
        }
        lines
    }
}

/// Columns of a text on a terminal: two for a wide East Asian character, none for a combining character.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

fn taken(chars: impl Iterator<Item = char>, columns: usize) -> String {
    let mut left = columns;
    chars
        .take_while(|c| {
            let wide = c.width().unwrap_or(0);
            let fits = wide <= left;
            left = left.saturating_sub(wide);
            fits
        })
        .collect()
}

/// The words of a text; a text between two backticks is one word.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut begin, mut quoted) = (Vec::new(), 0, false);
    // A single backtick quotes nothing.
    let mut left = text.matches('`').count();
    for (at, c) in text.char_indices() {
        match c {
            '`' => {
                left -= 1;
                quoted = !quoted && left > 0;
            }
            ' ' if !quoted => {
                words.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    words.push(&text[begin..]);
    words
}

fn columns() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|value| value.parse().ok());
    let asked = || rustix::termios::tcgetwinsize(stdout()).ok().map(|size| usize::from(size.ws_col));
    let believed = |columns: &usize| *columns >= NARROWEST;
    said.filter(believed).or_else(|| asked().filter(believed)).unwrap_or(COLUMNS)
}

/// Whether the locale's character set is UTF-8.
fn unicode() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let set = set.unwrap_or_default().to_ascii_lowercase();
    set.contains("utf-8") || set.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: Screen = Screen { columns: Some(20), colour: false, unicode: true };

    #[test]
    fn names_lose_their_middle_and_never_half_a_character() {
        assert_eq!(NARROW.shortened("tenant_0001_production", 11), "tenan…ction");
        assert_eq!(NARROW.shortened("short", 11), "short");
        let japanese = NARROW.shortened("顧客データベース本番環境", 11);
        assert_eq!((japanese.as_str(), width(&japanese)), ("顧客…環境", 9));
        let ascii = Screen { unicode: false, ..NARROW };
        assert_eq!(ascii.shortened("tenant_0001_production", 11), "tena...tion");
    }

    #[test]
    fn lines_hang_and_commands_stay_whole() {
        assert_eq!(NARROW.wrapped("one two three four five", 4, 4), "one two three\n    four five");
        assert_eq!(
            NARROW.wrapped("say `tik-backup accept pg/shop` now", 0, 2),
            "say\n  `tik-backup accept pg/shop`\n  now"
        );
        assert_eq!(
            NARROW.wrapped("a ` alone does not quote anything", 0, 0),
            "a ` alone does not\nquote anything"
        );
        assert_eq!(Screen::PLAIN.wrapped("one two three four five", 4, 4), "one two three four five");
    }
}
