//! The terminal for progress bars, with a few columns at the right end left free.

use std::io::{self, Write};

use indicatif::TermLike;
use parking_lot::{Mutex, MutexGuard};

/// The terminal echoes `^C` after the last bar. If that wrapped, the cursor would be one line too low when the bars are
/// cleared, and one bar would stay.
const FREE: u16 = 3;
/// The size assumed for a terminal that does not report one.
const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

/// stderr as a terminal. Output is buffered and written when a frame is complete.
#[derive(Debug, Default)]
pub(crate) struct Terminal {
    drawn: Mutex<String>,
}

impl Terminal {
    fn drawn(&self) -> MutexGuard<'_, String> {
        self.drawn.lock()
    }

    fn draw(&self, text: &str) -> io::Result<()> {
        self.drawn().push_str(text);
        Ok(())
    }

    fn go(&self, steps: usize, direction: char) -> io::Result<()> {
        // Terminals treat a count of 0 as 1.
        if steps == 0 { Ok(()) } else { self.draw(&format!("\u{1b}[{steps}{direction}")) }
    }
}

/// Rows and columns of stderr.
fn size() -> (u16, u16) {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    size.map(|size| (size.ws_row, size.ws_col)).filter(|(_, columns)| *columns > 0).unwrap_or((ROWS, COLUMNS))
}

/// Columns for a bar on a terminal of this width.
fn room(columns: u16) -> u16 {
    columns.saturating_sub(FREE).max(1)
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        room(size().1)
    }

    fn height(&self) -> u16 {
        size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.go(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.go(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.go(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.go(n, 'D')
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.draw(s)?;
        self.draw("\n")
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.draw(s)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.draw("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let drawn = std::mem::take(&mut *self.drawn());
        let mut stderr = io::stderr().lock();
        stderr.write_all(drawn.as_bytes())?;
        stderr.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bars_leave_room_for_what_the_terminal_echoes() {
        assert_eq!((room(80), room(2)), (77, 1));
        let terminal = Terminal::default();
        terminal.move_cursor_up(0).unwrap();
        terminal.move_cursor_up(2).unwrap();
        terminal.clear_line().unwrap();
        assert_eq!(*terminal.drawn(), "\u{1b}[2A\r\u{1b}[2K");
    }
}
