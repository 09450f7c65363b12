# The location of the repository and its mount. The mount guard, the order of the units and the owner of the files follow
# from the host's `fileSystems`.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) literalExpression mkOption types;
  cfg = config.services.tik-backup;
  inherit (import ./account.nix { inherit config; }) user group mountOptions;
  inherit (import ./paths.nix { inherit config lib; })
    mountOf
    mounts
    normal
    pathOf
    within
    ;
  mountUnit = import ./mount-unit.nix;

  path = pathOf (cfg.settings.repository.location or "");
  mount = cfg.settings.repository.mount or null;
  declared = if mount == null then null else lib.findFirst (one: one.at == normal mount) null mounts;
  access = import ./mount-access.nix {
    inherit config lib;
    mount = declared;
  };
  told = if declared.byUnit then "the mount" else "fileSystems.\"${mount}\"";

  # A path on the system's own disk, and whether it looks like a path that should be on a mount.
  onOwnDisk = mount == null && lib.hasPrefix "/" path && mountOf path == null;
  unmounted =
    onOwnDisk
    && lib.any (within path) [
      "/mnt"
      "/media"
      "/run/media"
    ];

  # Options that those of `mountOptions` replace.
  replaced =
    option:
    lib.any (key: option == key || lib.hasPrefix "${key}=" option) [
      "uid"
      "gid"
      "forceuid"
      "noforceuid"
      "forcegid"
      "noforcegid"
      "file_mode"
      "dir_mode"
    ];
in
{
  options.services.tik-backup.settings = mkOption {
    type = types.submodule (
      { config, ... }:
      {
        options.repository = {
          location = mkOption {
            type = types.nullOr types.str;
            default = if config.repository ? location_file then null else cfg.backupPath;
            defaultText = literalExpression "config.services.tik-backup.backupPath";
            description = "Where the restic repository is, as `backupPath`. Set it here to override that option.";
          };
          mount = mkOption {
            type = types.nullOr types.str;
            default =
              if config.repository.location == null then null else mountOf (pathOf config.repository.location);
            defaultText = lib.literalMD "the mount of `fileSystems` or `systemd.mounts` that holds the repository";
            description = ''
              No backup runs unless a file system is mounted here. With null this is not checked, and a storage that is not
              mounted is taken for an empty one.
            '';
          };
        };
      }
    );
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = !access.lockedOut || access.changesOwner;
        message = ''
          services.tik-backup: the mount ${toString mount} gives all of its files to uid ${toString access.owner}, and the services run as ${user}: they could not write there.
          Add "uid=${user}" and "gid=${group}" to the options of ${told}, or set services.tik-backup.user'';
      }
      {
        assertion = !access.forRootAlone;
        message = ''
          services.tik-backup: what is mounted at ${toString mount} by FUSE is open to root alone, and the services run as ${user}.
          Add "allow_other" to the options of ${told}, or set services.tik-backup.user = "root"'';
      }
    ];
    warnings =
      lib.optional unmounted ''
        services.tik-backup: no mount in fileSystems or systemd.mounts holds the repository, ${path}: it would lie on the system's own disk, and be lost with it.
        Declare the mount, or set services.tik-backup.settings.repository.mount to where something else mounts it''
      ++ lib.optional access.uncertain ''
        services.tik-backup: ${told} gives all of its files to uid ${access.owner}, and which number ${user} has is chosen on the host.
        Write uid=${user} there, or set ${
          if user == "tik-backup" then "services.tik-backup.uid" else "users.users.${user}.uid"
        } = ${access.owner}''
      ++ lib.optional (access.isDisk && user != "root" && path == normal mount) ''
        services.tik-backup: the repository is the mount point ${mount} itself, which belongs to root unless you changed that: the services run as ${user} and could not write there.
        Set services.tik-backup.backupPath to a directory below it, which the module then makes''
      ++ lib.optional access.changesOwner ''
        services.tik-backup: ${told} gives all of its files to root, and the services run as ${user}: the mount is made with ${lib.concatStringsSep "," mountOptions} instead.
        Write these options there to say so yourself, or set services.tik-backup.user = "root"'';

    # /etc/fstab stays unchanged; systemd makes the mount with other owners. A run mounts a storage that refuses at once
    # several times in a second: the limit of starts would then stop the automount for good.
    systemd.units = lib.mkIf (access.changesOwner || access.onDemand) {
      ${mountUnit mount} = {
        overrideStrategy = "asDropin";
        text = ''
          [Unit]
          StartLimitIntervalSec=0
        ''
        + lib.optionalString access.changesOwner ''
          [Mount]
          Options=${
            lib.replaceStrings [ "%" ] [ "%%" ] (
              lib.concatStringsSep "," (lib.filter (option: !replaced option) access.options ++ mountOptions)
            )
          }
        '';
      };
    };

    # A disk of this machine belongs to root: `init` needs a directory there that the services own. If it cannot be made,
    # the program reports it.
    systemd.services.tik-backup-init.serviceConfig =
      lib.mkIf (declared != null && access.owner == null && user != "root" && path != normal mount)
        {
          ExecStartPre = "+-${pkgs.writeShellScript "tik-backup-folder" ''
            if ${pkgs.util-linux}/bin/mountpoint --quiet ${lib.escapeShellArg mount} && ! [ -e ${lib.escapeShellArg path} ]; then
              ${pkgs.coreutils}/bin/install --directory --mode=0700 --owner=${user} --group=${group} ${lib.escapeShellArg path}
            fi
          ''}";
        };

    # On the system's own disk the directory is made; below a missing mount it would block the mount. ZFS mounts are not in
    # fileSystems.
    systemd.tmpfiles.rules =
      lib.optional (onOwnDisk && !unmounted && !(config.boot.zfs.enabled or false))
        "d \"${
          lib.replaceStrings [ "%" "\\" "\"" ] [ "%%" "\\\\" "\\\"" ] path
        }\" :0700 :${user} :${group} -";
  };
}
