# Who is told when something fails or falls silent.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    mkEnableOption
    mkIf
    mkOption
    types
    ;
  cfg = config.services.tik-backup;
  alerting = cfg.alerting;
in
{
  options.services.tik-backup.alerting = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether anybody is told. Without this, failures stand in the journal only.";
    };
    webhook = {
      enable = mkEnableOption "the webhook whose URL is a secret" // {
        default = true;
      };
      format = mkOption {
        type = types.enum [
          "plain"
          "slack"
          "mattermost"
          "discord"
          "teams"
        ];
        default = "plain";
        description = "The form of what is sent.";
      };
    };
    channels = mkOption {
      type = types.listOf (pkgs.formats.toml { }).type;
      default = [ ];
      example = [
        {
          kind = "heartbeat";
          url_file = "/run/secrets/backup-heartbeat-url";
        }
      ];
      description = "More channels, as docs/alerts.md describes them.";
    };
  };

  config = mkIf (cfg.enable && alerting.enable) {
    services.tik-backup.settings.alerts =
      lib.optional alerting.webhook.enable {
        kind = "webhook";
        inherit (alerting.webhook) format;
        url_file = cfg.secrets.alertingWebhookUrl;
      }
      ++ alerting.channels;
  };
}
