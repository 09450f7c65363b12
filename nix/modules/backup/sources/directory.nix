# Options of folders of this machine.
{ fields, ... }:
with fields;
[
  {
    kinds = [ "directory" ];
    options = {
      paths =
        texts "The folders to back up, each an item; parts of a path may be patterns. It is required."
          [
            "/var/lib/wiki"
            "/srv/*/uploads"
          ];
      excludeCaches = switch "Whether the content of folders with a valid `CACHEDIR.TAG` is left out. The program's default is false.";
      oneFileSystem = switch "Whether what is mounted below a folder is left out. The program's default is true.";
    };
  }
]
