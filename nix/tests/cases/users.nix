# Users.
lib':
let
  inherit (lib')
    backup
    case
    has
    one
    ;
in
{
  root =
    case
      [
        one
        (backup {
          user = "root";
          group = "root";
        })
      ]
      {
        unit.tik-backup-source-azure-postgres.User = "root";
        user = null;
      };
  ownUser =
    case
      [
        one
        (backup {
          user = "backups";
          group = "backups";
        })
        {
          users.users.backups = {
            isSystemUser = true;
            group = "backups";
          };
          users.groups.backups = { };
        }
      ]
      {
        unit.tik-backup-check.User = "backups";
        user = null;
      };
  ownUserOnly =
    case
      [
        one
        (backup { user = "backups"; })
        {
          users.users.backups = {
            isSystemUser = true;
            group = "tik-backup";
          };
        }
      ]
      {
        unit.tik-backup-check.Group = "tik-backup";
        config.users.groups = groups: groups ? tik-backup;
      };
  ownGroup =
    case
      [
        one
        (backup { group = "storage"; })
        { users.groups.storage = { }; }
      ]
      {
        unit.tik-backup-check.Group = "storage";
        user.group = "storage";
      };
  missingUser = case [
    one
    (backup { user = "nobody-there"; })
  ] { failed = [ "the user nobody-there" ]; };
  # NixOS reports an error as well.
  missingGroup =
    case
      [
        one
        (backup { group = "nobody-there"; })
      ]
      {
        failed = [
          "the group nobody-there"
          "users.groups.nobody-there"
        ];
      };
  userBySettings =
    case
      [
        one
        (backup { settings.systemd.user = "root"; })
      ]
      {
        unit.tik-backup-check.User = "root";
      };
  userNull =
    case
      [
        one
        (backup {
          settings.systemd.user = null;
          settings.systemd.group = null;
        })
      ]
      {
        unit.tik-backup-check.User = "tik-backup";
        user.isSystemUser = true;
      };
  userExtended =
    case
      [
        one
        {
          users.users.tik-backup = {
            uid = 871;
            extraGroups = [ "wheel" ];
            home = "/srv/tik-backup";
            description = "Varmuuskopiot";
          };
          users.groups.tik-backup.gid = 871;
        }
      ]
      {
        user = {
          uid = 871;
          home = "/srv/tik-backup";
        };
      };

}
