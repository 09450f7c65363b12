//! Splits the text of a `COPY` into rows and digests them, for input in pieces of any size.

use memchr::{memchr, memchr2};

use crate::stream::digest::{Digest128, PieceHasher, RowDigest};

/// The line after the last row. A value `\.` is written with two backslashes, so no row looks like it.
const END_MARKER: &[u8] = b"\\.";

/// Digests the rows of one table.
#[derive(Debug)]
pub(super) struct CopyRows {
    sum: RowDigest,
    // The unfinished row, or with `columns` the unfinished field.
    partial: PieceHasher,
    columns: Option<Columns>,
    ended: bool,
}

/// Fields are hashed with their column's name as seed and added up, so that the order of columns does not matter.
#[derive(Debug)]
struct Columns {
    seeds: Vec<u64>,
    column: usize,
    row_bytes: u64,
    row_sum: Digest128,
}

impl CopyRows {
    /// Digests rows as they are.
    pub(super) fn new() -> Self {
        Self { sum: RowDigest::default(), partial: PieceHasher::new(), columns: None, ended: false }
    }

    /// Digests rows so that the order of the columns does not matter. Several times slower.
    ///
    /// A table that inherits from another may come back from a restore with its columns in another order.
    pub(super) fn by_column(copy_stmt: &str) -> Self {
        let seeds: Vec<u64> =
            columns_of(copy_stmt).map(|name| Digest128::of(name.as_bytes()).to_bits() as u64).collect();
        let mut rows = Self::new();
        rows.columns = Some(Columns { seeds, column: 0, row_bytes: 0, row_sum: Digest128::ZERO });
        rows.seed_next_field();
        rows
    }

    /// The sum, if the end marker was read.
    pub(super) fn finish(self) -> Option<RowDigest> {
        self.ended.then_some(self.sum)
    }

    /// Parses the next piece of the text.
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.ended {
            return;
        }
        if self.columns.is_some() { self.push_fields(bytes) } else { self.push_rows(bytes) }
    }

    #[inline]
    fn push_rows(&mut self, mut bytes: &[u8]) {
        if !self.partial.is_empty() {
            let Some(end) = memchr(b'\n', bytes) else { return self.partial.push(bytes) };
            let (last, rest) = bytes.split_at(end);
            if self.partial.equals(last, END_MARKER) {
                self.ended = true;
                return;
            }
            let len = self.partial.len() + last.len() as u64;
            let hash = self.partial.finish(last);
            self.sum.add_hashed(len, hash);
            bytes = rest.get(1..).unwrap_or_default();
        }
        while let Some(end) = memchr(b'\n', bytes) {
            let (row, rest) = bytes.split_at(end);
            if row == END_MARKER {
                self.ended = true;
                return;
            }
            self.sum.add(row);
            bytes = rest.get(1..).unwrap_or_default();
        }
        if !bytes.is_empty() {
            self.partial.push(bytes);
        }
    }

    fn push_fields(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr2(b'\t', b'\n', bytes) {
            let (last, rest) = bytes.split_at(end);
            let row_ends = rest.first() == Some(&b'\n');
            let Some(columns) = &mut self.columns else { return };
            if row_ends && columns.column == 0 && self.partial.equals(last, END_MARKER) {
                self.ended = true;
                return;
            }
            columns.row_bytes += self.partial.len() + last.len() as u64;
            columns.row_sum += self.partial.finish(last);
            if row_ends {
                // Hashed once more: otherwise swapping values between two rows would not change the sum.
                self.sum
                    .add_hashed(columns.row_bytes, Digest128::of(&columns.row_sum.to_bits().to_le_bytes()));
                (columns.column, columns.row_bytes, columns.row_sum) = (0, 0, Digest128::ZERO);
            } else {
                columns.column += 1;
                columns.row_bytes += 1;
            }
            self.seed_next_field();
            bytes = rest.get(1..).unwrap_or_default();
        }
        if !bytes.is_empty() {
            self.partial.push(bytes);
        }
    }

    fn seed_next_field(&mut self) {
        if let Some(columns) = &self.columns {
            let seed = columns.seeds.get(columns.column).copied().unwrap_or(columns.column as u64);
            self.partial.set_seed(seed);
        }
    }
}

