# Configurations as administrators write them, with the expected results.
#
# `right` maps the name of each case to its differences from the expected result: the empty list means success. `wrong`
# holds configurations that must not evaluate, with the text that the error must have.
{
  lib,
  evaluate,
  # Stand-ins, or the modules themselves.
  sops,
  agenix,
}:
let
  parts = import ./cases/lib.nix {
    inherit
      agenix
      evaluate
      lib
      sops
      ;
  };
  files = [
    ./cases/plan.nix
    ./cases/sops.nix
    ./cases/sops-paths.nix
    ./cases/agenix.nix
    ./cases/storage-box.nix
    ./cases/owners.nix
    ./cases/mounts.nix
    ./cases/places.nix
    ./cases/users.nix
    ./cases/settings.nix
    ./cases/sources.nix
    ./cases/overrides.nix
    ./cases/readable.nix
  ];
in
{
  right = lib.foldl' (all: file: all // import file parts) { } files;
  wrong = import ./cases/wrong.nix parts;
}
