# services.tik-backup: the configuration, the units, the user. The files beside this one add what the host has: sources,
# the storage box, secrets, alerts.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    literalExpression
    mkDefault
    mkEnableOption
    mkIf
    mkOption
    types
    ;
  cfg = config.services.tik-backup;
  format = pkgs.formats.toml { };

  draft = format.generate "tik-backup.toml" cfg.settings;
  checked = pkgs.runCommand "tik-backup-config.toml" { } ''
    cp ${draft} config.toml
    ${lib.getExe cfg.package} --config "$PWD/config.toml" config check --offline
    cp config.toml $out
  '';

  units = import ./units.nix {
    settings = cfg.settings;
    executable = lib.getExe cfg.package;
    configFile = cfg.configFile;
  };
  ending =
    suffix:
    lib.mapAttrs' (name: lib.nameValuePair (lib.removeSuffix suffix name)) (
      lib.filterAttrs (name: _: lib.hasSuffix suffix name) units
    );
  isSource = lib.hasPrefix "tik-backup-source-";
  local = import ./local-servers.nix { inherit config lib pkgs; };

  service = name: unit: {
    description = unit.Unit.Description;
    wants =
      unit.Unit.Wants
      ++ lib.optional (cfg.initialize && isSource name) "tik-backup-init.service"
      ++ (local.unitsOf name).wants;
    after =
      unit.Unit.After
      ++ lib.optional (cfg.initialize && isSource name) "tik-backup-init.service"
      ++ (local.unitsOf name).after;
    unitConfig = removeAttrs unit.Unit [
      "Description"
      "Wants"
      "After"
    ];
    serviceConfig = unit.Service;
    path = cfg.postgresqlPackages ++ cfg.mysqlPackages ++ cfg.extraPackages;
    # A change of the configuration counts from the next run on; it does not start one.
    restartIfChanged = name == "tik-backup-serve";
    stopIfChanged = name == "tik-backup-serve";
  };
  timer = _: unit: {
    description = unit.Unit.Description;
    unitConfig.PartOf = unit.Unit.PartOf;
    wantedBy = [ "timers.target" ];
    timerConfig = unit.Timer;
  };
