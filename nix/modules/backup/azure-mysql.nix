# MySQL on Azure, at half past two.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    mkDefault
    mkEnableOption
    mkIf
    mkOption
    types
    ;
  cfg = config.services.tik-backup;
  source = cfg.azureMysql;
in
{
  options.services.tik-backup.azureMysql = {
    enable = mkEnableOption "backups of a MySQL server on Azure";
    host = mkOption {
      type = types.str;
      example = "example.mysql.database.azure.com";
      description = "Name of the server.";
    };
    user = mkOption {
      type = types.str;
      default = "backup";
      description = "Account that may read everything.";
    };
    exclude = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "scratch_*" ];
      description = "Databases to leave out, besides the system's own.";
    };
    schedule = mkOption {
      type = types.str;
      default = "02:30";
      description = "When, as a calendar expression of systemd.";
    };
  };

  config = mkIf (cfg.enable && source.enable) {
    # MariaDB's client does not take all that MySQL's server has.
    services.tik-backup.mysqlPackages = mkDefault [ pkgs.mysql84 ];
    services.tik-backup.settings.sources.azure-mysql = {
      kind = "mysql";
      inherit (source) host user schedule;
      password_file = cfg.secrets.azureMysqlPassword;
      exclude = mkDefault source.exclude;
    };
  };
}
