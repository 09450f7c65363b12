# The database servers of this machine: their programs, their units, and the sources that use them.
{
  config,
  lib,
  pkgs ? null,
}:
let
  inherit (config.services) postgresql mysql;
  cfg = config.services.tik-backup;
  sources = lib.attrValues (cfg.settings.sources or { });

  # With the extensions, which scratch servers need, if this NixOS release provides them.
  postgresqlPackage = postgresql.finalPackage or postgresql.package;
  postgresqlSocket = "/run/postgresql";
  postgresqlPort = postgresql.settings.port or 5432;
  mysqlPort = mysql.settings.mysqld.port or 3306;
  # If the target exists, the server is set up only when the target is reached.
  postgresqlUnit =
    if config.systemd.targets ? postgresql then "postgresql.target" else "postgresql.service";

  is = kind: source: (source.kind or null) == kind;
  isSocket = source: !(source ? host) || lib.hasPrefix "/" source.host;
  isLoopback =
    source: builtins.match "localhost|.*\\.localhost|127\\..*|::1" (source.host or "") != null;
  isLocal = source: !(source.azure or false) && (isSocket source || isLoopback source);

  # Whether a source is the server that NixOS runs on this machine, and not one in a container or on another machine.
  isServer =
    {
      enable,
      socket,
      usual,
      port,
    }:
    source:
    enable
    && isLocal source
    && (!isSocket source || (source.host or socket) == socket)
    && (source.port or usual) == port;
  isPostgresql = isServer {
    inherit (postgresql) enable;
    socket = postgresqlSocket;
    usual = 5432;
    port = postgresqlPort;
  };
  isMysql =
    source:
    isServer {
      inherit (mysql) enable;
      socket = "/run/mysqld/mysqld.sock";
      usual = 3306;
      # The name of a socket does not depend on the port.
      port = if isSocket source then source.port or 3306 else mysqlPort;
    } source;

  others = kind: test: lib.any (source: is kind source && !test source) sources;
  major = package: lib.versions.major (lib.getVersion package);
in
{
  inherit
    postgresqlPackage
    postgresqlPort
    postgresqlSocket
    postgresqlUnit
    ;

  postgresqlPackages =
    if !postgresql.enable then
      [ pkgs.postgresql ]
    else
      [ postgresqlPackage ]
      ++ lib.optional (
        others "postgres" isPostgresql && major pkgs.postgresql != major postgresqlPackage
      ) pkgs.postgresql;

  # MariaDB's client cannot dump everything of a MySQL server. For a socket of an unknown server, the family is unknown as
  # well.
  mysqlPackages = lib.unique (
    lib.optional mysql.enable mysql.package
    ++ lib.optional (others "mysql" (
      source: isMysql source || (isSocket source && !(source.azure or false))
    )) pkgs.mysql84
  );

  # A source over the usual socket of this machine's PostgreSQL has its port.
  withPort =
    source:
    if
      is "postgres" source
      && postgresql.enable
      && postgresqlPort != 5432
      && !(source.azure or false)
      && (source.host or postgresqlSocket) == postgresqlSocket
    then
      { port = postgresqlPort; } // source
    else
      source;

  # Units of servers on this machine that a service has to start after.
  unitsOf =
    service:
    let
      prefix = "tik-backup-source-";
      name = lib.removePrefix prefix service;
      source = if lib.hasPrefix prefix service then cfg.settings.sources.${name} or { } else { };
      needed =
        lib.optional (is "postgres" source && isPostgresql source) postgresqlUnit
        ++ lib.optional (is "mysql" source && isMysql source) "mysql.service";
    in
    {
      wants = needed;
      # The address of a MongoDB is in a secret. It may be on another machine, so it does not start the server here.
      after =
        needed
        ++ lib.optional (
          is "mongodb" source && (config.services.mongodb.enable or false)
        ) "mongodb.service";
    };
}
