# MongoDB on Atlas, at three.
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
  source = cfg.mongodb;
in
{
  options.services.tik-backup.mongodb = {
    enable = mkEnableOption "backups of a MongoDB deployment; its connection string is a secret";
    exclude = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "scratch_*" ];
      description = "Databases to leave out, besides the system's own.";
    };
    schedule = mkOption {
      type = types.str;
      default = "03:00";
      description = "When, as a calendar expression of systemd.";
    };
  };

  config = mkIf (cfg.enable && source.enable) {
    services.tik-backup.settings.sources.mongodb = {
      kind = "mongodb";
      inherit (source) schedule;
      uri_file = cfg.secrets.mongodbConnectionString;
      exclude = mkDefault source.exclude;
    };
  };
}
