//! Tables.

use super::screen::{Screen, width};

/// Columns between two cells.
const GAP: usize = 2;
/// Names are shortened to this width before an optional column is omitted.
const READABLE: usize = 20;
/// After that, names are shortened to this width.
const SHORTEST: usize = 8;
/// Signs before a heading.
const SIGNS: [char; 4] = ['>', '!', '?', '~'];

/// A column: its cells with the heading on top.
struct Column {
    cells: Vec<String>,
    /// Numbers are right-aligned.
    right: bool,
    /// Identifiers and times, which are never shortened.
    whole: bool,
    /// Omitted if the terminal is too narrow for names of a readable length.
    spare: bool,
    /// Omitted last, if the terminal is too narrow even for the shortest names.
    lesser: bool,
    width: usize,
}

impl Column {
    /// The least width of its cells. Numbers, identifiers and times are never shortened.
    fn least(&self, least: usize) -> usize {
        if self.right || self.whole { self.width } else { self.width.min(least) }
    }
}

/// A table. A sign before a heading describes its column: `>` numbers, right-aligned; `!` identifiers or times. Neither is
/// shortened. On a narrow terminal, columns with `?` are omitted, the widest texts are shortened, and at last columns with `~`
/// are omitted.
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
    let title = heading.trim_start_matches(SIGNS);
    let signs = &heading[..heading.len() - title.len()];
    let has = |sign: char| signs.contains(sign);
    let (right, whole, spare, lesser) = (has('>'), has('!'), has('?'), has('~'));
    let heading = title.to_owned();
    let cells: Vec<String> = std::iter::once(heading)
        .chain(rows.iter().map(|row| row.get(number).cloned().unwrap_or_default()))
        .collect();
    let width = cells.iter().map(|cell| width(cell)).max().unwrap_or(0);
    Column { cells, right, whole, spare, lesser, width }
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
    while needed(&columns[..], SHORTEST) > room
        && let Some(lesser) = columns.iter().rposition(|column| column.lesser)
    {
        columns.remove(lesser);
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
    fn times_and_ids_are_never_shortened() {
        let rows = [vec![
            "0123abcd".to_owned(),
            "2026-11-28 23:36:18".to_owned(),
            "a_database_with_a_very_long_name_of_a_tenant_somewhere/production".to_owned(),
            "1023.9 MiB".to_owned(),
            "backup-host-17.internal.example.org".to_owned(),
        ]];
        for columns in [40, 60, 80] {
            let text = table(&on(columns), &["!ID", "!TIME", "ITEM", ">~SIZE", "~HOST"], &rows);
            assert!(text.contains("0123abcd") && text.contains("2026-11-28 23:36:18"), "{text}");
            assert!(text.lines().map(width).max() <= Some(columns), "{columns}\n{text}");
            assert_eq!(
                (text.contains("SIZE"), text.contains("HOST")),
                (columns > 40, columns > 60),
                "{text}"
            );
            assert!(text.starts_with("ID "), "{text}");
        }
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
