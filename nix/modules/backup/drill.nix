# Drills, once a week.
{ config, lib, ... }:
let
  inherit (lib)
    mkDefault
    mkIf
    mkOption
    types
    ;
  cfg = config.services.tik-backup;
  drill = cfg.drill;
in
{
  options.services.tik-backup.drill = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether a timer restores backups into scratch servers and compares them with what was backed up. Without it nothing is proven to restore unless you run `tik-backup drill`.";
    };
    schedule = mkOption {
      type = types.str;
      default = "Sat 06:00";
      example = "*-*-01 06:00";
      description = "When drills run: a calendar expression as in systemd.time(7), or \"never\".";
    };
    maxDuration = mkOption {
      type = types.str;
      default = "6h";
      example = "2h";
      description = "How long a drill may take. It starts with the items proven longest ago and begins none that is expected to end later.";
    };
    dir = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/srv/scratch";
      description = "Directory for the data of scratch servers. It needs room for the largest database. With null it is /var/tmp.";
    };
    sandbox = mkOption {
      type = types.enum [
        "required"
        "best-effort"
      ];
      default = "required";
      description = ''
        What to do on a system that cannot confine scratch servers, which run code from the backup. With "required" nothing is
        proven there. With "best-effort" the servers run anyway, and a note says what was not confined.
      '';
    };
    sample = mkOption {
      type = types.ints.between 1 100;
      default = 100;
      example = 10;
      description = "Percentage of the files that one drill reads of a container, share or directory larger than 256 GiB. Each drill reads another part.";
    };
  };

  config = mkIf cfg.enable {
    # The user of scratch servers when a drill runs as root. It owns nothing.
    users.users.tik-backup-drill = {
      isSystemUser = true;
      group = "tik-backup-drill";
      description = "Scratch servers of drills";
    };
    users.groups.tik-backup-drill = { };

    services.tik-backup.settings = {
      systemd.drill = mkDefault (if drill.enable then drill.schedule else "never");
      drill = {
        max_duration = mkDefault drill.maxDuration;
        sample = mkDefault drill.sample;
        sandbox = mkDefault drill.sandbox;
        dir = mkDefault drill.dir;
      };
    };
  };
}