in
{
  imports = [
    ./alerting.nix
    ./azure-mysql.nix
    ./azure-postgres.nix
    ./azure-storage.nix
    ./dashboard.nix
    ./discourse.nix
    ./drill.nix
    ./mongodb.nix
    ./secrets.nix
    ./sources
    ./storagebox.nix
  ];

  options.services.tik-backup = {
    enable = mkEnableOption "backups with tik-backup";

    package = mkOption {
      type = types.package;
      default = pkgs.tik-backup or (pkgs.callPackage ../../package.nix { });
      defaultText = literalExpression "pkgs.tik-backup";
      description = "The program.";
    };

    backupPath = mkOption {
      type = types.str;
      default = "/mnt/backup/restic-repo";
      example = "sftp:u123456@u123456.your-storagebox.de:restic-repo";
      description = "Where the repository is: a path, or the URL of a storage.";
    };

    retention = {
      within = mkOption {
        type = types.str;
        default = "48h";
        example = "14d";
        description = "How far back from the newest snapshot of each item all are kept; \"0s\" for no such rule.";
      };
      daily = mkOption {
        type = types.ints.unsigned;
        default = 7;
        description = "Of how many days the newest snapshot of each item is kept.";
      };
      weekly = mkOption {
        type = types.ints.unsigned;
        default = 4;
        description = "Of how many weeks the newest snapshot of each item is kept.";
      };
      monthly = mkOption {
        type = types.ints.unsigned;
        default = 0;
        example = 12;
        description = "Of how many months the newest snapshot of each item is kept.";
      };
    };

    settings = mkOption {
      type = types.submodule { freeformType = format.type; };
      default = { };
      example = literalExpression ''
        {
          sources.wiki = {
            kind = "mysql";
            databases = [ "wiki_*" ];
            schedule = "01:15";
          };
          runbook.contacts = [
            {
              name = "The guild's administrators";
              reach = [ "+358 40 123 4567" ];
            }
          ];
        }
      '';
      description = ''
        What goes into the configuration file as it stands; docs/configuration.md describes every key. It is checked
        when the system is built. Secrets do not belong here: the store can be read by everybody. Name their files.
      '';
    };

    configFile = mkOption {
      type = types.path;
      default = checked;
      defaultText = literalExpression "the settings, checked";
      description = "The configuration file.";
    };

    user = mkOption {
      type = types.str;
      default = "tik-backup";
      description = "The user that the services run as. It is made unless it has another name.";
    };
    group = mkOption {
      type = types.str;
      default = "tik-backup";
      description = "The group of that user.";
    };
    uid = mkOption {
      type = types.nullOr types.ints.positive;
      default = null;
      example = 871;
      description = "The number of the user and the group, where a mount needs to know it.";
    };

    initialize = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Create the repository before a backup if there is none. Without this it is done once, by
        `systemctl start tik-backup-init`. Only with a mount that is checked is there no danger that a storage which is
        not there is taken for one that is empty.
      '';
    };

    postgresqlPackages = mkOption {
      type = types.listOf types.package;
      default = local.postgresqlPackages;
      defaultText = literalExpression "the package of services.postgresql where that is enabled; pkgs.postgresql where it is not, and for other servers";
      example = literalExpression "[ pkgs.postgresql_16 pkgs.postgresql_17 ]";
      description = ''
        PostgreSQL's programs, of each major version that is backed up: a dump is taken by a client of the server's
        version, and a drill starts a server of that version.
      '';
    };
    mysqlPackages = mkOption {
      type = types.listOf types.package;
      default = local.mysqlPackages;
      defaultText = literalExpression "the package of services.mysql where that is enabled; pkgs.mysql84 for servers on the network";
      example = literalExpression "[ pkgs.mariadb pkgs.mysql84 ]";
      description = ''
        MySQL's or MariaDB's programs, for dumps and for the servers of drills. MariaDB's do not do for MySQL's servers, and MySQL's
        not for those of MariaDB.
      '';
    };
    extraPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "What else the services need on their path.";
    };

    randomizedDelaySec = mkOption {
      type = types.ints.unsigned;
      default = 600;
      description = "Within this time, in seconds, after its moment a timer starts.";
    };
    memoryMax = mkOption {
      type = types.str;
      default = "50%";
      example = "2G";
      description = "The most memory that a service may take.";
    };
    schedules = lib.genAttrs [ "check" "prune" "watch" ] (
      name:
      mkOption {
        type = types.str;
        default =
          {
            check = "Sun 10:00";
            prune = "Sun 14:00";
            watch = "hourly";
          }
          .${name};
        example = "never";
        description = "When `tik-backup ${name}` runs, as a calendar expression of systemd, or \"never\".";
      }
    );
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.settings.sources or { } != { };
        message = "services.tik-backup: nothing would be backed up; enable a source, or add one to sources";
      }
      {
        assertion =
          # The configuration may lie there: it holds no secrets.
          !lib.any (file: lib.hasInfix ":${builtins.storeDir}/" file && !lib.hasPrefix "configuration:" file) (
            lib.concatMap (unit: unit.Service.LoadCredential or [ ]) (lib.attrValues units)
          );
        message = "services.tik-backup: a file with a secret lies in the store, which everybody can read; name a path outside of it";
      }
      {
        assertion = !cfg.initialize || cfg.settings.repository ? mount || !lib.hasPrefix "/mnt/" cfg.backupPath;
        message = "services.tik-backup.initialize: below /mnt this needs settings.repository.mount, or a repository is created on the wrong disk when the storage is not mounted";
      }
    ];

    services.tik-backup.settings = {
      state_dir = mkDefault "/var/lib/tik-backup";
      repository = {
        location = mkDefault cfg.backupPath;
        password_file = mkDefault cfg.secrets.resticPassword;
        host = mkDefault config.networking.hostName;
      };
      retention = {
        keep_within = mkDefault cfg.retention.within;
        keep_daily = mkDefault cfg.retention.daily;
        keep_weekly = mkDefault cfg.retention.weekly;
        keep_monthly = mkDefault cfg.retention.monthly;
      };
      systemd = {
        user = cfg.user;
        group = cfg.group;
        check = mkDefault cfg.schedules.check;
        prune = mkDefault cfg.schedules.prune;
        watch = mkDefault cfg.schedules.watch;
        randomized_delay = mkDefault "${toString cfg.randomizedDelaySec}s";
        memory_max = mkDefault cfg.memoryMax;
      };
      drill.server_dirs = map (package: "${lib.getBin package}/bin") (cfg.postgresqlPackages ++ cfg.mysqlPackages);
    };

    environment.systemPackages = [ cfg.package ];
    environment.etc."tik-backup/config.toml".source = cfg.configFile;

    users.users = mkIf (cfg.user == "tik-backup") {
      tik-backup = {
        isSystemUser = true;
        uid = cfg.uid;
        group = cfg.group;
        home = "/var/lib/tik-backup";
        description = "Backups";
      };
    };
    users.groups = mkIf (cfg.group == "tik-backup") { tik-backup.gid = cfg.uid; };

    systemd.services = lib.mapAttrs service (ending ".service");
    systemd.timers = lib.mapAttrs timer (ending ".timer");
    systemd.targets.tik-backup = {
      description = "All timers of tik-backup";
      wants = units."tik-backup.target".Unit.Wants or [ ];
      wantedBy = [ "timers.target" ];
    };
  };
}
