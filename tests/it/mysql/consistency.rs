//! All tables of a database are from one moment, whatever is written meanwhile.

use testkit::{
    Cmd, ConfigBuilder, FakeClients, MyFlavour,
    mysql_world::{SOURCE, full, server, url},
    reports::{manifest_of, ready, restore},
    running::Running,
};

on_both!(amounts_that_move_during_the_dump_are_counted_once);

fn amounts_that_move_during_the_dump_are_counted_once(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("bank");
    server.sql(
        Some("bank"),
        "CREATE TABLE a (id int PRIMARY KEY AUTO_INCREMENT, amount bigint, filler char(200) DEFAULT 'x');
         INSERT INTO a (amount) VALUES (100), (100), (100), (100), (100), (100), (100), (100);
         INSERT INTO a (amount) SELECT 100 FROM a x, a y, a z, a w;
         CREATE TABLE z LIKE a; INSERT INTO z SELECT * FROM a",
    );
    let total = "SELECT (SELECT SUM(amount) FROM a) + (SELECT SUM(amount) FROM z)";
    let before = server.sql(Some("bank"), total);
    let clients = FakeClients::of_mysql(flavour);
    let config = ready(ConfigBuilder::new().source(SOURCE, &clients.instead(flavour, &server.config_toml())));
    let hold = clients.hold("bank");
    let mut running = Running::start(Cmd::with(&config).args(["backup", "my/bank"]).into_command());
    hold.wait_reached(&mut running);
    // The dump has begun and stands in the middle of the first table: the second one has not been read.
    for _ in 0..5 {
        server.sql(
            Some("bank"),
            "START TRANSACTION; UPDATE a, z SET a.amount = a.amount - 7, z.amount = z.amount + 7 WHERE a.id = z.id; COMMIT;
             START TRANSACTION; INSERT INTO z (amount) SELECT amount FROM a WHERE id % 3 = 0; DELETE FROM a WHERE id % 3 = 0; COMMIT",
        );
    }
    assert_eq!(server.sql(Some("bank"), total), before, "the amounts moved, none was lost");
    let left: u64 = server.sql(Some("bank"), "SELECT COUNT(*) FROM a").parse().unwrap();
    assert!(left < 3_000, "{left}");
    hold.release();
    running.finish().expect_code(0);
    let manifest = manifest_of(&config, &full("bank"), "latest");
    assert_eq!(manifest["consistency"], "snapshot");
    restore(&config, &full("bank"), &["--into", &url(&server, "then")]);
    assert_eq!(server.sql(Some("then"), total), before);
    let then = server.sql(
        Some("then"),
        "SELECT (SELECT COUNT(*) FROM a), (SELECT COUNT(*) FROM z), (SELECT MIN(amount) FROM a)",
    );
    assert_eq!(then, "4104\t4104\t100", "the moment is that of the dump's begin");
}
