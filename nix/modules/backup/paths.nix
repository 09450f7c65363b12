# Paths and mounts.
{ config, lib }:
rec {
  # Without redundant slashes. Other texts than absolute paths stay unchanged.
  normal =
    path:
    if lib.hasPrefix "/" path then
      "/" + lib.concatStringsSep "/" (lib.filter (part: part != "") (lib.splitString "/" path))
    else
      path;
  # The path of a repository in a directory; other locations stay unchanged.
  pathOf = location: normal (lib.removePrefix "local:" location);
  within = path: mount: path == mount || lib.hasPrefix "${mount}/" path;

  isCifs =
    mount:
    lib.elem mount.fsType [
      "cifs"
      "smb3"
    ];

  # Mounts of fileSystems, whose attribute may have another name than the mount point.
  mountsOfFileSystems = map (one: {
    at = normal one.mountPoint;
    inherit (one) fsType;
    options = lib.concatMap (lib.splitString ",") one.options;
    byUnit = false;
  }) (lib.filter (one: one.enable or true) (lib.attrValues config.fileSystems));

  # Mounts by systemd units. Both spellings and a list are accepted.
  mountsOfUnits = map (one: {
    at = normal one.where;
    fsType = one.mountConfig.Type or one.type or "";
    options = lib.concatMap (lib.splitString ",") (
      lib.toList (one.mountConfig.Options or one.options or "")
    );
    byUnit = true;
  }) (lib.filter (one: one.enable or true) config.systemd.mounts);

  mounts = mountsOfFileSystems ++ mountsOfUnits;

  # The mount point that holds a path: the innermost one. The system's own disk needs no guard.
  mountOf =
    path:
    let
      found = lib.filter (at: at != "/" && within path at) (map (one: one.at) mounts);
      longer = one: other: if lib.stringLength other > lib.stringLength one then other else one;
    in
    if found == [ ] then null else lib.foldl' longer (lib.head found) found;
}
