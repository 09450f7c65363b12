# Evaluates the module with nixpkgs' own library and module system, without building anything:
#
#   nix-instantiate --eval --strict --json nix/tests/eval.nix --arg nixpkgs /path/to/nixpkgs -A everything
#   nix-instantiate --eval --strict --json nix/tests/eval.nix --arg nixpkgs /path/to/nixpkgs -A cases
#
# The second prints the table of cases.nix: "ok", or what differs.
{
  nixpkgs,
  # Or the modules themselves, to check that the stand-ins match them.
  sops ? ./sops.nix,
  agenix ? ./agenix.nix,
}:
let
  lib = import (nixpkgs + "/lib");

  evaluate =
    modules:
    import (nixpkgs + "/nixos/lib/eval-config.nix") {
      system = "x86_64-linux";
      modules = [
        ../modules/backup
        {
          networking.hostName = "example";
          # What every host has.
          boot.loader.grub.enable = false;
          fileSystems."/" = {
            device = "/dev/vda";
            fsType = "ext4";
          };
          system.stateVersion = lib.trivial.release;
          services.tik-backup = {
            enable = true;
            # Neither has to be built to evaluate the units.
            package = {
              type = "derivation";
              name = "tik-backup";
              outPath = "/opt/tik-backup";
              meta.mainProgram = "tik-backup";
            };
            configFile = lib.mkDefault "/etc/tik-backup/config.toml";
          };
        }
      ]
      ++ modules;
    };

  # The values that the test compares. Assertions come first: after a failed one the rest is meaningless.
  result =
    modules:
    let
      inherit (evaluate modules) config;
      ours = lib.filterAttrs (name: _: lib.hasPrefix "tik-backup" name);
      # The program does not know the servers on the same machine.
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

  cases = import ./cases.nix {
    inherit
      agenix
      evaluate
      lib
      sops
      ;
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

  cases = lib.mapAttrs (_: differences: if differences == [ ] then "ok" else differences) cases.right;

  # Each of these must fail, with this text in the error.
  says = lib.mapAttrs (_: case: case.says) cases.wrong;
  wrong = lib.mapAttrs (_: case: result case.modules) cases.wrong;
}
