# Removes from the services the settings that a container of the test framework does not support: it has no /proc and /sys
# of its own to mount over.
{ lib, options, ... }:
let
  inherit (lib) mkForce mkOption types;
  off = {
    PrivateDevices = false;
    PrivateIPC = false;
    PrivateTmp = false;
    ProtectClock = false;
    ProtectControlGroups = false;
    ProtectHome = false;
    ProtectHostname = false;
    ProtectKernelLogs = false;
    ProtectKernelModules = false;
    ProtectKernelTunables = false;
    ProtectProc = "default";
    ProtectSystem = false;
    ReadWritePaths = "";
    # Scratch servers of drills cannot have namespaces of their own either: see below.
    RestrictNamespaces = false;
  };
in
{
  options.systemd.services = mkOption {
    type = types.attrsOf (
      types.submodule (
        { name, ... }:
        {
          config = lib.mkIf (lib.hasPrefix "tik-backup-" name) {
            serviceConfig = lib.mapAttrs (_: mkForce) off;
          };
        }
      )
    );
  };
  # It has no packet tables for a firewall either.
  config.networking.firewall.enable = false;
  # A node without the module does not have this option.
  config.services = lib.optionalAttrs (options.services ? tik-backup) {
    tik-backup.drill.sandbox = "best-effort";
  };
}
