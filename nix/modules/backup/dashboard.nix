# The page that people look at.
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
    enable = mkEnableOption "the page with the state of the backups";
    listen = mkOption {
      type = types.str;
      default = "127.0.0.1:8740";
      example = "unix:/run/tik-backup/page.sock";
      description = "Address and port, or a socket. What other machines reach needs a token or a proxy.";
    };
    tokenFile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/run/secrets/backup-dashboard-token";
      description = "File with the token that everybody has to show.";
    };
    behindProxy = mkOption {
      type = types.bool;
      default = false;
      description = "Whether a proxy before it decides who may see it.";
    };
  };

  config = mkIf (cfg.enable && dashboard.enable) {
    services.tik-backup.settings.dashboard = {
      inherit (dashboard) listen;
      behind_proxy = dashboard.behindProxy;
    }
    // lib.optionalAttrs (dashboard.tokenFile != null) { token_file = dashboard.tokenFile; };
  };
}
