# What is known of the database servers of this machine: their programs, their units, and which sources they are.
{
  config,
  lib,
  pkgs ? null,
}:
let
  inherit (config.services) postgresql mysql;
  cfg = config.services.tik-backup;
  sources = lib.attrValues (cfg.settings.sources or { });

  # With the extensions, which scratch servers of drills need, where this NixOS knows them.
  postgresqlPackage = postgresql.finalPackage or postgresql.package;
  postgresqlSocket = "/run/postgresql";
  postgresqlPort = postgresql.settings.port or 5432;
  mysqlPort = mysql.settings.mysqld.port or 3306;
  # Where there is the target, the server is set up only when that is reached.
  postgresqlUnit =
    if config.systemd.targets ? postgresql then "postgresql.target" else "postgresql.service";

  is = kind: source: (source.kind or null) == kind;
  isSocket = source: !(source ? host) || lib.hasPrefix "/" source.host;
  isLoopback =
    source: builtins.match "localhost|.*\\.localhost|127\\..*|::1" (source.host or "") != null;
  isLocal = source: !(source.azure or false) && (isSocket source || isLoopback source);

  # Whether a source is the server that NixOS runs here, and not one of a container or of another machine.
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
      # The name of a socket says nothing of the port.
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

  # MariaDB's client does not take all that MySQL's server has. Of a socket whose server is not known here, its family is
  # not known either.
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

  # Units of servers on this machine that a service has to wait for: that of a source which is one of them.
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
      # Where a MongoDB is stands in a secret: what may be another machine's does not start the one here.
      after =
        needed
        ++ lib.optional (
          is "mongodb" source && (config.services.mongodb.enable or false)
        ) "mongodb.service";
    };
}
