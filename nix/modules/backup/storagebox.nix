# The storage box: mounted on access, unmounted when it is unused for a while.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    mkEnableOption
    mkIf
    mkOption
    types
    ;
  cfg = config.services.tik-backup;
  box = cfg.storageBox;
  inherit (import ./account.nix { inherit config; }) mountOptions;
  inherit (import ./paths.nix { inherit config lib; }) pathOf within;
  location = cfg.settings.repository.location or null;

  secret =
    if box.protocol == "cifs" then cfg.secrets.storageboxCredentials else toString box.identityFile;

  automount = [
    "_netdev"
    "noauto"
    "nofail"
    "x-systemd.automount"
    "x-systemd.idle-timeout=${toString box.idleTimeout}"
    "x-systemd.mount-timeout=60"
  ];
  cifs = {
    device = "//${box.host}/${box.share}";
    fsType = "cifs";
    options =
      automount
      ++ [
        "credentials=${cfg.secrets.storageboxCredentials}"
      ]
      ++ mountOptions
      ++ [
        "vers=3"
        "seal"
        "hard"
      ]
      ++ box.options;
  };
  sshfs = {
    device = "${box.user}@${box.host}:${box.share}";
    fsType = "fuse.sshfs";
    options =
      automount
      ++ [
        "port=23"
        "IdentityFile=${toString box.identityFile}"
        "StrictHostKeyChecking=yes"
        "allow_other"
        "default_permissions"
        "uid=${toString cfg.uid}"
        "gid=${toString cfg.uid}"
        "umask=077"
        "reconnect"
        "ServerAliveInterval=15"
      ]
      ++ box.options;
  };
in
{
  options.services.tik-backup.storageBox = {
    enable = mkEnableOption "the mount of a storage box for the repository";
    protocol = mkOption {
      type = types.enum [
        "cifs"
        "sshfs"
      ];
      default = "cifs";
      description = "How the box is mounted. CIFS is faster; SSHFS needs only the port of SSH.";
    };
    host = mkOption {
      type = types.str;
      example = "u123456.your-storagebox.de";
      description = "Host name of the storage box.";
    };
    share = mkOption {
      type = types.str;
      default = "backup";
      description = "Name of the share; for SSHFS, of the directory.";
    };
    user = mkOption {
      type = types.str;
      default = lib.head (lib.splitString "." box.host);
      defaultText = lib.literalMD "the first part of `storageBox.host`";
      description = "Account for SSHFS. With CIFS the account is in the file `secrets.storageboxCredentials`.";
    };
    identityFile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/run/secrets/storagebox-ssh-key";
      description = "File with the private key for SSHFS, which needs one.";
    };
    mountPoint = mkOption {
      type = types.str;
      default = "/mnt/backup";
      apply = lib.removeSuffix "/";
      description = "Directory that the box is mounted on. No backup runs unless it is mounted, and `backupPath` has to be below it.";
    };
    idleTimeout = mkOption {
      type = types.ints.unsigned;
      default = 600;
      description = "The box is unmounted after this many seconds without use. With 0 it stays mounted.";
    };
    fileSystem = mkOption {
      internal = true;
      readOnly = true;
      type = types.attrs;
      default = if box.protocol == "cifs" then cifs else sshfs;
      defaultText = lib.literalExpression "what the other options say";
      description = "The mount, for tests that have file systems of their own.";
    };
    options = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "More options of the mount, added after those of the module.";
    };
  };

  config = mkIf (cfg.enable && box.enable) {
    assertions = [
      {
        assertion = box.protocol != "sshfs" || (cfg.uid != null && box.identityFile != null);
        message = "services.tik-backup.storageBox: SSHFS needs services.tik-backup.uid and storageBox.identityFile";
      }
      {
        assertion = !lib.hasPrefix "${builtins.storeDir}/" secret;
        message = "services.tik-backup.storageBox: the file with the box's credentials is in the store, which every user can read: ${secret}; name a path outside of it";
      }
      {
        # The location is in a secret, so the mount guard checks it at run time.
        assertion = location == null || within (pathOf location) box.mountPoint;
        message = "services.tik-backup: backupPath ${toString location} is not below storageBox.mountPoint ${box.mountPoint}";
      }
    ];
    fileSystems.${box.mountPoint} = box.fileSystem;
    environment.systemPackages = [ (if box.protocol == "cifs" then pkgs.cifs-utils else pkgs.sshfs) ];
    system.fsPackages = [ (if box.protocol == "cifs" then pkgs.cifs-utils else pkgs.sshfs) ];
    services.tik-backup.settings.repository.mount = lib.mkDefault box.mountPoint;
  };
}
