# Mounts that administrators declare: the owner of the files.
lib':
let
  inherit (lib')
    backup
    case
    cifs
    lacks
    lockedOut
    mine
    mountHas
    one
    takenOver
    ;
in
{
  mountByUser =
    case
      [
        one
        (cifs [
          "credentials=/x"
          "uid=tik-backup"
          "gid=tik-backup"
        ])
      ]
      {
        dropIns = lacks "mnt-backup.mount";
        settings.repository.mount = "/mnt/backup";
      };
  mountByNumber = case [
    one
    (cifs [ "uid=871" ])
    (backup { uid = 871; })
  ] { dropIns = lacks "mnt-backup.mount"; };
  mountByNumberOfUser =
    case
      [
        one
        (cifs [ "uid=871" ])
        { users.users.tik-backup.uid = 871; }
      ]
      {
        dropIns = lacks "mnt-backup.mount";
      };
  mountByOther = case [
    one
    (cifs [ "uid=1000" ])
  ] { failed = [ lockedOut ]; };
  mountByOtherNumber = case [
    one
    (cifs [ "uid=872" ])
    (backup { uid = 871; })
  ] { failed = [ lockedOut ]; };
  # The number that NixOS will give to an account without one is unknown here.
  mountByNumberUnknown =
    case
      [
        one
        (cifs [ "uid=1000" ])
        (backup {
          user = "alice";
          group = "users";
        })
        { users.users.alice.isNormalUser = true; }
      ]
      {
        dropIns = lacks "mnt-backup.mount";
        warnings = [ "which number alice has is chosen on the host" ];
      };
  mountByNobody =
    case
      [
        one
        (cifs [ ])
      ]
      {
        warnings = [ takenOver ];
        mount = mountHas "/mnt/backup" "mnt-backup" mine;
      };
  mountByZero =
    case
      [
        one
        (cifs [ "uid=0,gid=0,credentials=/x" ])
      ]
      {
        warnings = [ takenOver ];
        mount = mountHas "/mnt/backup" "mnt-backup" (mine ++ [ "credentials=/x" ]);
      };
  mountNoPermissions = case [
    one
    (cifs [ "uid=root,noperm" ])
  ] { dropIns = lacks "mnt-backup.mount"; };
  mountForAll =
    case
      [
        one
        (cifs [
          "uid=root"
          "file_mode=0666"
          "dir_mode=0777"
        ])
      ]
      {
        dropIns = lacks "mnt-backup.mount";
      };
  mountForGroup =
    case
      [
        one
        (cifs [
          "uid=root"
          "gid=tik-backup"
          "file_mode=0660"
          "dir_mode=0770"
        ])
      ]
      {
        dropIns = lacks "mnt-backup.mount";
      };
  mountForOtherGroup = case [
    one
    (cifs [
      "uid=root"
      "gid=storage"
      "file_mode=0660"
      "dir_mode=0770"
    ])
    {
      users.groups.storage = { };
      users.users.tik-backup.extraGroups = [ "storage" ];
    }
  ] { dropIns = lacks "mnt-backup.mount"; };
  mountForMembers = case [
    one
    (cifs [
      "uid=root"
      "gid=990"
      "file_mode=0660"
      "dir_mode=0770"
    ])
    {
      users.groups.storage = {
        gid = 990;
        members = [ "tik-backup" ];
      };
    }
  ] { dropIns = lacks "mnt-backup.mount"; };
  mountGroupMayRead = case [
    one
    (cifs [
      "uid=root"
      "gid=tik-backup"
    ])
  ] { warnings = [ takenOver ]; };
  mountSmb3 =
    case
      [
        one
        {
          fileSystems."/mnt/backup" = {
            device = "//h/b";
            fsType = "smb3";
            options = [ "uid=root" ];
          };
        }
      ]
      {
        warnings = [ takenOver ];
      };
}
