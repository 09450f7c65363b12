//! Lines of columns.

use super::screen::{Screen, width};

/// Between two columns.
const GAP: usize = 2;
/// Names are shortened down to so many columns, before a column that may be left out is.
const READABLE: usize = 20;
/// And after that down to so many.
const SHORTEST: usize = 8;

/// A column: its cells with the heading on top.
struct Column {
    cells: Vec<String>,
    /// Numbers are set right.
    right: bool,
    /// It may be left out where the terminal is too narrow.
    spare: bool,
    width: usize,
}

impl Column {
    /// The width down to which its cells may be shortened. Numbers never are.
    fn least(&self, least: usize) -> usize {
        if self.right { self.width } else { self.width.min(least) }
    }
}

/// Lines of columns; numbers are set right if the heading begins with `>`. On a terminal that is narrower, a column whose heading begins
/// with `?` is left out, and the widest texts are shortened.
pub fn table(screen: &Screen, headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut columns: Vec<Column> =
        headings.iter().enumerate().map(|(number, heading)| column(heading, number, rows)).collect();
    if let Some(room) = screen.columns {
        fit(screen, &mut columns, room);
    }
    let mut text = String::new();
    for row in 0..=rows.len() {
        let mut line = String::new();
        for column in &columns {
            let cell = column.cells[row].as_str();
            let padding = " ".repeat(column.width.saturating_sub(width(cell)));
            let (first, second) =
                if column.right { (padding.as_str(), cell) } else { (cell, padding.as_str()) };
            line.push_str(first);
            line.push_str(second);
            line.push_str(&" ".repeat(GAP));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn column(heading: &str, number: usize, rows: &[Vec<String>]) -> Column {
    let (right, spare) = (heading.starts_with('>'), heading.starts_with('?'));
    let heading = heading.trim_start_matches(['>', '?']).to_owned();
    let cells: Vec<String> = std::iter::once(heading)
        .chain(rows.iter().map(|row| row.get(number).cloned().unwrap_or_default()))
        .collect();
    let width = cells.iter().map(|cell| width(cell)).max().unwrap_or(0);
    Column { cells, right, spare, width }
}

fn fit(screen: &Screen, columns: &mut Vec<Column>, room: usize) {
    let needed = |columns: &[Column], least: usize| {
        columns.iter().map(|column| column.least(least) + GAP).sum::<usize>().saturating_sub(GAP)
    };
    while needed(&columns[..], READABLE) > room
        && let Some(spare) = columns.iter().rposition(|column| column.spare)
    {
        columns.remove(spare);
    }
    let mut excess = needed(&columns[..], usize::MAX).saturating_sub(room);
    for least in [READABLE, SHORTEST] {
        while excess > 0 {
            let widest = columns.iter_mut().filter(|column| column.width > column.least(least));
            let Some(widest) = widest.max_by_key(|column| column.width) else { break };
            widest.width -= 1;
            excess -= 1;
        }
    }
    for column in columns {
        for cell in &mut column.cells {
            if width(cell) > column.width {
                *cell = screen.shortened(cell, column.width);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(columns: usize) -> Screen {
        Screen { columns: Some(columns), ..Screen::PLAIN }
    }

    #[test]
    fn columns_line_up() {
        let text = table(
            &Screen::PLAIN,
            &["item", ">size"],
            &[vec!["ü".into(), "9 B".into()], vec!["long".into(), "1.0 KiB".into()]],
        );
        assert_eq!(text, "item     size\nü         9 B\nlong  1.0 KiB\n");
    }

    #[test]
    fn characters_of_two_columns_count_as_two_and_those_of_none_as_none() {
        let rows = [vec!["顧客".into(), "1".into()], vec!["e\u{301}".into(), "2".into()]];
        assert_eq!(table(&Screen::PLAIN, &["item", ">n"], &rows), "item  n\n顧客  1\ne\u{301}     2\n");
    }

    #[test]
    fn on_a_terminal_no_line_is_wider_than_it() {
        let long = "a_database_with_a_very_long_name_of_a_tenant_somewhere/production".to_owned();
        let host = "backup-host-17.internal.example.org".to_owned();
        let rows = [
            vec!["0123abcd".into(), long.clone(), "1023.9 MiB".into(), "▁▂▃▄▅▆▇█".into(), host],
            vec!["0123abce".into(), "顧客データベース".repeat(6), "9 B".into(), String::new(), "h".into()],
        ];
        let headings = ["ID", "ITEM", ">SIZE", "?TREND", "HOST"];
        for columns in [60, 80, 100, 132] {
            let text = table(&on(columns), &headings, &rows);
            let widest = text.lines().map(width).max();
            assert!(widest <= Some(columns), "{columns}: {widest:?}\n{text}");
            assert!(text.contains("1023.9 MiB") && text.contains('…'), "{text}");
            assert_eq!(text.contains("TREND"), columns >= 80, "{text}");
        }
        let piped = table(&Screen::PLAIN, &headings, &rows);
        assert!(piped.contains(&long) && !piped.contains('…'), "{piped}");
    }
}
