# Options of directories of this machine.
{ fields, ... }:
with fields;
[
  {
    kinds = [ "directory" ];
    options = {
      paths =
        texts "The directories to back up, each an item; parts of a path may be patterns. It is required."
          [
            "/var/lib/wiki"
            "/srv/*/uploads"
          ];
      excludeCaches = switch "Whether the content of directories with a valid `CACHEDIR.TAG` is left out. The program's default is false.";
      oneFileSystem = switch "Whether other file systems that are mounted below a directory are left out. The program's default is true.";
    };
  }
]
