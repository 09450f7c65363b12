# PostgreSQL on Azure, at two in the night.
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
  source = cfg.azurePostgres;
in
{
  options.services.tik-backup.azurePostgres = {
    enable = mkEnableOption "backups of a PostgreSQL server on Azure";
    host = mkOption {
      type = types.str;
      example = "example.postgres.database.azure.com";
      description = "Name of the server.";
    };
    user = mkOption {
      type = types.str;
      default = "backup";
      description = "Role that may read everything: a member of pg_read_all_data.";
    };
    exclude = mkOption {
      type = types.listOf types.str;
      default = [ "azure_*" ];
      example = [ "scratch_*" ];
      description = "Databases to leave out, besides the system's own. Every other one is backed up, also a new one.";
    };
    schedule = mkOption {
      type = types.str;
      default = "02:00";
      description = "When, as a calendar expression of systemd.";
    };
  };

  config = mkIf (cfg.enable && source.enable) {
    services.tik-backup.settings.sources.azure-postgres = {
      kind = "postgres";
      inherit (source) host user schedule;
      password_file = cfg.secrets.azurePostgresPassword;
      exclude = mkDefault source.exclude;
      # Managed servers keep the hashes of passwords to themselves.
      role_passwords = mkDefault "never";
    };
  };
}
