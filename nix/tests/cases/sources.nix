# Typed sources, and servers on the same machine.
lib':
let
  inherit (lib')
    backup
    case
    database
    has
    lacks
    lib
    one
    show
    sops
    withSops
    ;
in
{
  sources =
    case
      [
        withSops
        ({ config, ... }: {
          sops.secrets.shop = { };
          services.tik-backup.alerting.enable = false;
          services.tik-backup.sources = {
            shop = {
              kind = "postgres";
              host = "db.example.org";
              user = "reader";
              passwordFile = config.sops.secrets.shop.path;
              schedule = "01:00";
              retention.keepMonthly = 12;
            };
            files = {
              kind = "directory";
              paths = [ config.users.users.root.home ];
              schedule = "04:00";
            };
          };
        })
        (backup { sources.shop.exclude = [ "scratch" ]; })
        (backup { settings.sources.shop.user = "other"; })
      ]
      {
        credentials."sources.shop.password_file" = "/run/secrets/shop";
        settings.sources.shop = {
          user = "other";
          exclude = [ "scratch" ];
          retention.keep_monthly = 12;
          databases = null;
        };
        settings.sources.files.paths = [ "/root" ];
        timers.tik-backup-source-files = "04:00";
      };
  sourcesChangePreset =
    case
      [
        one
        (backup { sources.azure-postgres.schedule = "05:00"; })
      ]
      {
        timers.tik-backup-source-azure-postgres = "05:00";
        settings.sources.azure-postgres.host = "example.postgres.database.azure.com";
      };
  sourcesOptionOfOtherKind = case [
    (backup {
      sources.x = {
        kind = "directory";
        paths = [ "/srv" ];
        host = "h";
        schedule = "01:00";
      };
    })
  ] { failed = [ "sources.x.host: this option is for sources of kind" ]; };
  sourcesInStore = case [
    (backup {
      sources.x = {
        kind = "mongodb";
        uriFile = "${../eval.nix}";
        schedule = "01:00";
      };
    })
  ] { failed = [ "every user can read" ]; };

  localPostgresql =
    case
      [
        database
        ({ pkgs, ... }: {
          services.postgresql.package = pkgs.postgresql_17;
          services.tik-backup.discourse.enable = true;
        })
      ]
      {
        config.services.tik-backup.postgresqlPackages =
          packages: map (one: lib.versions.major (lib.getVersion one)) packages == [ "17" ];
        after.tik-backup-source-discourse =
          after: has "postgresql.service" after || has "postgresql.target" after;
        after.tik-backup-source-discourse-uploads = lacks "postgresql.service";
      };
  localPostgresqlTooOld = case [
    database
    ({ pkgs, ... }: {
      services.postgresql.package = pkgs.postgresql // {
        version = "13.18";
      };
      services.tik-backup.discourse.enable = true;
    })
  ] { failed = [ "exists since PostgreSQL 14" ]; };
  localMysql =
    case
      [
        ({ pkgs, ... }: {
          services.mysql.enable = true;
          services.mysql.package = pkgs.mariadb;
          services.tik-backup.sources.wiki = {
            kind = "mysql";
            host = "/run/mysqld/mysqld.sock";
            user = "tik-backup";
            schedule = "01:00";
          };
        })
      ]
      {
        after.tik-backup-source-wiki = has "mysql.service";
        config.services.tik-backup.mysqlPackages =
          packages: map lib.getName packages == [ "mariadb-server" ] || show (map lib.getName packages);
      };
  discourseWithoutServer = case [ (backup { discourse.enable = true; }) ] {
    warnings = [ "services.postgresql is not enabled" ];
  };

}
