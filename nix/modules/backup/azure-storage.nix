# Blobs and file shares of the storage accounts, on Sundays at four.
{ config, lib, ... }:
let
  inherit (lib)
    mkDefault
    mkEnableOption
    mkIf
    mkOption
    types
    ;
  cfg = config.services.tik-backup;
  source = cfg.azureStorage;
in
{
  options.services.tik-backup.azureStorage = {
    enable = mkEnableOption "backups of the storage accounts that a service principal sees";
    excludeAccounts = mkOption {
      type = types.listOf types.str;
      default = [ "tikprodterraform" ];
      description = "Storage accounts to leave out. Every other one is backed up, also a new one.";
    };
    excludeContainers = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "*-tmp" ];
      description = "Containers to leave out, in all accounts.";
    };
    schedule = mkOption {
      type = types.str;
      default = "Sun 04:00";
      description = "When, as a calendar expression of systemd.";
    };
  };

  config = mkIf (cfg.enable && source.enable) {
    services.tik-backup.settings.sources.azure-storage = {
      kind = "azure-storage";
      inherit (source) schedule;
      tenant_id_file = cfg.secrets.azureTenantId;
      client_id_file = cfg.secrets.azureClientId;
      client_secret_file = cfg.secrets.azureClientSecret;
      exclude_accounts = mkDefault source.excludeAccounts;
      exclude_containers = mkDefault source.excludeContainers;
    };
  };
}
