//! TLS in the words of each family: who is trusted, and what happens when there is none.

use std::process::Command;

use testkit::{
    Cmd, Config, ConfigBuilder, MyFlavour, MyOptions, MyServer, Tool,
    mysql_world::{SOURCE, full, started},
    process::run_ok,
    program::quoted,
    reports::{assert_says, ready, restore, try_backup},
    skip_unless,
};

on_both!(a_server_is_verified, a_server_without_tls_is_refused_where_it_is_demanded);

fn over_port(server: &MyServer, host: &str, lines: &str) -> Config {
    let socket = format!("host = {}", quoted(&server.socket().display().to_string()));
    let source = server.config_toml();
    assert!(source.contains(&socket));
    let source = source.replace(&socket, &format!("host = {}\nport = {}", quoted(host), server.port()));
    ready(ConfigBuilder::new().source(SOURCE, &format!("{source}\n{lines}")))
}

fn another_authority(folder: &std::path::Path) -> String {
    let mut openssl = Command::new(Tool::Openssl.path().unwrap());
    openssl.current_dir(folder).args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]);
    openssl.args([
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=another",
        "-keyout",
        "other.key",
        "-out",
        "other.crt",
    ]);
    run_ok(&mut openssl, b"");
    folder.join("other.crt").to_str().unwrap().to_owned()
}

fn a_server_is_verified(flavour: MyFlavour) {
    skip_unless!(Tool::Openssl);
    let server = started(MyOptions::new(flavour).tls().setting("bind-address=0.0.0.0"));
    server.create_database("shop");
    server.sql(Some("shop"), "CREATE TABLE t (x int); INSERT INTO t VALUES (4711)");
    server.sql(None, "GRANT ALL ON copy.* TO backup@127.0.0.1");
    let ca = quoted(server.ca_file().unwrap().to_str().unwrap());
    let strict = format!("sslmode = \"verify-full\"\nsslrootcert = {ca}");
    for host in ["localhost", "127.0.0.1"] {
        let config = over_port(&server, host, &strict);
        try_backup(&config, &[]).ok();
        if host == "localhost" {
            restore(&config, &full("shop"), &["--into", "copy", "--no-owner"]);
            assert_eq!(server.sql(Some("copy"), "SELECT x FROM t"), "4711");
        }
    }
    let refused = |host: &str, lines: &str, says: &[&str]| {
        let config = over_port(&server, host, lines);
        let ran = try_backup(&config, &[]).expect_code(1);
        assert_says(&ran.stdout, says);
        assert_eq!(ran.json()["items"][0]["snapshot"], serde_json::Value::Null);
    };
    let folder = tempfile::tempdir().unwrap();
    let other = quoted(&another_authority(folder.path()));
    refused("localhost", &format!("sslmode = \"verify-full\"\nsslrootcert = {other}"), &["sslrootcert"]);
    refused("localhost", "sslmode = \"verify-full\"", &["sslrootcert"]);
    refused("localhost", &format!("sslmode = \"verify-ca\"\nsslrootcert = {other}"), &["sslrootcert"]);
    // The certificate is for localhost and 127.0.0.1.
    refused("127.0.0.2", &strict, &["`host` must be a name the server's certificate was issued for"]);
    // The server requires TLS; its identity is not verified.
    refused("localhost", "sslmode = \"disable\"", &["sslmode"]);
    let config = over_port(&server, "127.0.0.2", "sslmode = \"require\"");
    try_backup(&config, &[]).ok();
}

fn a_server_without_tls_is_refused_where_it_is_demanded(flavour: MyFlavour) {
    let off = match flavour {
        MyFlavour::Mysql97 => "tls-version=",
        MyFlavour::Mariadb1011 => "skip-ssl",
    };
    let server = started(MyOptions::new(flavour).tcp().setting(off));
    server.create_database("shop");
    let config = over_port(&server, "127.0.0.1", "sslmode = \"require\"");
    let ran = try_backup(&config, &[]).expect_code(1);
    assert_says(&ran.stdout, &["TLS", "sslmode"]);
    let ran = Cmd::with(&config).arg("discover").run().expect_code(1);
    assert_says(&ran.stdout, &["TLS"]);
    // Told to do without, it does.
    try_backup(&over_port(&server, "127.0.0.1", "sslmode = \"prefer\""), &[]).ok();
}
