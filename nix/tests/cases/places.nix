# The location of the repository and its mount.
lib':
let
  inherit (lib')
    backup
    case
    cifs
    has
    hasAll
    hasPrefix
    lacks
    lib
    mkForce
    mountHas
    one
    takenOver
    unmounted
    ;
in
{
  mountInner =
    case
      [
        one
        (cifs [ "uid=tik-backup" ])
        {
          fileSystems."/mnt" = {
            device = "/dev/vdb";
            fsType = "ext4";
          };
        }
      ]
      {
        settings.repository.mount = "/mnt/backup";
      };
  mountOuter =
    case
      [
        one
        {
          fileSystems."/mnt" = {
            device = "/dev/vdb";
            fsType = "ext4";
          };
        }
      ]
      {
        settings.repository.mount = "/mnt";
        after.tik-backup-check = has "mnt.mount";
      };
  mountDeeper =
    case
      [
        one
        (cifs [ "uid=tik-backup" ])
        (backup { backupPath = "/mnt/backup/a/b/c"; })
      ]
      {
        settings.repository.mount = "/mnt/backup";
      };
  mountBeside = case [
    one
    (cifs [ "uid=root" ])
    (backup { backupPath = "/mnt/backup2/repo"; })
  ] unmounted;
  mountLocal =
    case
      [
        one
        (cifs [ "uid=tik-backup" ])
        (backup { backupPath = "local:/mnt/backup/r"; })
      ]
      {
        settings.repository.mount = "/mnt/backup";
      };
  mountBySettings =
    case
      [
        one
        (cifs [ "uid=tik-backup" ])
        (backup { settings.repository.location = "/mnt/backup/other"; })
      ]
      {
        settings.repository = {
          location = "/mnt/backup/other";
          mount = "/mnt/backup";
        };
      };
  mountWithSlashes =
    case
      [
        one
        (cifs [ ])
        (backup { backupPath = "/mnt/backup/"; })
      ]
      {
        warnings = [ takenOver ];
        settings.repository.mount = "/mnt/backup";
      };
  mountGivenWithSlash =
    case
      [
        one
        (cifs [ ])
        (backup { settings.repository.mount = "/mnt/backup/"; })
      ]
      {
        warnings = [ takenOver ];
        dropIns = has "mnt-backup.mount";
      };
  # The attribute's name is no more than the default of the mount point.
  mountByName =
    case
      [
        one
        {
          fileSystems.box = {
            mountPoint = "/mnt/backup";
            device = "//h/b";
            fsType = "cifs";
          };
        }
      ]
      {
        warnings = [ takenOver ];
        settings.repository.mount = "/mnt/backup";
        dropIns = has "mnt-backup.mount";
      };
  mountUnit =
    case
      [
        one
        {
          systemd.mounts = [
            {
              what = "//h/b";
              where = "/mnt/backup";
              type = "cifs";
              options = "uid=tik-backup,credentials=/x";
              wantedBy = [ "multi-user.target" ];
            }
          ];
          systemd.automounts = [
            {
              where = "/mnt/backup";
              wantedBy = [ "multi-user.target" ];
            }
          ];
        }
      ]
      {
        settings.repository.mount = "/mnt/backup";
        after.tik-backup-check = has "mnt-backup.mount";
        tmpfiles = [ ];
      };
  mountSpace =
    case
      [
        one
        (backup { backupPath = "/mnt/my box/repo"; })
        {
          fileSystems."/mnt/my box" = {
            device = "//h/b";
            fsType = "cifs";
          };
        }
      ]
      {
        warnings = [ takenOver ];
        settings.repository.mount = "/mnt/my box";
        after.tik-backup-check = has "mnt-my\\x20box.mount";
        dropIns = has "mnt-my\\x20box.mount";
      };
  mountUmlaut =
    case
      [
        one
        (backup { backupPath = "/mnt/säilö/repo"; })
        {
          fileSystems."/mnt/säilö" = {
            device = "//h/b";
            fsType = "cifs";
            options = [ "uid=tik-backup" ];
          };
        }
      ]
      {
        settings.repository.mount = "/mnt/säilö";
        after.tik-backup-check = has "mnt-s\\xc3\\xa4il\\xc3\\xb6.mount";
      };
  mountPercent =
    case
      [
        one
        (cifs [ "credentials=/etc/100%" ])
      ]
      {
        warnings = [ takenOver ];
        mount = mountHas "/mnt/backup" "mnt-backup" [ "credentials=/etc/100%%" ];
      };
  mountVar =
    case
      [
        one
        (backup { backupPath = "/var/backup/repo"; })
        {
          fileSystems."/var" = {
            device = "/dev/vdb";
            fsType = "ext4";
          };
        }
      ]
      {
        settings.repository.mount = "/var";
        unit.tik-backup-init.ExecStartPre = hasPrefix "+-";
        tmpfiles = [ ];
      };
  mountImpermanence = case [
    one
    (backup { backupPath = "/var/lib/restic"; })
    {
      fileSystems."/" = mkForce {
        device = "none";
        fsType = "tmpfs";
      };
      fileSystems."/persist" = {
        device = "/dev/vda";
        fsType = "ext4";
        neededForBoot = true;
      };
      fileSystems."/var/lib/restic" = {
        device = "/persist/var/lib/restic";
        fsType = "none";
        options = [ "bind" ];
        depends = [ "/persist" ];
      };
    }
  ] { settings.repository.mount = "/var/lib/restic"; };
  mountMissing = case [ one ] {
    unmounted = texts: lib.length texts == 1;
    settings.repository.mount = null;
    tmpfiles = [ ];
  };
  mountElsewhere =
    case
      [
        one
        (backup { settings.repository.mount = "/mnt/backup"; })
      ]
      {
        unmounted = [ ];
        after.tik-backup-check = has "mnt-backup.mount";
      };
  mountOff =
    case
      [
        one
        (backup { backupPath = "/srv/repo"; })
      ]
      {
        settings.repository.mount = null;
        tmpfiles = hasAll [ "d \"/srv/repo\" :0700 :tik-backup :tik-backup -" ];
      };
  mountIgnored =
    case
      [
        one
        (cifs [ "uid=root" ])
        (backup { settings.repository.mount = null; })
      ]
      {
        settings.repository.mount = null;
        after.tik-backup-check = lacks "mnt-backup.mount";
      };
  url =
    case
      [
        one
        (backup { backupPath = "sftp:u1@h:repo"; })
      ]
      {
        settings.repository = {
          location = "sftp:u1@h:repo";
          mount = null;
        };
        tmpfiles = [ ];
      };
  pathLiteral =
    case
      [
        one
        (backup { backupPath = /mnt/backup/repo; })
      ]
      {
        settings.repository.location = "/mnt/backup/repo";
      };
  pathLiteralInSettings =
    case
      [
        one
        (backup {
          settings.repository.location = mkForce "/srv/repo";
          settings.state_dir = /var/lib/other;
        })
      ]
      {
        settings.state_dir = "/var/lib/other";
      };
  relativePath =
    case
      [
        one
        (backup { backupPath = "backup/repo"; })
      ]
      {
        failed = [ "backup/repo is neither" ];
      };
  blindInitialize = case [
    one
    (backup { initialize = true; })
  ] { failed = [ "created on the wrong disk" ]; };
  blindInitializeLocal =
    case
      [
        one
        (backup {
          initialize = true;
          backupPath = "local:/mnt/backup/repo";
        })
      ]
      {
        failed = [ "created on the wrong disk" ];
      };
}
