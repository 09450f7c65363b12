# Whether the services may write to a mount. It follows from the mount's type and options: the owner of its files, and the
# other users who may write.
# `mount` is one of paths.nix, or null.
{
  config,
  lib,
  mount,
}:
let
  inherit (import ./account.nix { inherit config; }) user group;
  paths = import ./paths.nix { inherit config lib; };

  isOf = types: mount != null && lib.elem mount.fsType types;
  isCifs = mount != null && paths.isCifs mount;
  # File systems without owners: all files belong to the owner in the mount options, or to root.
  isFat = isOf [
    "vfat"
    "exfat"
    "ntfs3"
  ];
  # FUSE mounts are open only to the user who mounted them, unless allow_other is set.
  isFuse = isOf [
    "sshfs"
    "fuse.sshfs"
    "rclone"
    "fuse.rclone"
    "s3fs"
    "fuse.s3fs"
  ];

  options = if mount == null then [ ] else mount.options;
  # The last of several takes precedence.
  valueOf =
    key: default:
    let
      given = lib.filter (lib.hasPrefix "${key}=") options;
    in
    if given == [ ] then default else lib.removePrefix "${key}=" (lib.last given);

  account = config.users.users.${user} or { };
  number = account.uid or null;
  isNumber = value: builtins.match "[1-9][0-9]*" value != null;
  # A number that NixOS chooses is known only on the host. Users have numbers from 1000 on, services below.
  isUser =
    value:
    value == user
    || (
      if number != null then
        value == toString number
      else
        isNumber value && (account.isNormalUser or false) == (lib.toInt value >= 1000)
    );
  groups = [
    group
  ]
  ++ account.extraGroups or [ ]
  ++ lib.attrNames (lib.filterAttrs (_: one: lib.elem user one.members) config.users.groups);
  isGroup =
    value:
    lib.any (
      name:
      let
        gid = config.users.groups.${name}.gid or null;
      in
      value == name || (gid != null && value == toString gid)
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
  othersWrite =
    lib.elem "noperm" options || (isGroup (valueOf "gid" "root") && writable 2) || writable 1;

  # Only if the owner decides who may write.
  decides = owner != null && user != "root" && !othersWrite;
  # The owner of all files, if the mount has one.
  owner =
    let
      given = valueOf "uid" "";
    in
    if given != "" then
      given
    else if isCifs || isFat then
      "root"
    else
      null;
  lockedOut = decides && !isUser owner;
in
{
  inherit lockedOut options owner;
  # File systems whose root directory belongs to root when they are made.
  isDisk =
    isOf [
      "ext4"
      "xfs"
      "btrfs"
      "f2fs"
    ]
    && !lib.elem "bind" options;
  # The owner is a number that may be the services' user; only the host knows.
  uncertain = decides && number == null && owner != user && isUser owner;
  # Many hosts mount the share for root. With CIFS the module changes the owner.
  changesOwner =
    lockedOut
    && isCifs
    && !mount.byUnit
    && lib.elem owner [
      "root"
      "0"
    ];
  forRootAlone =
    isFuse
    && user != "root"
    && !lib.any (option: lib.replaceStrings [ "-" ] [ "_" ] option == "allow_other") options;
  onDemand = mount != null && !mount.byUnit && lib.elem "x-systemd.automount" options;
}
