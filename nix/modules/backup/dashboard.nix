# The dashboard.
{ config, lib, ... }:
let
  inherit (lib)
    mkEnableOption
    mkIf
    mkOption
    types
    ;
  cfg = config.services.tik-backup;
  dashboard = cfg.dashboard;
in
{
  options.services.tik-backup.dashboard = {
    enable = mkEnableOption "the dashboard, a web page with the state of the backups";
    listen = mkOption {
      type = types.str;
      default = "127.0.0.1:8740";
      example = "unix:/run/tik-backup/page.sock";
      description = "Address and port to listen on, or `unix:` and the path of a socket. An address that other machines reach needs `tokenFile` or `behindProxy`.";
    };
    tokenFile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/run/secrets/backup-dashboard-token";
      description = "File with the token that visitors have to give. With null none is asked for.";
    };
    behindProxy = mkOption {
      type = types.bool;
      default = false;
      description = "Whether a reverse proxy in front of it decides who may see the dashboard. It allows an address that other machines reach without a token.";
    };
  };

  config = mkIf (cfg.enable && dashboard.enable) {
    services.tik-backup.settings.dashboard = {
      listen = lib.mkDefault dashboard.listen;
      behind_proxy = lib.mkDefault dashboard.behindProxy;
      token_file = lib.mkDefault dashboard.tokenFile;
    };
  };
}
