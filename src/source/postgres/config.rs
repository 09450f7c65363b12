//! `kind = "postgres"`: a PostgreSQL server.

use crate::{
    settings::reader::Reader,
    source::server::{self, Defaults, ServerConfig},
};

/// A PostgreSQL server.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresConfig {
    /// The connection, and the selection of databases.
    pub server: ServerConfig,
    /// Database to connect to for discovery.
    pub maintenance_db: String,
    /// Whether the built-in databases are backed up too.
    pub include_system: bool,
    /// Whether the roles' password hashes are part of `@globals`.
    pub role_passwords: RolePasswords,
}

/// How to treat the password hashes of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolePasswords {
    /// Include them if the backup role may read them.
    Auto,
    /// Never include them.
    Never,
}

impl PostgresConfig {
    /// The configuration of a source, if it is of this kind.
    pub(crate) fn of<'a>(config: &'a (dyn crate::source::KindConfig + 'static)) -> Option<&'a Self> {
        (config as &dyn std::any::Any).downcast_ref()
    }
}

/// Reads the keys of this kind.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<PostgresConfig> {
    let defaults = Defaults {
        socket: "/run/postgresql",
        path: "the directory of a socket",
        port: 5432,
        account: "a role",
    };
    let server = server::read(reader, &defaults);
    let maintenance_db = reader.string("maintenance_db").unwrap_or_else(|| "postgres".into());
    let role_passwords = [("auto", RolePasswords::Auto), ("never", RolePasswords::Never)];
    let include_system = reader.boolean("include_system", false);
    let role_passwords = reader.choice("role_passwords", &role_passwords).unwrap_or(RolePasswords::Auto);
    Some(PostgresConfig { server: server?, maintenance_db, include_system, role_passwords })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::path::Path;

    use crate::settings::{Host, RootCertificates, SslMode, testing};

    fn postgres(keys: &str) -> PostgresConfig {
        testing::read(keys, read).unwrap()
    }

    #[test]
    fn nothing_need_be_said_of_a_server_on_this_machine() {
        let postgres = postgres("");
        assert_eq!(postgres.server.host, Host::Socket("/run/postgresql".into()));
        assert_eq!((postgres.server.port, postgres.maintenance_db.as_str()), (5432, "postgres"));
        assert_eq!(
            (postgres.server.user, postgres.server.sslmode, postgres.server.sslrootcert),
            (None, None, None)
        );
        assert_eq!(postgres.server.databases.matched("any/thing"), Some("*"));
        assert!(postgres.server.exclude.is_empty() && postgres.server.client_dirs.is_empty());
        assert!(postgres.server.globals && !postgres.include_system);
        assert_eq!(postgres.role_passwords, RolePasswords::Auto);
    }

    #[test]
    fn tls_defaults_follow_the_host() {
        for (host, mode, root) in [
            ("db.example.org", SslMode::VerifyFull, Some(RootCertificates::System)),
            ("10.0.0.1", SslMode::VerifyFull, Some(RootCertificates::System)),
            ("fe80::1%eth0", SslMode::VerifyFull, Some(RootCertificates::System)),
            ("localhost", SslMode::Prefer, None),
            ("127.0.3.1", SslMode::Prefer, None),
            ("::1", SslMode::Prefer, None),
        ] {
            let postgres = postgres(&format!("host = \"{host}\"\nuser = \"u\"\n"));
            assert_eq!((postgres.server.sslmode, postgres.server.sslrootcert), (Some(mode), root), "{host}");
            assert_eq!(postgres.server.host.as_path(), Path::new(host));
        }
        let file =
            postgres("host = \"h\"\nuser = \"u\"\nsslmode = \"verify-ca\"\nsslrootcert = \"ca.pem\"\n");
        assert_eq!(file.server.sslrootcert, Some(RootCertificates::File("/etc/tik/ca.pem".into())));
        assert_eq!(file.server.sslmode.unwrap().as_str(), "verify-ca");
        let weak = postgres("host = \"h\"\nuser = \"u\"\nsslmode = \"require\"\n");
        assert_eq!((weak.server.sslmode, weak.server.sslrootcert), (Some(SslMode::Require), None));
        let named_file = postgres("host = \"h\"\nuser = \"u\"\nsslrootcert = \"./system\"\n");
        assert_eq!(named_file.server.sslrootcert, Some(RootCertificates::File("/etc/tik/./system".into())));
        assert_eq!(postgres("sslmode = \"disable\"\n").server.sslmode, Some(SslMode::Disable));
    }

    #[test]
    fn servers_in_azure_are_remote() {
        let keys = "tenant_id_file = \"t\"\nclient_id_file = \"c\"\nclient_secret_file = \"s\"\n";
        let found = postgres(&format!("azure = true\nuser = \"u\"\n{keys}exclude_servers = [\"s\"]\n"));
        assert_eq!(found.server.sslmode, Some(SslMode::VerifyFull));
        assert_eq!(found.server.azure.unwrap().exclude_servers.matched("s"), Some("s"));
        assert!(postgres("").server.azure.is_none());
    }
}
