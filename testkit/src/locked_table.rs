//! A session that keeps a table locked.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Stdio},
};

use crate::PgServer;

/// A session of PostgreSQL that keeps a table locked until it is dropped.
pub struct LockedTable(Child);

impl LockedTable {
    /// Locks a table in a mode in which nobody else can read it.
    pub fn hold(server: &PgServer, database: &str, table: &str) -> Self {
        let mut psql = server.client("psql");
        psql.args(["-XqAt", "-d", database]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = psql.spawn().unwrap();
        let sql = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;\n\\echo locked\n");
        child.stdin.as_mut().unwrap().write_all(sql.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "locked\n");
        Self(child)
    }
}

impl Drop for LockedTable {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}
