//! What each part of a dump means for its division.

use super::{
    super::{
        super::{
            lexer::{Gap, Handler, Statement},
            objects::{Action, action, insert_table},
        },
        Lanes,
    },
    COLLECTED, Parts, To,
};

impl<L: Lanes> Handler for Parts<L> {
    fn gap(&mut self, gap: Gap, text: &[u8]) {
        if gap == Gap::Command {
            if let Some(word) = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).nth(1) {
                self.delimiter = word.to_vec();
                self.plain = word == b";";
            }
            if self.split {
                self.later.append(&mut self.gap);
                self.later.extend_from_slice(text);
                return;
            }
        }
        if gap != Gap::Sandbox {
            self.gap.extend_from_slice(text);
        }
        if self.gap.len() > COLLECTED {
            self.stop_splitting();
            self.put_gap();
        }
    }

    fn statement(&mut self, statement: Statement<'_>) {
        if self.failed.is_some() {
            return;
        }
        let action = action(statement.text, statement.backslash);
        if !self.split {
            self.put_gap();
            if let Action::Create(create) = &action {
                self.announce(create.kind, &create.name);
            }
            return self.put(statement);
        }
        match action {
            Action::SetOne(variable, value) => self.set(Some(&variable), &value, statement),
            Action::Set => self.set(None, "", statement),
            other => {
                self.end_head();
                match other {
                    Action::Create(create) => self.create(&create, statement),
                    Action::Table(name) if self.plain => self.of_table(&name, statement),
                    Action::DropSequence(_) | Action::SetValue(..) if self.plain => {
                        self.define_now(statement.text);
                    }
                    Action::AlterDatabase { .. } => self.put_later(statement),
                    Action::Other if statement.text.trim_ascii().eq_ignore_ascii_case(b"COMMIT") => {
                        self.gap.clear();
                    }
                    _ => self.put(statement),
                }
            }
        }
    }

    fn long(&mut self, piece: &[u8], _first: bool) {
        self.stop_splitting();
        self.put_gap();
        self.define(piece);
    }

    fn insert(&mut self, head: &[u8]) {
        let table = insert_table(head);
        let own = self.split
            && self.plain
            && self.current.as_ref().is_some_and(|current| table.as_ref() == Some(&current.name));
        if own {
            self.gap.clear();
            self.passing = Some(To::Rows);
            return self.load(head);
        }
        self.stop_splitting();
        self.put_gap();
        if let Some(table) = table {
            self.announce("table", &table);
        }
        self.passing = Some(To::Definitions);
        self.define(head);
    }

    fn data(&mut self, piece: &[u8]) {
        match self.passing {
            Some(To::Rows) => self.load(piece),
            _ => self.define(piece),
        }
    }

    fn insert_end(&mut self, _foreign: bool) {
        if self.passing.take() == Some(To::Rows) {
            self.load(b"\n");
            self.end_rows();
        }
    }

    fn cut_off(&mut self, text: &[u8]) {
        if self.passing.take() == Some(To::Rows) {
            self.end_rows();
        }
        self.stop_splitting();
        self.put_gap();
        self.define(text);
    }
}
