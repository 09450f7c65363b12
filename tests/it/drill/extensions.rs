//! Extensions of Debian's packages that keep rows of their own: what was backed up is proven, and an ordinary owner restores
//! it where an administrator has made the extensions beforehand.

use testkit::{
    Cmd, PgOptions, PgServer, PgVersion, Tool,
    reports::{backup, item, ready},
    skip_unless,
};

use super::proven;

/// A database as users of these extensions have it.
fn geography(server: &PgServer) {
    server.create_database("geo");
    server.psql("postgres", "CREATE ROLE surveyor LOGIN; ALTER DATABASE geo OWNER TO surveyor");
    server.psql(
        "geo",
        "CREATE EXTENSION postgis; CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman;
         INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text)
             VALUES (990001, 'guild', 1, 'LOCAL_CS[\"guild\"]', '+proj=longlat');
         GRANT ALL ON SCHEMA partman TO surveyor; GRANT ALL ON ALL TABLES IN SCHEMA partman TO surveyor;
         GRANT ALL ON SCHEMA public TO surveyor; GRANT ALL ON spatial_ref_sys TO surveyor;
         SET ROLE surveyor;
         CREATE TABLE places (id int GENERATED ALWAYS AS IDENTITY, name text, at geometry(Point, 4326));
         CREATE INDEX by_place ON places USING gist (at);
         INSERT INTO places (name, at) SELECT 'place ' || n, ST_SetSRID(ST_MakePoint(n % 180, n % 90), 4326)
             FROM generate_series(1, 500) n;
         CREATE TABLE visits (day date NOT NULL, place int) PARTITION BY RANGE (day);
         SELECT partman.create_parent('public.visits', 'day', 'native', 'monthly');
         INSERT INTO visits SELECT current_date, n FROM generate_series(1, 300) n",
    );
}

#[test]
fn postgis_and_pg_partman_are_proven_and_restored_by_an_ordinary_owner() {
    skip_unless!(Tool::Pg15, Tool::Postgis, Tool::Partman);
    let server = PgOptions::new(PgVersion::V15).start();
    geography(&server);
    let config = ready(super::alarms::builder(&server, "jobs = 1"));
    backup(&config);
    let report = proven(&config, &["--all"]);
    assert!(item(&report, "geo")["rows"].as_u64().unwrap() > 800, "{report:#}");

    // As on a managed server: the administrator makes the extensions, and the owner restores everything else.
    server.create_database("again");
    server.psql("postgres", "ALTER DATABASE again OWNER TO surveyor");
    server.psql(
        "again",
        "CREATE EXTENSION postgis; CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman;
         GRANT ALL ON SCHEMA partman TO surveyor; GRANT ALL ON ALL TABLES IN SCHEMA partman TO surveyor;
         GRANT ALL ON SCHEMA public TO surveyor; GRANT ALL ON spatial_ref_sys TO surveyor",
    );
    let host = server.socket_dir().display().to_string().replace('/', "%2F");
    let into = format!("postgresql://surveyor@/again?host={host}&port={}", server.port());
    let ran = Cmd::with(&config).args(["restore", "pg/geo", "--into", &into, "--no-privileges"]).run().ok();
    assert!(ran.stdout.contains("rows counted"), "{}", ran.stdout);
    for query in [
        "SELECT count(*) FROM places WHERE ST_X(at) >= 0",
        "SELECT count(*) FROM visits",
        "SELECT count(*) FROM spatial_ref_sys WHERE srid = 990001",
        "SELECT count(*) FROM partman.part_config",
    ] {
        assert_eq!(server.psql("again", query), server.psql("geo", query), "{query}");
    }
}
