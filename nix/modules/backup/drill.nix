# Proof by restoring, once a week.
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
      description = "Whether what was backed up is restored into scratch servers and compared.";
    };
    schedule = mkOption {
      type = types.str;
      default = "Sat 06:00";
      description = "When, as a calendar expression of systemd.";
    };
    maxDuration = mkOption {
      type = types.str;
      default = "6h";
      description = "Nothing is begun that would end later; what was proven longest ago comes first.";
    };
    dir = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/srv/scratch";
      description = "Where scratch servers lie, with room for the largest database; null for /var/tmp.";
    };
    sandbox = mkOption {
      type = types.enum [
        "required"
        "best-effort"
      ];
      default = "required";
      description = ''
        What happens where scratch servers cannot be confined: nothing is proven, or they run all the same. They run code that
        the backup brings.
      '';
    };
    sample = mkOption {
      type = types.ints.between 1 100;
      default = 100;
      description = "How much of large containers, shares and folders one drill reads, in percent.";
    };
  };

  config = mkIf cfg.enable {
    # Whom the scratch servers of a drill by root run as. It owns nothing.
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
      }
      // lib.optionalAttrs (drill.dir != null) { inherit (drill) dir; };
    };
  };
}
