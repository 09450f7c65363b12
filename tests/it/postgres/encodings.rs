//! Databases in other encodings, with other collations, and with text that is not valid in any.

use testkit::{PgServer, PgVersion, Tool, skip_unless};

use super::support::{assert_says, backup, configured, manifest_of, properties, restore};

/// All the bytes of a text column, whatever encoding the database claims.
fn bytes(server: &PgServer, database: &str, table: &str) -> String {
    let query = format!(
        "SELECT string_agg(encode(convert_to(t, getdatabaseencoding()), 'hex'), ' ' ORDER BY id) FROM {table}"
    );
    server.psql(database, &query)
}

fn create(server: &PgServer, name: &str, how: &str) {
    server.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0 {how}"));
}

fn comes_back(version: PgVersion, locale: &str) {
    let server = PgServer::start(version);
    create(&server, "latin", "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
    server.psql(
        "latin",
        "CREATE TABLE \"größe\" (id int, t text);
         INSERT INTO \"größe\" VALUES (1, 'ÄÖÜ ß é'), (2, chr(233) || chr(255)), (3, '')",
    );
    create(&server, "ascii", "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'");
    server.psql(
        "ascii",
        r"CREATE TABLE raw (id int, t text);
          INSERT INTO raw VALUES (1, convert_from('\xe4f6fcff', 'SQL_ASCII')), (2, convert_from('\xc3', 'SQL_ASCII')),
                                 (3, convert_from('\xc3a4', 'SQL_ASCII')), (4, E'\t\\\n')",
    );
    create(&server, "other_locale", locale);
    server
        .psql("other_locale", "CREATE TABLE t (id int, t text); INSERT INTO t VALUES (1, 'a10'), (2, 'a9')");

    let config = configured(&server, "");
    backup(&config);
    for (name, table) in [("latin", "\"größe\""), ("ascii", "raw"), ("other_locale", "t")] {
        let restored = format!("{name}_restored");
        restore(&config, name, &["--into", &restored]);
        assert_eq!(bytes(&server, name, table), bytes(&server, &restored, table), "{name}");
        assert_eq!(properties(&server, name), properties(&server, &restored), "{name}");
    }
    assert_eq!(bytes(&server, "ascii_restored", "raw"), "e4f6fcff c3 c3a4 095c0a");
    assert_eq!(bytes(&server, "latin_restored", "\"größe\""), "c4d6dc20df20e9 e9ff ");
    let manifest = manifest_of(&config, "latin", "latest");
    assert_eq!(manifest["postgres"]["database"]["encoding"], "LATIN1");
    assert_eq!(manifest["postgres"]["database"]["collate"], "C");
    assert_eq!(
        manifest["objects"][0]["name"], "größe",
        "a name in the manifest is UTF-8 whatever the encoding"
    );
}

#[test]
fn other_encodings_and_collations_come_back_on_15() {
    skip_unless!(Tool::Pg15);
    comes_back(PgVersion::V15, "LOCALE_PROVIDER icu ICU_LOCALE 'de-u-kn-true'");
}

#[test]
fn other_encodings_and_collations_come_back_on_18() {
    skip_unless!(Tool::Pg18);
    comes_back(PgVersion::V18, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C'");
}

/// In a database that does not know its encoding even a name may be no UTF-8.
#[test]
fn a_table_whose_name_is_not_utf8_comes_back() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    create(&server, "ascii", "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'");
    let name = r"quote_ident(convert_from('\x67e4', 'SQL_ASCII'))";
    server.psql(
        "ascii",
        &format!("DO $$ BEGIN EXECUTE 'CREATE TABLE ' || {name} || ' AS SELECT 7 AS x'; END $$"),
    );
    let config = configured(&server, "");
    backup(&config);
    let done = restore(&config, "ascii", &["--into", "restored"]);
    // Its name cannot be written down, so what could not be checked is said.
    assert_says(&done["database"]["notes"].to_string(), &["not compared", "public.g"]);
    let named = "SELECT encode(convert_to(relname::text, getdatabaseencoding()), 'hex') FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(server.psql("restored", named), "67e4");
    let filled = format!(
        "DO $$ DECLARE found int; BEGIN
             EXECUTE 'SELECT x FROM ' || {name} INTO found;
             IF found IS DISTINCT FROM 7 THEN RAISE 'found %', found; END IF;
         END $$"
    );
    server.psql("restored", &filled);
}
