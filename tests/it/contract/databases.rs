//! PostgreSQL and the two families of MySQL as subjects of the suite.

use testkit::{
    ConfigBuilder, FakeClients, MyFlavour, MyServer, PgServer, PgVersion,
    mysql::{quote as my_quote, text as my_text},
    mysql_world,
    postgres::quote as pg_quote,
    postgres_world,
    program::quoted,
    running::Hold,
};

use super::subject::{Offer, SECRET, SOURCE, Subject};

/// The lines of a tool that gives up within the data.
const BREAK_OFF: &str = "dump \"$@\" | head -c 150000; echo broken off >&2; exit 1";

/// PostgreSQL 15.
pub struct Postgres {
    server: PgServer,
    clients: FakeClients,
}

impl Postgres {
    pub fn start() -> Self {
        Self { server: PgServer::start(PgVersion::V15), clients: FakeClients::of_postgres() }
    }
}

fn pg_text(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

impl Subject for Postgres {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn add_to(&self, builder: ConfigBuilder, more: &str) -> ConfigBuilder {
        let file = builder.secret("pg password", SECRET);
        let lines = format!(
            "password_file = {}\n{}\n{more}",
            quoted(file.to_str().unwrap()),
            postgres_world::client_dirs(&self.clients)
        );
        builder.postgres(SOURCE, &self.server, &lines)
    }

    fn create(&self, item: &str, texts: &[String]) {
        self.create_empty(item);
        let rows: Vec<_> = texts.iter().map(|text| format!("({})", pg_text(text))).collect();
        let sql = format!(
            "CREATE TABLE things (id serial PRIMARY KEY, text text); INSERT INTO things (text) VALUES {};
             CREATE VIEW counted AS SELECT count(*) AS n FROM things",
            rows.join(", ")
        );
        self.server.psql(item, &sql);
    }

    fn create_empty(&self, item: &str) {
        self.server.create_database(item);
    }

    fn add(&self, item: &str, text: &str) {
        self.server.psql(item, &format!("INSERT INTO things (text) VALUES ({})", pg_text(text)));
    }

    fn remove(&self, item: &str) {
        self.server.psql("postgres", &format!("DROP DATABASE {}", pg_quote(item)));
    }

    fn content(&self, item: &str) -> String {
        self.server.dump_text(item)
    }

    fn odd_names(&self) -> Vec<&'static str> {
        vec!["it's \"a\" `db`/x\\y", "größe ☃", "--clean", "dbname=postgres", "UPPER", "a.b;c", " "]
    }

    fn into(&self, item: &str) -> String {
        format!("--into={item}")
    }

    fn break_off(&self, item: &str) {
        self.clients.script(item, BREAK_OFF);
    }

    fn heal(&self, item: &str) {
        self.clients.heal(item);
    }

    fn hold(&self, item: &str) -> Offer<Hold> {
        Ok(self.clients.hold(item))
    }

    // An archive begins with the time at which it was made.
    fn repeats_itself(&self) -> bool {
        false
    }

    fn has_globals(&self) -> bool {
        true
    }
}

/// MySQL or MariaDB.
pub struct Mysql {
    server: MyServer,
    clients: FakeClients,
}

impl Mysql {
    pub fn start(flavour: MyFlavour) -> Self {
        let server = mysql_world::server(flavour);
        server.sql(None, &format!("ALTER USER backup@localhost IDENTIFIED BY {}", my_text(SECRET)));
        Self { server, clients: FakeClients::of_mysql(flavour) }
    }
}

impl Subject for Mysql {
    fn kind(&self) -> &'static str {
        "mysql"
    }

    fn add_to(&self, builder: ConfigBuilder, more: &str) -> ConfigBuilder {
        let file = builder.secret("my password", SECRET);
        let lines = mysql_world::as_account(&self.server, "backup", &file, more);
        builder.source(SOURCE, &self.clients.instead(self.server.flavour(), &lines))
    }

    fn create(&self, item: &str, texts: &[String]) {
        self.create_empty(item);
        let rows: Vec<_> = texts.iter().map(|text| format!("({})", my_text(text))).collect();
        let sql = format!(
            "CREATE TABLE things (id int PRIMARY KEY AUTO_INCREMENT, text text); INSERT INTO things (text) VALUES {};
             CREATE VIEW counted AS SELECT count(*) AS n FROM things",
            rows.join(", ")
        );
        self.server.sql(Some(item), &sql);
    }

    fn create_empty(&self, item: &str) {
        self.server.create_database(item);
    }

    fn add(&self, item: &str, text: &str) {
        self.server.sql(Some(item), &format!("INSERT INTO things (text) VALUES ({})", my_text(text)));
    }

    fn remove(&self, item: &str) {
        self.server.sql(None, &format!("DROP DATABASE {}", my_quote(item)));
    }

    fn content(&self, item: &str) -> String {
        mysql_world::dump_of(&self.server, item)
    }

    fn odd_names(&self) -> Vec<&'static str> {
        vec!["it's \"a\" `db`/x\\y", "größe ☃", "--clean", "#hash", "UPPER", "a.b;c", "%"]
    }

    fn into(&self, item: &str) -> String {
        format!("--into={}", mysql_world::url(&self.server, item))
    }

    fn break_off(&self, item: &str) {
        self.clients.script(item, BREAK_OFF);
    }

    fn heal(&self, item: &str) {
        self.clients.script(item, "dump \"$@\"");
    }

    fn hold(&self, item: &str) -> Offer<Hold> {
        Ok(self.clients.hold(item))
    }

    fn has_globals(&self) -> bool {
        true
    }
}
