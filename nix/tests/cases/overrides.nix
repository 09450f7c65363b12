# Options that override others, and servers that only look like those of this machine.
lib':
let
  inherit (lib')
    backup
    case
    cifs
    has
    lacks
    lib
    one
    ownSops
    silent
    show
    ;
  restic = backup { secrets.resticPassword = "/etc/secrets/restic"; };
  # A mount by a unit of systemd, with its options as services write them.
  unitMount = type: options: {
    systemd.mounts = [
      {
        where = "/mnt/backup";
        what = "somewhere";
        inherit type;
        mountConfig.Options = options;
      }
    ];
  };
  disk = at: fsType: {
    fileSystems.${at} = {
      device = "/dev/disk/by-label/backup";
      inherit fsType;
    };
  };
  container = backup {
    discourse = {
      enable = true;
      socket = "/var/discourse/shared/standalone/postgres_run";
    };
  };
  role =
    config: config.systemd.services ? tik-backup-role || config.services.postgresql.ensureUsers != [ ];
in
{
  passwordOfPresetInSources = case [
    ownSops
    silent
    restic
    one
    (backup { sources.azure-postgres.passwordFile = "/etc/pg"; })
  ] { credentials."sources.azure-postgres.password_file" = "/etc/pg"; };
  passwordOfRepositoryInSettings = case [
    ownSops
    silent
    one
    (backup {
      secrets.azurePostgresPassword = "/etc/pg";
      settings.repository.password_file = "/etc/secrets/restic";
    })
  ] { credentials."repository.password_file" = "/etc/secrets/restic"; };
  alertsReplaced = case [
    ownSops
    restic
    one
    (backup {
      secrets.azurePostgresPassword = "/etc/pg";
      settings.alerts = lib.mkForce [
        {
          kind = "heartbeat";
          url_file = "/etc/beat";
        }
      ];
    })
  ] { credentials."alerts.1.url_file" = "/etc/beat"; };
  webhookMissing = case [
    ownSops
    restic
    one
    (backup { secrets.azurePostgresPassword = "/etc/pg"; })
  ] { failed = [ "alerting.webhook.enable to false" ]; };
  dashboardBySettings = case [
    one
    (backup {
      dashboard.enable = true;
      settings.dashboard.listen = "127.0.0.1:9999";
    })
  ] { settings.dashboard.listen = "127.0.0.1:9999"; };
  drillDirBySettings = case [
    one
    (backup {
      drill.dir = "/srv/a";
      settings.drill.dir = "/srv/b";
    })
  ] { settings.drill.dir = "/srv/b"; };

  mountByUnitOfOwner = case [
    one
    (unitMount "cifs" "credentials=/x,uid=tik-backup,gid=tik-backup")
  ] { settings.repository.mount = "/mnt/backup"; };
  mountByUnitOfRoot = case [
    one
    (unitMount "cifs" "credentials=/x,uid=root")
  ] { failed = [ "could not write there" ]; };
  mountByUnitOfRclone = case [
    one
    (unitMount "rclone" "allow-other,args2env")
  ] { settings.repository.mount = "/mnt/backup"; };
  mountWithoutChecks = case [
    one
    (cifs [
      "uid=999"
      "noperm"
    ])
  ] { settings.repository.mount = "/mnt/backup"; };
  mountOfNumber = case [
    one
    (cifs [ "uid=999" ])
  ] { warnings = [ "set services.tik-backup.uid = 999" ]; };
  mountForRootAlone = case [
    one
    (unitMount "fuse.sshfs" "allow_root")
  ] { failed = [ "open to root alone" ]; };
  mountOnDemand = case [
    one
    (cifs [
      "uid=tik-backup"
      "x-systemd.automount"
    ])
  ] { config.systemd.units = units: has "StartLimitIntervalSec=0" units."mnt-backup.mount".text; };
  doubleSlash = case [
    one
    (cifs [ "uid=tik-backup" ])
    (backup { backupPath = "/mnt//backup/repo"; })
  ] { settings.repository.mount = "/mnt/backup"; };
  diskItself = case [
    one
    (disk "/srv/backup" "ext4")
    (backup { backupPath = "/srv/backup"; })
  ] { warnings = [ "is the mount point /srv/backup itself" ]; };
  diskBelow = case [
    one
    (disk "/srv/backup" "ext4")
    (backup { backupPath = "/srv/backup/repo"; })
  ] { unit.tik-backup-init.ExecStartPre = has "tik-backup-folder"; };
  containerBesideServer =
    case
      [
        container
        { services.postgresql.enable = true; }
        { services.postgresql.settings.port = 5433; }
      ]
      {
        settings.sources.discourse.port = 5432;
        after.tik-backup-source-discourse = lacks "postgresql.service";
        config = config: !role config;
      };
  containerBesideOldServer = case [
    container
    (
      { pkgs, ... }:
      {
        services.postgresql.enable = true;
        services.postgresql.package = pkgs.postgresql // {
          version = "13.18";
        };
      }
    )
  ] { config = config: !role config; };
  serverOnOtherPort =
    case
      [
        { services.postgresql.enable = true; }
        (backup {
          discourse.enable = true;
          sources.docker = {
            kind = "postgres";
            host = "127.0.0.1";
            port = 15432;
            user = "backup";
            schedule = "01:00";
          };
        })
      ]
      {
        after.tik-backup-source-docker = lacks "postgresql.service";
        after.tik-backup-source-discourse = has "postgresql.service";
      };
  mysqlInContainer = case [
    (backup {
      sources.shop = {
        kind = "mysql";
        host = "/var/lib/shop/mysqld.sock";
        user = "backup";
        schedule = "01:00";
      };
    })
  ] { after.tik-backup-source-shop = lacks "mysql.service"; };
}
