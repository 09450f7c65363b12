# Secrets in files that every user can read or that do not exist, and options that are switched off.
lib':
let
  inherit (lib')
    all
    backup
    box
    case
    directory
    mkForce
    one
    ;
in
{
  storeSecret =
    case
      [
        one
        (backup { secrets.resticPassword = "${builtins.storeDir}/x-password"; })
      ]
      {
        failed = [ "every user can read: repository.password_file:" ];
      };
  storePathLiteral =
    case
      [
        one
        (backup { secrets.resticPassword = "${../eval.nix}"; })
      ]
      {
        failed = [ "every user can read" ];
      };
  storePathLiteralInSettings = case [
    (backup {
      settings.sources.x = {
        kind = "mongodb";
        uri_file = "${../eval.nix}";
        schedule = "01:00";
      };
    })
  ] { failed = [ "every user can read" ]; };
  storeCredentials =
    case
      [
        one
        box
        (backup { secrets.storageboxCredentials = "${../eval.nix}"; })
      ]
      {
        failed = [ "credentials is in the store" ];
      };
  relativeSecret =
    case
      [
        one
        (backup { secrets.resticPassword = "restic-password"; })
      ]
      {
        failed = [ "absolute path: repository.password_file:restic-password" ];
      };
  systemdCredential =
    case
      [
        one
        (backup { settings.repository.password_file = "credential:restic"; })
      ]
      {
        credentials."repository.password_file" = null;
      };
  # Not copied into the store: it stays where it is on the host.
  pathLiteralSecret =
    case
      [
        (backup {
          settings.sources.x = {
            kind = "mongodb";
            uri_file = /run/keys/mongo;
            schedule = "01:00";
          };
        })
      ]
      {
        credentials."sources.x.uri_file" = "/run/keys/mongo";
        settings.sources.x.uri_file = "/run/keys/mongo";
      };
  storeChannel = case [
    one
    (backup {
      alerting.channels = [
        {
          kind = "heartbeat";
          url_file = "${builtins.storeDir}/x-url";
        }
      ];
    })
  ] { failed = [ "every user can read" ]; };

  disabled =
    case
      [
        all
        box
        (backup {
          enable = mkForce false;
          dashboard.enable = true;
          initialize = true;
          user = "nobody-there";
        })
      ]
      {
        names = [ ];
        timers = timers: timers == { };
        user = null;
        config.users.users = users: !(users ? tik-backup-drill);
        config.fileSystems = mounts: !(mounts ? "/mnt/backup");
        config.environment.etc = files: !(files ? "tik-backup/config.toml");
      };
  specialisation =
    case
      [
        one
        {
          specialisation.other.configuration.services.tik-backup = {
            schedules.check = "never";
            settings.sources.more = directory;
          };
        }
      ]
      {
        timers.tik-backup-check = "Sun 10:00";
        config.specialisation.other.configuration.systemd.services =
          services: services ? tik-backup-source-more;
      };
}
