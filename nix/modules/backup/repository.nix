# Where the repository lies, and on which mount: the mount guard, the order of the units and who may write there follow
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
  user = cfg.settings.systemd.user or "tik-backup";
  group = cfg.settings.systemd.group or user;

  mountUnit = import ./mount-unit.nix;

  pathOf = location: lib.removePrefix "local:" location;
  # Without slashes that mean nothing.
  normal =
    path: "/" + lib.concatStringsSep "/" (lib.filter (part: part != "") (lib.splitString "/" path));
  within = path: mount: path == mount || lib.hasPrefix "${mount}/" path;

  # What is mounted where: by fileSystems, whose attributes need not be named like the mount point, or by units.
  mounts =
    map (one: {
      at = normal one.mountPoint;
      inherit (one) fsType;
      options = lib.concatMap (lib.splitString ",") one.options;
      byUnit = false;
    }) (lib.filter (one: one.enable or true) (lib.attrValues config.fileSystems))
    ++ map (one: {
      at = normal one.where;
      # Either may be written, and a list too.
      fsType = one.mountConfig.Type or one.type or "";
      options = lib.concatMap (lib.splitString ",") (
        lib.toList (one.mountConfig.Options or one.options or "")
      );
      byUnit = true;
    }) (lib.filter (one: one.enable or true) config.systemd.mounts);

  # The mount that holds a path: the innermost one. The system's own disk needs no guard.
  mountOf =
    location:
    let
      found = lib.filter (mount: mount != "/" && within (normal (pathOf location)) mount) (
        map (one: one.at) mounts
      );
      longer = one: other: if lib.stringLength other > lib.stringLength one then other else one;
    in
    if found == [ ] || !lib.hasPrefix "/" (pathOf location) then
      null
    else
      lib.foldl' longer (lib.head found) found;

  path = pathOf (cfg.settings.repository.location or "");
  # A path on the system's own disk, and whether it looks like one that is not meant to be there.
  onOwnDisk = mount == null && lib.hasPrefix "/" path && mountOf path == null;
  unmounted =
    onOwnDisk
    && lib.any (within path) [
      "/mnt"
      "/media"
      "/run/media"
    ];
  # The mount, if it says by itself to whom its files belong.
  mount = cfg.settings.repository.mount or null;
  declared = if mount == null then null else lib.findFirst (one: one.at == normal mount) null mounts;
  isOf = types: declared != null && lib.elem declared.fsType types;
  isCifs = isOf [
    "cifs"
    "smb3"
  ];
  # File systems without owners: all files have the one that the mount is given, or root.
  isFat = isOf [
    "vfat"
    "exfat"
    "ntfs3"
  ];
  # File systems whose root directory belongs to root when they are made.
  isDisk =
    isOf [
      "ext4"
      "xfs"
      "btrfs"
      "f2fs"
    ]
    && !lib.elem "bind" options;
  # FUSE mounts are open only to the user who mounted them, unless allow_other is set.
  isFuse = isOf [
    "sshfs"
    "fuse.sshfs"
    "rclone"
    "fuse.rclone"
    "s3fs"
    "fuse.s3fs"
  ];

  options = if declared == null then [ ] else declared.options;
  # The last of several counts.
  valueOf =
    key: default:
    let
      given = lib.filter (lib.hasPrefix "${key}=") options;
    in
    if given == [ ] then default else lib.removePrefix "${key}=" (lib.last given);

  # Whether the owner that a mount names is an account of this host. Numbers that NixOS chooses are known only on the host:
  # those of people are from 1000 on, those of services below.
  isAccount =
    value: name: account: number:
    value == name
    || (
      if number != null then
        value == toString number
      else
        lib.match "[1-9][0-9]*" value != null && account.isNormalUser or false == (lib.toInt value >= 1000)
    );
  isUser =
    value:
    let
      account = config.users.users.${user} or { };
    in
    isAccount value user account (account.uid or null);
  groups = [
    group
  ]
  ++ config.users.users.${user}.extraGroups or [ ]
  ++ lib.attrNames (lib.filterAttrs (_: one: lib.elem user one.members) config.users.groups);
  isGroup =
    value:
    lib.any (
      name:
      let
        number = config.users.groups.${name}.gid or null;
      in
      value == name || (number != null && value == toString number)
    ) groups;

  # Whether the digit of a mode at a position, counted from the end, allows to write.
  writes =
    mode: position:
    let
      digits = lib.stringToCharacters mode;
      digit =
        if lib.length digits < position then "0" else lib.elemAt digits (lib.length digits - position);
    in
    lib.elem digit [
      "2"
      "3"
      "6"
      "7"
    ];
  writable =
    position:
    if isFat then
      let
        mask = valueOf "umask" "022";
      in
      !writes (valueOf "fmask" mask) position && !writes (valueOf "dmask" mask) position
    else
      isCifs
      && writes (valueOf "file_mode" "0755") position
      && writes (valueOf "dir_mode" "0755") position;

  ownerless = isCifs || isFat;
  owner =
    let
      given = valueOf "uid" null;
    in
    if given == null || given == "" then if ownerless then "root" else null else given;
  # A number that only the host can tell to be right.
  guessed =
    owner != null
    && user != "root"
    && (config.users.users.${user}.uid or null) == null
    && builtins.match "[1-9][0-9]*" owner != null;
  isRoots = owner == "root" || owner == "0";
  lockedOut =
    owner != null
    && user != "root"
    && !lib.elem "noperm" options
    && !isUser owner
    && !(isGroup (valueOf "gid" "root") && writable 2)
    && !writable 1;
  # Many hosts mount the share for root. With CIFS the module changes the owner.
  takenOver = lockedOut && isCifs && isRoots && !declared.byUnit;
  onDemand = declared != null && !declared.byUnit && lib.elem "x-systemd.automount" options;
  notLetIn =
    isFuse
    && user != "root"
    && !lib.any (option: lib.replaceStrings [ "-" ] [ "_" ] option == "allow_other") options;
  told = if declared.byUnit then "the mount" else "fileSystems.\"${mount}\"";

  wanted = [
    "uid=${user}"
    "gid=${group}"
    "forceuid"
    "forcegid"
    "file_mode=0600"
    "dir_mode=0700"
  ];
  mine =
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
            default = if config.repository.location == null then null else mountOf config.repository.location;
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
        assertion = !lockedOut || takenOver;
        message = ''
          services.tik-backup: the mount ${toString mount} gives all of its files to uid ${toString owner}, and the services run as ${user}: they could not write there.
          Add "uid=${user}" and "gid=${group}" to the options of ${told}, or set services.tik-backup.user'';
      }
      {
        assertion = !notLetIn;
        message = ''
          services.tik-backup: what is mounted at ${toString mount} by FUSE is open to root alone, and the services run as ${user}.
          Add "allow_other" to the options of ${told}, or set services.tik-backup.user = "root"'';
      }
    ];
    warnings =
      lib.optional unmounted ''
        services.tik-backup: no mount in fileSystems or systemd.mounts holds the repository, ${path}: it would lie on the system's own disk, and be lost with it.
        Declare the mount, or set services.tik-backup.settings.repository.mount to where something else mounts it''
      ++ lib.optional (guessed && !lockedOut) ''
        services.tik-backup: ${told} gives all of its files to uid ${owner}, and which number ${user} has is chosen on the host.
        Write uid=${user} there, or set ${
          if user == "tik-backup" then "services.tik-backup.uid" else "users.users.${user}.uid"
        } = ${owner}''
      ++ lib.optional (isDisk && user != "root" && normal path == normal mount) ''
        services.tik-backup: the repository is the mount point ${mount} itself, which belongs to root unless you changed that: the services run as ${user} and could not write there.
        Set services.tik-backup.backupPath to a folder below it, which the module then makes''
      ++ lib.optional takenOver ''
        services.tik-backup: ${told} gives all of its files to root, and the services run as ${user}: the mount is made with ${lib.concatStringsSep "," wanted} instead.
        Write these options there to say so yourself, or set services.tik-backup.user = "root"'';

    # /etc/fstab stays as it was written; systemd makes the mount with other owners. A storage that refuses at once is asked
    # for several times in a second by a run: the limit of starts would end the automount for good.
    systemd.units = lib.mkIf (takenOver || onDemand) {
      ${mountUnit mount} = {
        overrideStrategy = "asDropin";
        text = ''
          [Unit]
          StartLimitIntervalSec=0
        ''
        + lib.optionalString takenOver ''
          [Mount]
          Options=${
            lib.replaceStrings [ "%" ] [ "%%" ] (
              lib.concatStringsSep "," (lib.filter (option: !mine option) options ++ wanted)
            )
          }
        '';
      };
    };

    # A disk of this machine belongs to root: `init` needs a folder there that is the services' own. The program says it
    # if that was not possible.
    systemd.services.tik-backup-init.serviceConfig =
      lib.mkIf (declared != null && owner == null && user != "root" && normal path != normal mount)
        {
          ExecStartPre = "+-${pkgs.writeShellScript "tik-backup-folder" ''
            if ${pkgs.util-linux}/bin/mountpoint --quiet ${lib.escapeShellArg mount} && ! [ -e ${lib.escapeShellArg path} ]; then
              ${pkgs.coreutils}/bin/install --directory --mode=0700 --owner=${user} --group=${group} ${lib.escapeShellArg path}
            fi
          ''}";
        };

    # On the system's own disk the folder is made; on a mount that is not there it would be in the way. ZFS mounts without
    # telling fileSystems.
    systemd.tmpfiles.rules =
      lib.optional (onOwnDisk && !unmounted && !(config.boot.zfs.enabled or false))
        "d \"${
          lib.replaceStrings [ "%" "\\" "\"" ] [ "%%" "\\\\" "\\\"" ] path
        }\" :0700 :${user} :${group} -";
  };
}
