# Who the services run as, and the options of a mount whose files are theirs alone.
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
