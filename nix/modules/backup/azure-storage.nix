# Blobs and file shares of the storage accounts, on Sundays at 04:00.
{ config, lib, ... }:
let
  inherit (lib)
    mkDefault
    mkEnableOption
    mkIf
    ;
  shared = import ./options.nix { inherit lib; };
  cfg = config.services.tik-backup;
  source = cfg.azureStorage;
in
{
  options.services.tik-backup.azureStorage = {
    enable = mkEnableOption "backups of the storage accounts that a service principal sees";
    excludeAccounts = shared.leftOut {
      what = "Patterns of storage accounts";
      default = [ "tikprodterraform" ];
    };
    excludeContainers = shared.leftOut {
      what = "Patterns of blob containers, in all accounts,";
      example = [ "*-tmp" ];
    };
    exclude = shared.leftOut {
      what = "Patterns of blobs and files, relative to their container or share,";
      example = [
        "*.tmp"
        "cache/"
      ];
    };
    schedule = shared.schedule "Sun 04:00";
  };

  config = mkIf (cfg.enable && source.enable) {
    services.tik-backup.sources.azure-storage = lib.mapAttrs (_: mkDefault) {
      kind = "azure-storage";
      inherit (source)
        schedule
        exclude
        excludeAccounts
        excludeContainers
        ;
      tenantIdFile = cfg.secrets.azureTenantId;
      clientIdFile = cfg.secrets.azureClientId;
      clientSecretFile = cfg.secrets.azureClientSecret;
    };
  };
}
