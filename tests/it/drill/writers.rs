//! No false alarms: the source changes while it is backed up, again and again, and every backup is proven.

use std::process::Stdio;

use mongodb::bson::doc;
use testkit::{
    Cmd, Config, ConfigBuilder, MongoServer, MyFlavour, PgServer, PgVersion, Tool, mysql_world,
    reports::ready, skip_unless,
};

use super::{drill_table, proven};

/// How often.
const TIMES: u32 = 20;

/// Backs up while `write` is called again and again, then proves; twenty times.
fn repeat(config: &Config, mut write: impl FnMut(u32)) {
    let mut number = 0;
    for _ in 0..TIMES {
        let mut command = Cmd::with(config).arg("backup").into_command();
        let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let status = loop {
            number += 1;
            write(number);
            if let Some(status) = run.try_wait().unwrap() {
                break status;
            }
        };
        assert!(status.success(), "{status}");
        proven(config, &["--all"]);
    }
    assert!(number > 2 * TIMES, "there were only {number} writes");
}

#[test]
fn to_postgresql() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("shop");
    server.psql(
        "shop",
        "CREATE TABLE orders (id serial PRIMARY KEY, text text, state varchar(9) CHECK (state IN ('new', 'old')));
         INSERT INTO orders (text, state) SELECT md5(n::text), 'new' FROM generate_series(1, 3000) n;
         CREATE VIEW old AS SELECT * FROM orders WHERE state IN ('old', 'gone')",
    );
    let config = ready(ConfigBuilder::new().postgres("pg", &server, "").tables(&drill_table("")));
    repeat(&config, |n| {
        server.psql(
            "shop",
            &format!(
                "INSERT INTO orders (text, state) VALUES ('{n}', 'old');
                 UPDATE orders SET text = text || 'x' WHERE id % 100 = {n} % 100;
                 DELETE FROM orders WHERE id = {n}; SELECT lo_from_bytea(0, 'object {n}');
                 CREATE TABLE IF NOT EXISTS t{} (n int);
                 CREATE OR REPLACE VIEW changing AS SELECT {n} AS n",
                n % 40
            ),
        );
        if n % 7 == 0 {
            server.psql("postgres", &format!("CREATE ROLE r{n} IN ROLE pg_monitor"));
        }
    });
}

fn to_mysql(flavour: MyFlavour) {
    let server = mysql_world::server(flavour);
    server.create_database("shop");
    server.sql(
        Some("shop"),
        "CREATE TABLE orders (id int PRIMARY KEY AUTO_INCREMENT, text varchar(200), KEY (text));
         INSERT INTO orders (text) VALUES ('a'), ('b'), ('c'), ('d'), ('e'), ('f'), ('g'), ('h');
         INSERT INTO orders (text) SELECT CONCAT(a.text, b.text, c.text) FROM orders a, orders b, orders c;
         CREATE VIEW few AS SELECT * FROM orders WHERE id < 10",
    );
    let config = ready(ConfigBuilder::new().mysql("my", &server, "").tables(&drill_table("")));
    repeat(&config, |n| {
        server.sql(
            Some("shop"),
            &format!(
                "INSERT INTO orders (text) VALUES ('{n}');
                 UPDATE orders SET text = CONCAT(text, 'x') WHERE id % 50 = {n} % 50;
                 DELETE FROM orders WHERE id = {n}"
            ),
        );
    });
}

#[test]
fn to_mysql_97() {
    skip_unless!(MyFlavour::Mysql97.tool());
    to_mysql(MyFlavour::Mysql97);
}

#[test]
fn to_mariadb() {
    skip_unless!(MyFlavour::Mariadb1011.tool());
    to_mysql(MyFlavour::Mariadb1011);
}

#[test]
fn to_mongodb() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start();
    server.insert("shop", "orders", (0..2000).map(|n| doc! { "_id": n, "text": format!("order {n}") }));
    let config = ready(ConfigBuilder::new().mongodb("mg", &server, "").tables(&drill_table("")));
    repeat(&config, |n| {
        let n = i32::try_from(n).unwrap();
        server.insert("shop", "orders", [doc! { "_id": 100_000 + n, "text": "more" }]);
        let change = doc! { "q": { "_id": n % 2000 }, "u": { "$set": { "text": format!("changed {n}") } } };
        server.command("shop", doc! { "update": "orders", "updates": [change] });
    });
}
