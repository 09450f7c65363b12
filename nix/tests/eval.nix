# Evaluates the module with nixpkgs' own library and module system, without building anything:
#
#   nix-instantiate --eval --strict --json nix/tests/eval.nix --arg nixpkgs /path/to/nixpkgs -A everything
{ nixpkgs }:
let
  lib = import (nixpkgs + "/lib");

  evaluate =
    modules:
    import (nixpkgs + "/nixos/lib/eval-config.nix") {
      system = "x86_64-linux";
      modules = [
        ../modules/backup
        {
          networking.hostName = "tikpannu";
          services.tik-backup = {
            enable = true;
            # Neither has to be built to know what the units will be.
            package = {
              type = "derivation";
              name = "tik-backup";
              outPath = "/opt/tik-backup";
              meta.mainProgram = "tik-backup";
            };
            configFile = lib.mkForce "/etc/tik-backup/config.toml";
          };
        }
      ]
      ++ modules;
    };

  # What the test looks at. Assertions come first: with a failed one the rest says nothing.
  result =
    modules:
    let
      inherit (evaluate modules) config;
      ours = lib.filterAttrs (name: _: lib.hasPrefix "tik-backup" name);
      # Of servers on the same machine the program knows nothing.
      withoutServers = lib.subtractLists [
        "postgresql.service"
        "postgresql.target"
        "mysql.service"
        "mongodb.service"
      ];
    in
    {
      failed = map (one: one.message) (lib.filter (one: !one.assertion) config.assertions);
      inherit (config.services.tik-backup) settings;
      services = lib.mapAttrs (_: service: {
        inherit (service) description unitConfig serviceConfig;
        wants = withoutServers service.wants;
        after = withoutServers service.after;
      }) (lib.filterAttrs (name: _: name != "tik-backup-role") (ours config.systemd.services));
      timers = lib.mapAttrs (_: timer: { inherit (timer) description wantedBy timerConfig; }) (
        ours config.systemd.timers
      );
      role = config.systemd.services.tik-backup-role.script or null;
      user = config.users.users.tik-backup.isSystemUser or null;
      mounts = lib.mapAttrs (_: mount: { inherit (mount) device fsType options; }) (
        lib.filterAttrs (path: _: path == "/mnt/backup") config.fileSystems
      );
      sops = lib.mapAttrs (_: secret: toString (secret.sopsFile or "")) (config.sops.secrets or { });
    };

  backup = settings: { services.tik-backup = settings; };

  sources = {
    azurePostgres = {
      enable = true;
      host = "example.postgres.database.azure.com";
    };
    azureMysql = {
      enable = true;
      host = "example.mysql.database.azure.com";
    };
    mongodb.enable = true;
    discourse.enable = true;
    azureStorage.enable = true;
  };
  box = {
    storageBox = {
      enable = true;
      host = "u123456.your-storagebox.de";
    };
  };

  # As much of sops-nix as the module touches.
  sops = {
    options.sops.secrets = lib.mkOption {
      default = { };
      type = lib.types.attrsOf (lib.types.submodule { freeformType = lib.types.attrsOf lib.types.anything; });
    };
  };
in
{
  everything = result [
    (backup (sources // box))
    {
      services.postgresql.enable = true;
      services.tik-backup.dashboard = {
        enable = true;
        tokenFile = "/run/secrets/backup-dashboard-token";
      };
      services.tik-backup.alerting.channels = [
        {
          kind = "heartbeat";
          url_file = "/run/secrets/backup-heartbeat-url";
        }
      ];
    }
  ];

  alone = lib.mapAttrs (name: source: result [ (backup { ${name} = source; }) ]) sources;

  withSops = result [
    sops
    (backup (
      box
      // {
        inherit (sources) azurePostgres;
        secrets.sopsFile = ./eval.nix;
        secrets.alertingWebhookUrl = "/etc/secrets/webhook";
      }
    ))
  ];

  sshfs = result [
    (backup {
      inherit (sources) mongodb;
      uid = 871;
      storageBox = {
        enable = true;
        protocol = "sshfs";
        host = "u123456.your-storagebox.de";
        identityFile = "/run/secrets/storagebox-ssh-key";
      };
    })
  ];

  # What is wrong is said by an assertion …
  nothing = (result [ ]).failed;
  elsewhere = (result [ (backup (sources // box // { backupPath = "/srv/repo"; })) ]).failed;
  sshfsWithoutKey =
    (result [
      (backup (
        lib.recursiveUpdate (sources // box) { storageBox.protocol = "sshfs"; }
      ))
    ]).failed;
  blindInitialize = (result [ (backup (sources // { initialize = true; })) ]).failed;
  secretInStore =
    (result [ (backup (sources // { secrets.resticPassword = "${builtins.storeDir}/x-password"; })) ]).failed;

  secretInSettings =
    (result [
      (backup (
        sources // { alerting.channels = [ { kind = "heartbeat"; url_file = "${builtins.storeDir}/x-url"; } ]; }
      ))
    ]).failed;

  # … or by the module system: these fail to evaluate.
  unknownOption = (result [ (backup { azurePostgres.hots = "x"; }) ]).failed;
  wrongType = (result [ (backup (sources // { retention.daily = "seven"; })) ]).settings;
  wrongProtocol =
    (result [ (backup (lib.recursiveUpdate (sources // box) { storageBox.protocol = "nfs"; })) ]).mounts;
}
