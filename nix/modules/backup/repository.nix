# Where the repository lies, and on which mount: the mount guard, the order of the units and who may write there follow
# from the host's `fileSystems`.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) literalExpression mkOption types;
  cfg = config.services.tik-backup;
  inherit (cfg.settings.systemd) user group;

  pathOf = location: lib.removePrefix "local:" location;
  within = path: mount: path == mount || lib.hasPrefix "${mount}/" path;
  # The mount that holds a path: the innermost one. The system's own disk needs no guard.
  mountOf =
    location:
    let
      holds = mount: mount != "/" && within (pathOf location) (lib.removeSuffix "/" mount);
      found = lib.filter holds (lib.attrNames (lib.filterAttrs (_: one: one.enable or true) config.fileSystems));
    in
    if found == [ ] then
      null
    else
      lib.foldl' (
        longest: mount: if lib.stringLength mount > lib.stringLength longest then mount else longest
      ) (lib.head found) found;

  path = pathOf (cfg.settings.repository.location or "");
  # The mount, if it says by itself to whom its files belong.
  mount = cfg.settings.repository.mount or null;
  declared = if mount == null then null else config.fileSystems.${mount} or null;
  options = if declared == null then [ ] else declared.options;
  # The last of several counts. Several options may stand in one string.
  valueOf =
    key:
    let
      given = lib.filter (lib.hasPrefix "${key}=") (lib.concatMap (lib.splitString ",") options);
    in
    if given == [ ] then null else lib.removePrefix "${key}=" (lib.last given);
  isCifs = declared != null && lib.elem declared.fsType [ "cifs" "smb3" ];
  isRoot = name: name == null || name == "root" || name == "0";
  numberOf = account: if account ? uid then account.uid else account.gid or null;
  is =
    value: name: accounts:
    value == name || (accounts ? ${name} && value == toString (numberOf accounts.${name}));
  mode = key: default: let given = valueOf key; in if given == null then default else given;
  # Whether a digit of a mode, counted from the end, allows to write.
  writes =
    text: position:
    let
      digits = lib.stringToCharacters text;
      digit = if lib.length digits < position then "0" else lib.elemAt digits (lib.length digits - position);
    in
    lib.elem digit [ "2" "3" "6" "7" ];
  writable =
    position: writes (mode "file_mode" "0755") position && writes (mode "dir_mode" "0755") position;
  owner = valueOf "uid";
  lockedOut =
    declared != null
    && (isCifs || owner != null)
    && user != "root"
    && !lib.elem "noperm" options
    && !is (if owner == null then "root" else owner) user config.users.users
    && !(isCifs && is (toString (valueOf "gid")) group config.users.groups && writable 2)
    && !(isCifs && writable 1);
  takenOver = lockedOut && isCifs && isRoot owner;

  wanted = [
    "uid=${user}"
    "gid=${group}"
    "forceuid"
    "forcegid"
    "file_mode=0600"
    "dir_mode=0700"
  ];
  mine = option: lib.any (key: option == key || lib.hasPrefix "${key}=" option) [
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
            defaultText = lib.literalMD "the mount of `fileSystems` that holds the repository";
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
          Write fileSystems."${toString mount}".options = [ … "uid=${user}" "gid=${group}" ], or set services.tik-backup.user'';
      }
    ];
    warnings = lib.optional takenOver ''
      services.tik-backup: fileSystems."${mount}" gives all of its files to root, and the services run as ${user}: the mount is made with ${lib.concatStringsSep "," wanted} instead.
      Write these options there to say so yourself, or set services.tik-backup.user = "root"'';

    # /etc/fstab stays as it was written; systemd makes the mount with other owners.
    systemd.units = lib.mkIf takenOver {
      "${utils.escapeSystemdPath mount}.mount" = {
        overrideStrategy = "asDropin";
        text = ''
          [Mount]
          Options=${
            lib.replaceStrings [ "%" ] [ "%%" ] (
              lib.concatStringsSep "," (
                lib.filter (option: !mine option) (lib.concatMap (lib.splitString ",") options) ++ wanted
              )
            )
          }
        '';
      };
    };

    # A disk of this machine belongs to root: `init` needs a folder there that is the services' own. The program says it
    # if that was not possible.
    systemd.services.tik-backup-init.serviceConfig =
      lib.mkIf (declared != null && owner == null && !isCifs && user != "root" && path != mount)
        {
          ExecStartPre = "+-${pkgs.writeShellScript "tik-backup-folder" ''
            if ${pkgs.util-linux}/bin/mountpoint --quiet ${lib.escapeShellArg mount} && ! [ -e ${lib.escapeShellArg path} ]; then
              ${pkgs.coreutils}/bin/install --directory --mode=0700 --owner=${user} --group=${group} ${lib.escapeShellArg path}
            fi
          ''}";
        };

    # On the system's own disk the folder is made; on a mount that is not there it would be in the way.
    systemd.tmpfiles.rules = lib.optional (
      mount == null && lib.hasPrefix "/" path && mountOf path == null
    ) "d \"${lib.replaceStrings [ "%" "\\" "\"" ] [ "%%" "\\\\" "\\\"" ] path}\" :0700 :${user} :${group} -";
  };
}
