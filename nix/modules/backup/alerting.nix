# The channels of alerts.
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
      description = "Whether alerts are sent when a backup fails or is overdue. Without it, failures are in the journal and in `tik-backup status` only.";
    };
    webhook = {
      enable =
        mkEnableOption "alerts to the webhook whose URL is in the file `secrets.alertingWebhookUrl`"
        // {
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
        description = "The format of the messages to the webhook: that of a chat service, or \"plain\" for JSON that programs can read. Telegram goes into `channels`.";
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
      description = "More channels for alerts, such as e-mail, ntfy, Telegram or a heartbeat. Each has the keys of a table `[[alerts]]`: docs/alerts.md describes them.";
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
