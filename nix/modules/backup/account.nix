# The user of the services, and mount options that make this user the only one with access.
{ config }:
let
  systemd = config.services.tik-backup.settings.systemd;
  user = systemd.user or "tik-backup";
  group = systemd.group or user;
in
{
  inherit user group;
  mountOptions = [
    "uid=${user}"
    "gid=${group}"
    "forceuid"
    "forcegid"
    "file_mode=0600"
    "dir_mode=0700"
  ];
}
