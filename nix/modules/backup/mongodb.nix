# MongoDB on Atlas, at 03:00.
{ config, lib, ... }:
let
  inherit (lib)
    mkDefault
    mkEnableOption
    mkIf
    ;
  shared = import ./options.nix { inherit lib; };
  cfg = config.services.tik-backup;
  source = cfg.mongodb;
in
{
  options.services.tik-backup.mongodb = {
    enable = mkEnableOption "backups of a MongoDB deployment; its connection string is the secret `mongodbConnectionString`";
    exclude = shared.leftOut {
      what = "Patterns of databases, besides those of the system,";
    };
    schedule = shared.schedule "03:00";
  };

  config = mkIf (cfg.enable && source.enable) {
    services.tik-backup.sources.mongodb = lib.mapAttrs (_: mkDefault) {
      kind = "mongodb";
      inherit (source) schedule exclude;
      uriFile = cfg.secrets.mongodbConnectionString;
    };
  };
}
