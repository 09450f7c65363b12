# Options of database servers: address, account, and the databases to back up.
{ fields, ... }:
with fields;
let
  modes = [
    "disable"
    "allow"
    "prefer"
    "require"
    "verify-ca"
    "verify-full"
  ];
in
[
  {
    kinds = [
      "postgres"
      "mysql"
    ];
    options = {
      host = text ''
        Host name or address of the server, or an absolute path: for `postgres` the directory of the socket, for `mysql` the
        socket itself. Without it the socket of a server on this machine is used: `/run/postgresql` or `/run/mysqld/mysqld.sock`.
      '' "db.example.org";
      port = port ''
        TCP port of the server. For a socket of PostgreSQL it is the number in the name of the socket. By default it is 5432 for
        `postgres` and 3306 for `mysql`; for the socket of this machine's PostgreSQL it is `services.postgresql.settings.port`.
      '' 5433;
      user = text "Role or account to log in as. Over a socket the default is the user that the services run as; over TCP it is required." "backup";
      passwordFile = file "File with the password of the role or account." "/run/secrets/shop-password";
      sslmode = word modes ''
        How TLS is demanded, in the words of libpq. By default it is `verify-full` for a host on the network and `prefer` for
        this machine. A socket has no TLS.
      '' "require";
      sslrootcert = text ''
        File with the certificates that are trusted, or "system" for those of the operating system, which is the default and works
        with `verify-full` only.
      '' "/etc/ssl/database.pem";
      sslcert = text "Client certificate; it needs `sslkey`." "/etc/ssl/client.crt";
      sslkey = file "File with the private key of the client certificate." "/run/secrets/client.key";
      clientDirs =
        texts
          "Folders in which the client programs are searched. By default they are found in `postgresqlPackages` and `mysqlPackages`."
          [ "/opt/mysql/bin" ];
      globals = switch "Whether roles, users and grants are backed up too, as the item `@globals`. The program's default is true.";
      azure = switch ''
        Whether every flexible server of this kind that the service principal sees is backed up, in place of the one that `host`
        names. It needs `tenantIdFile`, `clientIdFile` and `clientSecretFile`. The program's default is false.
      '';
      excludeServers = texts "Patterns of the servers to leave out, with `azure`." [ "*-sandbox" ];
    };
  }
  {
    kinds = [
      "postgres"
      "mysql"
      "mongodb"
    ];
    options.databases =
      texts
        "Patterns of the databases to back up. By default all are backed up, new ones too; an empty list is an error."
        [
          "shop"
          "crm_*"
        ];
  }
  {
    kinds = [
      "postgres"
      "mongodb"
    ];
    options.includeSystem = switch ''
      Whether the built-in databases are backed up too: those of PostgreSQL and of its provider, or `admin` of MongoDB. The
      program's default is false.
    '';
  }
]
