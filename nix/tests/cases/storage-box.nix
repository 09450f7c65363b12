# The storage box.
lib':
let
  inherit (lib')
    backup
    box
    case
    has
    lacks
    mine
    mountHas
    one
    ;
in
{
  box = case [ one box ] {
    settings.repository.mount = "/mnt/backup";
    mount = mountHas "/mnt/backup" "mnt-backup" (
      mine ++ [ "credentials=/run/secrets/storagebox-credentials" ]
    );
    dropIns = lacks "mnt-backup.mount";
  };
  boxAndOwnOptions =
    case
      [
        one
        box
        { fileSystems."/mnt/backup".options = [ "uid=root" ]; }
      ]
      {
        mount = mountHas "/mnt/backup" "mnt-backup" mine;
        warnings = [ ];
      };
  boxElsewhere = case [
    one
    box
    (backup { backupPath = "/srv/repo"; })
  ] { failed = [ "/srv/repo is not below" ]; };
  boxOtherPlace =
    case
      [
        one
        box
        (backup {
          storageBox.mountPoint = "/backup/box";
          backupPath = "/backup/box/restic";
        })
      ]
      {
        settings.repository.mount = "/backup/box";
        after.tik-backup-check = has "backup-box.mount";
      };
  boxWithSlash =
    case
      [
        one
        box
        (backup { storageBox.mountPoint = "/mnt/backup/"; })
      ]
      {
        after.tik-backup-check = has "mnt-backup.mount";
      };
  boxIsRepository =
    case
      [
        one
        box
        (backup { backupPath = "/mnt/backup"; })
      ]
      {
        settings.repository.location = "/mnt/backup";
        settings.repository.mount = "/mnt/backup";
      };
  boxLocal =
    case
      [
        one
        box
        (backup { backupPath = "local:/mnt/backup/repo"; })
      ]
      {
        settings.repository.mount = "/mnt/backup";
      };
  boxLocationFile =
    case
      [
        one
        box
        (backup { settings.repository.location_file = "/run/where"; })
      ]
      {
        settings.repository.location = null;
        settings.repository.mount = "/mnt/backup";
      };
  boxAndOtherMount =
    case
      [
        one
        box
        {
          fileSystems."/mnt" = {
            device = "/dev/vdb";
            fsType = "ext4";
          };
        }
      ]
      {
        settings.repository.mount = "/mnt/backup";
        tmpfiles = [ ];
      };
  sshfsWithoutKey = case [
    one
    box
    (backup { storageBox.protocol = "sshfs"; })
  ] { failed = [ "SSHFS needs" ]; };
}
