# PostgreSQL on Azure, at 02:00.
{ config, lib, ... }:
let
  inherit (lib)
    mkDefault
    mkEnableOption
    mkIf
    mkOption
    types
    ;
  shared = import ./options.nix { inherit lib; };
  cfg = config.services.tik-backup;
  source = cfg.azurePostgres;
in
{
  options.services.tik-backup.azurePostgres = {
    enable = mkEnableOption "backups of a PostgreSQL server on Azure; its password is the secret `azurePostgresPassword`";
    host = shared.host "example.postgres.database.azure.com";
    user = mkOption {
      type = types.str;
      default = "backup";
      description = "Role to log in as. It has to be a member of `pg_read_all_data`, which may read everything.";
    };
    exclude = shared.leftOut {
      what = "Patterns of databases, besides those of the system,";
      default = [ "azure_*" ];
    };
    schedule = shared.schedule "02:00";
  };

  config = mkIf (cfg.enable && source.enable) {
    services.tik-backup.sources.azure-postgres = lib.mapAttrs (_: mkDefault) {
      kind = "postgres";
      inherit (source)
        host
        user
        schedule
        exclude
        ;
      passwordFile = cfg.secrets.azurePostgresPassword;
      # Managed servers do not let a role read password hashes.
      rolePasswords = "never";
    };
  };
}