/// The column names of a `COPY table (a, "b c") FROM stdin;` statement, quoted as they are there.
pub(super) fn columns_of(copy_stmt: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut outside = move |c: char, wanted: char| {
        quoted ^= c == '"';
        !quoted && c == wanted
    };
    let list = copy_stmt.find(|c| outside(c, '(')).map_or("", |at| &copy_stmt[at + 1..]);
    let mut quoted = false;
    let mut done = false;
    list.split(move |c: char| {
        quoted ^= c == '"';
        !quoted
            && !done
            && (c == ',' || {
                done = c == ')';
                done
            })
    })
    .map(str::trim)
    .take_while(|name| !name.starts_with("FROM "))
    .filter(|name| !name.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn digest(mut rows: CopyRows, text: &str) -> RowDigest {
        rows.push(text.as_bytes());
        rows.finish().unwrap()
    }

    #[test]
    fn rows_end_at_newlines_and_the_marker_ends_them_all() {
        let sum = digest(CopyRows::new(), "a\n\nbc\n\\\\.\n\\.\n\n\n");
        assert_eq!((sum.rows, sum.bytes), (4, 6));
        let parts: Digest128 = ["a", "", "bc", "\\\\."].iter().map(|row| Digest128::of(row.as_bytes())).sum();
        assert_eq!(sum.digest, parts);
        assert_eq!(digest(CopyRows::new(), "\\.\n\n\n"), RowDigest::default());
        let mut unended = CopyRows::new();
        unended.push(b"a\nb");
        assert!(unended.finish().is_none());
    }

    #[test]
    fn column_names_are_taken_from_the_statement() {
        let names = |text| columns_of(text).collect::<Vec<_>>();
        assert_eq!(
            names("COPY a.b (x, \"y, (z)\", \"q\"\"q\") FROM stdin;\n"),
            ["x", "\"y, (z)\"", "\"q\"\"q\""]
        );
        assert_eq!(names("COPY \"odd (\".b (x) FROM stdin;\n"), ["x"]);
        assert_eq!(names("COPY a.b  FROM stdin;\n"), [""; 0]);
        assert_eq!(names(""), [""; 0]);
    }

    #[test]
    fn the_order_of_columns_is_of_no_account_but_their_values_are() {
        let of = |columns: &str, text: &str| digest(CopyRows::by_column(columns), text);
        let base = of("COPY t (a, b, c) FROM stdin;", "1\t2\t\\N\nx\ty\tz\n\\.\n\n\n");
        assert_eq!((base.rows, base.bytes), (2, 11));
        assert_eq!(base, of("COPY t (c, a, b) FROM stdin;", "z\tx\ty\n\\N\t1\t2\n\\.\n\n\n"));
        assert_ne!(base, of("COPY t (a, b, c) FROM stdin;", "x\t2\t\\N\n1\ty\tz\n\\.\n\n\n"));
        assert_ne!(base, of("COPY t (a, b, c) FROM stdin;", "2\t1\t\\N\nx\ty\tz\n\\.\n\n\n"));
        let more_fields_than_columns = of("COPY t (a) FROM stdin;", "1\t2\n\\.\n");
        assert_eq!(more_fields_than_columns.rows, 1);
    }

    #[test]
    fn pieces_of_any_size_give_the_same_sum() {
        let text = format!("a\tb\nlong {}\tx\n\n\\.\n\n\n", "y".repeat(200_000));
        for make in [CopyRows::new as fn() -> CopyRows, || CopyRows::by_column("COPY t (a, b) FROM stdin;")] {
            let whole = digest(make(), &text);
            for size in [1, 2, 3, 1000, 65_536, 70_000] {
                let mut rows = make();
                text.as_bytes().chunks(size).for_each(|piece| rows.push(piece));
                assert_eq!(rows.finish(), Some(whole), "pieces of {size}");
            }
        }
    }
}
