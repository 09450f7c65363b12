# Settings.
lib':
let
  inherit (lib')
    azurePostgres
    backup
    case
    directory
    filter
    has
    hasAll
    hasPrefix
    lacks
    lib
    mkDefault
    mkForce
    mkMerge
    one
    silent
    ;
in
{
  nulls =
    case
      [
        one
        (backup {
          settings = {
            drill.dir = null;
            drill.mongod = null;
            state_dir = null;
            dashboard = null;
            repository.password_file = null;
            retention.keep_weekly = null;
            systemd.check = null;
            systemd.memory_max = null;
            systemd.environment_file = null;
            sources.gone = null;
            sources.azure-postgres.exclude = null;
            runbook.contacts = [
              {
                name = "A";
                reach = null;
              }
            ];
          };
        })
      ]
      {
        settings = {
          drill.dir = null;
          sources.gone = null;
          state_dir = null;
          retention.keep_weekly = null;
          runbook.contacts = [ { name = "A"; } ];
        };
        timers.tik-backup-check = "Sun 10:00";
        unit.tik-backup-check.MemoryMax = "50%";
        names = lacks "tik-backup-serve";
      };
  force =
    case
      [
        one
        (backup {
          settings = {
            retention.keep_daily = mkForce 30;
            repository.host = "other";
            systemd.watch = "never";
            sources.azure-postgres.exclude = mkForce [ "x" ];
          };
        })
      ]
      {
        settings.retention.keep_daily = 30;
        settings.repository.host = "other";
        settings.sources.azure-postgres.exclude = [ "x" ];
        timers.tik-backup-watch = null;
      };
  presetBySettings =
    case
      [
        one
        (backup {
          settings.sources.azure-postgres = {
            schedule = "05:00";
            user = "reader";
            host = "other.example.org";
            exclude = [ "scratch" ];
          };
        })
      ]
      {
        timers.tik-backup-source-azure-postgres = "05:00";
        settings.sources.azure-postgres = {
          user = "reader";
          host = "other.example.org";
          exclude = [ "scratch" ];
        };
      };
  presetExclude =
    case
      [
        (backup {
          azurePostgres = azurePostgres // {
            exclude = [ "scratch" ];
          };
        })
      ]
      {
        settings.sources.azure-postgres.exclude = [ "scratch" ];
      };
  presetDefaults =
    case
      [
        one
        { services.tik-backup.azurePostgres.schedule = mkDefault "04:00"; }
        (backup {
          retention = mkMerge [
            { daily = 14; }
            { weekly = 8; }
          ];
        })
      ]
      {
        timers.tik-backup-source-azure-postgres = "04:00";
        settings.retention = {
          keep_daily = 14;
          keep_weekly = 8;
        };
      };
  twoModules =
    case
      [
        (backup {
          settings.sources.one = directory;
          settings.alerts = [
            {
              kind = "heartbeat";
              url_file = "/run/one";
            }
          ];
        })
        (backup {
          settings.sources.two = directory;
          settings.alerts = [
            {
              kind = "heartbeat";
              url_file = "/run/two";
            }
          ];
        })
      ]
      {
        names = hasAll [
          "tik-backup-source-one"
          "tik-backup-source-two"
        ];
        settings.alerts = alerts: lib.length alerts == 3;
        credentials = found: lib.length (filter (hasPrefix "alerts.") (lib.attrNames found)) == 3;
      };
  sourceWithSpace = case [ (backup { settings.sources."my wiki" = directory; }) ] {
    failed = [ "is not a valid source name" ];
  };
  sourceWithoutSchedule =
    case [ (backup { settings.sources.x = removeAttrs directory [ "schedule" ]; }) ]
      {
        names = has "tik-backup-source-x";
        timers.tik-backup-source-x = null;
      };
  sourceInHome =
    case
      [
        (backup {
          settings.sources.home = directory // {
            paths = [ "/home/x" ];
          };
        })
      ]
      {
        unit.tik-backup-source-home.ProtectHome = "read-only";
      };
  silent = case [ one silent ] { settings.alerts = null; };
  dashboard =
    case
      [
        one
        (backup {
          dashboard = {
            enable = true;
            listen = "unix:/run/tik-backup/page.sock";
          };
        })
      ]
      {
        unit.tik-backup-serve.RuntimeDirectory = "tik-backup";
      };
  configFile =
    case
      [
        one
        (backup { configFile = mkForce "/etc/tik.toml"; })
      ]
      {
        credentials.configuration = "/etc/tik.toml";
      };
  schedules =
    case
      [
        one
        (backup {
          schedules.check = "never";
          schedules.prune = "monthly";
        })
      ]
      {
        timers.tik-backup-check = null;
        timers.tik-backup-prune = "monthly";
        names = has "tik-backup-check";
      };
  pathsFromConfig =
    case
      [
        one
        ({ config, ... }: {
          services.tik-backup = {
            backupPath = "/mnt/backup/${config.networking.hostName}";
            secrets.resticPassword = "${config.users.users.root.home}/restic";
            secrets.alertingWebhookUrl = "${config.users.users.postgres.home or "/srv"}/hook";
            settings.sources.shop = {
              kind = "mongodb";
              uri_file = "${config.users.users.root.home}/uri";
              schedule = "01:00";
            };
            environmentFile = "${config.users.users.root.home}/environment";
          };
        })
      ]
      {
        settings.repository.location = "/mnt/backup/example";
        credentials."repository.password_file" = "/root/restic";
      };
  sourcesFromHost =
    case
      [
        ({ config, ... }: {
          services.postgresql.enable = true;
          services.postgresql.ensureDatabases = [ "wiki" ];
          services.tik-backup.settings.sources.local = {
            kind = "postgres";
            host = "/run/postgresql";
            user = "tik-backup";
            databases = config.services.postgresql.ensureDatabases;
            port = config.services.postgresql.settings.port;
          };
          services.tik-backup.settings.sources.homes = directory // {
            paths = map (user: user.home) (
              filter (user: user.isNormalUser) (lib.attrValues config.users.users)
            );
          };
          users.users.alice = {
            isNormalUser = true;
          };
        })
      ]
      {
        settings.sources.local.databases = [ "wiki" ];
        settings.sources.homes.paths = [ "/home/alice" ];
      };

}
