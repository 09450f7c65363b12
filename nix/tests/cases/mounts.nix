# Mounts that administrators declare: the type of the file system.
lib':
let
  inherit (lib')
    case
    has
    hasPrefix
    lacks
    lockedOut
    one
    ;
in
{
  mountSshfs =
    case
      [
        one
        {
          fileSystems."/mnt/backup" = {
            device = "u1@u1.your-storagebox.de:";
            fsType = "fuse.sshfs";
            options = [
              "allow_other"
              "IdentityFile=/root/.ssh/box"
              "_netdev"
            ];
          };
        }
      ]
      {
        settings.repository.mount = "/mnt/backup";
        dropIns = lacks "mnt-backup.mount";
      };
  mountSshfsForRoot =
    case
      [
        one
        {
          fileSystems."/mnt/backup" = {
            device = "u1@h:";
            fsType = "sshfs";
            options = [ "_netdev" ];
          };
        }
      ]
      {
        failed = [ "allow_other" ];
      };
  mountSshfsByOther =
    case
      [
        one
        {
          fileSystems."/mnt/backup" = {
            device = "u1@h:";
            fsType = "sshfs";
            options = [
              "allow_other"
              "default_permissions"
              "uid=1000"
            ];
          };
        }
      ]
      {
        failed = [ lockedOut ];
      };
  mountNfs =
    case
      [
        one
        {
          fileSystems."/mnt/backup" = {
            device = "nas:/backup";
            fsType = "nfs";
            options = [
              "nfsvers=4.2"
              "x-systemd.automount"
              "noauto"
            ];
          };
        }
      ]
      {
        settings.repository.mount = "/mnt/backup";
        tmpfiles = [ ];
      };
  mountDisk =
    case
      [
        one
        {
          fileSystems."/mnt/backup" = {
            device = "/dev/disk/by-label/backup";
            fsType = "ext4";
            options = [ "nofail" ];
          };
        }
      ]
      {
        settings.repository.mount = "/mnt/backup";
        after.tik-backup-init = has "mnt-backup.mount";
        unit.tik-backup-init.ExecStartPre = hasPrefix "+-";
      };
  mountUsb =
    case
      [
        one
        {
          fileSystems."/mnt/backup" = {
            device = "/dev/disk/by-label/usb";
            fsType = "exfat";
            options = [ "nofail" ];
          };
        }
      ]
      {
        failed = [ lockedOut ];
      };
  mountUsbByUser =
    case
      [
        one
        {
          fileSystems."/mnt/backup" = {
            device = "/dev/disk/by-label/usb";
            fsType = "exfat";
            options = [
              "nofail"
              "uid=tik-backup"
            ];
          };
        }
      ]
      {
        settings.repository.mount = "/mnt/backup";
      };
  mountBtrfs =
    case
      [
        one
        {
          fileSystems."/mnt/backup" = {
            device = "/dev/vdb";
            fsType = "btrfs";
            options = [
              "subvol=backup"
              "compress=zstd"
            ];
          };
        }
      ]
      {
        settings.repository.mount = "/mnt/backup";
      };
  mountBind =
    case
      [
        one
        {
          fileSystems."/mnt/backup" = {
            device = "/persist/backup";
            fsType = "none";
            options = [ "bind" ];
          };
        }
      ]
      {
        settings.repository.mount = "/mnt/backup";
      };
}
