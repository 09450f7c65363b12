# MySQL on Azure, at 02:30.
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
  source = cfg.azureMysql;
in
{
  options.services.tik-backup.azureMysql = {
    enable = mkEnableOption "backups of a MySQL server on Azure; its password is the secret `azureMysqlPassword`";
    host = shared.host "example.mysql.database.azure.com";
    user = mkOption {
      type = types.str;
      default = "backup";
      description = "Account to log in as. It needs the right to read everything.";
    };
    exclude = shared.leftOut {
      what = "Patterns of databases, besides those of the system,";
    };
    excludeTables = shared.leftOut {
      what = "Patterns of tables and views, each as `DATABASE.TABLE`,";
      example = [ "shop.tmp_*" ];
    };
    schedule = shared.schedule "02:30";
  };

  config = mkIf (cfg.enable && source.enable) {
    services.tik-backup.sources.azure-mysql = lib.mapAttrs (_: mkDefault) {
      kind = "mysql";
      inherit (source)
        host
        user
        schedule
        exclude
        excludeTables
        ;
      passwordFile = cfg.secrets.azureMysqlPassword;
    };
  };
}
