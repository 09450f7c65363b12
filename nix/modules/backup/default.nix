# services.tik-backup: the configuration, the units, the user. The files beside this one add sources, the storage box,
# secrets and alerts.
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
  inherit (import ./account.nix { inherit config; }) user group;
  format = pkgs.formats.toml { };

  # TOML has no null, so values that are null are left out. A path is written as a string, because Nix would copy it into
  # the store, which every user can read.
  json = pkgs.formats.json { };
  withoutNull =
    value:
    if lib.isAttrs value && !lib.isDerivation value then
      lib.mapAttrs (_: withoutNull) (lib.filterAttrs (_: one: one != null) value)
    else if lib.isList value then
      map withoutNull value
    else if builtins.isPath value then
      toString value
    else
      value;
  draft = format.generate "tik-backup.toml" cfg.settings;
  # The configuration is checked when the system is built. For another architecture, the program is also built for the
  # building machine; if there is none, the first run of a service reports the problems.
  inherit (pkgs.stdenv) buildPlatform hostPlatform;
  checker =
    if buildPlatform.canExecute hostPlatform then
      cfg.package
    else if (cfg.package.forBuild.system or null) == buildPlatform.system then
      cfg.package.forBuild
    else
      null;
  checked =
    if checker == null then
      draft
    else
      pkgs.runCommand "tik-backup-config.toml" { } ''
        cp ${draft} config.toml
        ${lib.getExe checker} --config "$PWD/config.toml" config check --offline
        cp config.toml $out
      '';

  inherit (cfg) units;
  ending =
    suffix:
    lib.mapAttrs' (name: lib.nameValuePair (lib.removeSuffix suffix name)) (
      lib.filterAttrs (name: _: lib.hasSuffix suffix name) units
    );
  isSource = lib.hasPrefix "tik-backup-source-";

  # "repository.password_file:/run/secrets/…", of all units. The configuration may lie anywhere: it holds no secrets.
  secretFiles = lib.filter (file: !lib.hasPrefix "configuration:" file) (
    lib.unique (lib.concatMap (unit: unit.Service.LoadCredential or [ ]) (lib.attrValues units))
  );
  inStore = lib.filter (lib.hasInfix ":${builtins.storeDir}/") secretFiles;
  relative = lib.filter (file: !lib.hasInfix ":/" file) secretFiles;
  location = cfg.settings.repository.location or "";
  local = import ./local-servers.nix { inherit config lib pkgs; };

  programs = cfg.postgresqlPackages ++ cfg.mysqlPackages ++ cfg.extraPackages;
  # Commands by hand find the same programs as the services.
  typed = lib.hiPrio (
    pkgs.writeShellScriptBin "tik-backup" ''
      export PATH=${lib.escapeShellArg (lib.makeBinPath programs)}''${PATH:+:$PATH}
      exec ${lib.getExe cfg.package} "$@"
    ''
  );

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
    path = programs;
    # A change of the configuration applies from the next run on; it does not start one.
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
    ./repository.nix
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
      description = "The package of tik-backup.";
    };

    backupPath = mkOption {
      type = types.coercedTo types.path toString types.str;
      default = "/mnt/backup/restic-repo";
      example = "sftp:u123456@u123456.your-storagebox.de:restic-repo";
      description = "Where the restic repository is: a path, or the URL of a storage.";
    };

    retention = {
      within = mkOption {
        type = types.str;
        default = "48h";
        example = "14d";
        description = "Keep all snapshots of an item that were taken within this time before its newest one. \"0s\" turns the rule off.";
      };
      daily = mkOption {
        type = types.ints.unsigned;
        default = 7;
        description = "Keep the newest snapshot of each day for this many days that have one. 0 turns the rule off.";
      };
      weekly = mkOption {
        type = types.ints.unsigned;
        default = 4;
        description = "Keep the newest snapshot of each week for this many weeks that have one. 0 turns the rule off.";
      };
      monthly = mkOption {
        type = types.ints.unsigned;
        default = 0;
        example = 12;
        description = "Keep the newest snapshot of each month for this many months that have one. 0 turns the rule off.";
      };
    };

    settings = mkOption {
      type = types.submodule { freeformType = json.type; };
      default = { };
      # `drill` is only evaluated when it is used: its packages follow from `sources`.
      apply =
        settings:
        lib.mapAttrs (_: withoutNull) (
          lib.filterAttrs (name: one: name == "drill" || one != null) settings
        );
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
        Content of the configuration file; docs/configuration.md describes every key. A value given here wins over the
        one that another option of the module stands for. The file is checked when the system is built. Do not write
        secrets here, because every user can read the store: name the files that hold them.
      '';
    };

    configFile = mkOption {
      type = types.path;
      default = checked;
      defaultText = lib.literalMD "the file made from `settings`";
      description = "The configuration file that the services use. The default one is written from `settings` and checked when the system is built.";
    };

    user = mkOption {
      type = types.str;
      default = "tik-backup";
      description = "The user that the services run as. The default one is created; another has to exist.";
    };
    group = mkOption {
      type = types.str;
      default = "tik-backup";
      description = "The group that the services run as. The default one is created; another has to exist.";
    };
    uid = mkOption {
      type = types.nullOr types.ints.positive;
      default = null;
      example = 871;
      description = "User and group id of the default user and group, for mounts that need to know it. With null NixOS chooses one.";
    };

    initialize = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether to create the repository before a backup when there is none. Otherwise create it once with
        `systemctl start tik-backup-init`. Below /mnt this needs a mount that is checked, so that a storage that is not
        mounted is not taken for an empty one.
      '';
    };

    postgresqlPackages = mkOption {
      type = types.listOf types.package;
      default = local.postgresqlPackages;
      defaultText = lib.literalMD "the package of `services.postgresql` where that is enabled; `pkgs.postgresql` where it is not, and for other servers";
      example = literalExpression "[ pkgs.postgresql_16 pkgs.postgresql_17 ]";
      description = ''
        Packages of PostgreSQL, one for each major version that is backed up. A dump is taken with the client of the
        server's version, and a drill starts a server of that version.
      '';
    };
    mysqlPackages = mkOption {
      type = types.listOf types.package;
      default = local.mysqlPackages;
      defaultText = lib.literalMD "the package of `services.mysql` where that is enabled; `pkgs.mysql84` for servers on the network";
      example = literalExpression "[ pkgs.mariadb pkgs.mysql84 ]";
      description = ''
        Packages of MySQL or MariaDB, whose programs take dumps and are the servers of drills. A server of MySQL needs the
        programs of MySQL, and a server of MariaDB those of MariaDB.
      '';
    };
    extraPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "More packages whose programs the services find in their `PATH`.";
    };

    randomizedDelaySec = mkOption {
      type = types.ints.unsigned;
      default = 600;
      description = "The longest delay of a timer, in seconds. Each host has a fixed delay between 0 and this, so that several hosts do not start at the same moment.";
    };
    memoryMax = mkOption {
      type = types.str;
      default = "50%";
      example = "2G";
      description = "The most memory that a service may use: a size or a percentage of the machine's memory, as in systemd's `MemoryMax=`.";
    };
    units = mkOption {
      internal = true;
      readOnly = true;
      type = types.raw;
      default = import ./units.nix {
        inherit (cfg) settings configFile;
        executable = lib.getExe cfg.package;
      };
      defaultText = lib.literalMD "what the settings say";
      description = "The systemd units with their sections, as units.nix makes them.";
    };
    environmentFile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/run/secrets/backup-environment";
      description = ''
        File with environment variables of all services, as systemd reads it: a proxy (`HTTPS_PROXY=…`), settings of
        libraries. It may be root's alone. The secrets of the configuration do not belong there: their files are named.
      '';
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
        description = "When `tik-backup ${name}` runs: a calendar expression as in systemd.time(7), or \"never\".";
      }
    );
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = config.users.users ? ${user};
        message = "services.tik-backup: the user ${user}, whom the services run as, does not exist; declare users.users.${user}, or leave services.tik-backup.user as it is and one is made";
      }
      {
        assertion = config.users.groups ? ${group};
        message = "services.tik-backup: the group ${group} of the services does not exist; declare users.groups.${group}, or leave services.tik-backup.group as it is and one is made";
      }
      {
        assertion = cfg.settings.sources or { } != { };
        message = "services.tik-backup: there is no source, so nothing would be backed up; enable a source, or add one to sources";
      }
      {
        assertion = inStore == [ ];
        message = "services.tik-backup: a file with a secret is in the store, which every user can read: ${lib.concatStringsSep ", " inStore}; name a path outside of it";
      }
      {
        assertion = relative == [ ];
        message = "services.tik-backup: a file with a secret needs an absolute path: ${lib.concatStringsSep ", " relative}";
      }
      {
        assertion = location == "" || lib.hasInfix ":" location || lib.hasPrefix "/" location;
        message = "services.tik-backup: the repository needs an absolute path or the URL of a storage, and ${location} is neither";
      }
      {
        assertion =
          !cfg.initialize
          || cfg.settings.repository ? mount
          || !lib.hasPrefix "/mnt/" (lib.removePrefix "local:" location);
        message = "services.tik-backup.initialize: below /mnt this needs a mount in fileSystems or settings.repository.mount, or a repository is created on the wrong disk when the storage is not mounted";
      }
    ];

    services.tik-backup.settings = {
      state_dir = mkDefault "/var/lib/tik-backup";
      repository = {
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
        user = mkDefault cfg.user;
        group = mkDefault cfg.group;
        check = mkDefault cfg.schedules.check;
        prune = mkDefault cfg.schedules.prune;
        watch = mkDefault cfg.schedules.watch;
        randomized_delay = mkDefault "${toString cfg.randomizedDelaySec}s";
        memory_max = mkDefault cfg.memoryMax;
        environment_file = mkDefault cfg.environmentFile;
      };
      drill.server_dirs = map (package: "${lib.getBin package}/bin") (
        cfg.postgresqlPackages ++ cfg.mysqlPackages
      );
    };

    environment.systemPackages = [
      typed
      cfg.package
    ];
    environment.etc."tik-backup/config.toml".source = cfg.configFile;

    # The list of accounts must not depend on the settings, whose paths may be below the home of an account.
    users.users = mkIf (cfg.user == "tik-backup") {
      tik-backup = {
        isSystemUser = true;
        uid = mkIf (cfg.uid != null) cfg.uid;
        group = mkDefault group;
        home = mkDefault "/var/lib/tik-backup";
        description = mkDefault "Backups";
      };
    };
    users.groups = mkIf (cfg.group == "tik-backup") {
      tik-backup.gid = mkIf (cfg.uid != null) cfg.uid;
    };

    systemd.services = lib.mapAttrs service (ending ".service");
    systemd.timers = lib.mapAttrs timer (ending ".timer");
    systemd.targets.tik-backup = {
      description = "All timers of tik-backup";
      wants = units."tik-backup.target".Unit.Wants or [ ];
      wantedBy = [ "timers.target" ];
    };
  };
}
