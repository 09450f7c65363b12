# Tests with NixOS' own framework: `nix build .#checks.x86_64-linux.full-restore`, or `nix flake check` for all.
#
# NAME runs in virtual machines. NAME-nspawn is the same test in containers, where the framework has these (NixOS 26.05)
# and the kernel does not matter for the test; it needs no KVM, but a Nix that hands out ranges of users
# (`auto-allocate-uids`, the system feature `uid-range`). In such a container systemd cannot confine services by namespaces:
# they run without namespaces there, and the confinement is tested in virtual machines.
{ pkgs, module }:
let
  inherit (pkgs) lib;
  common = import ./common.nix { inherit module; };
  available = name: pkgs ? ${name} && pkgs.${name}.meta.available;
  hasContainers = builtins.pathExists (pkgs.path + "/nixos/modules/virtualisation/nspawn-container");

  virtual = _: file: pkgs.testers.runNixOSTest (import file { inherit common; });
  contained =
    _: file:
    let
      test = import file { inherit common; };
    in
    pkgs.testers.runNixOSTest (
      removeAttrs test [ "nodes" ]
      // {
        name = "${test.name}-nspawn";
        containers = test.nodes;
        containerDefaults = ./unconfined.nix;
      }
    );

  everywhere = {
    base-backup-test = ./base-backup-test.nix;
    postgres-backup = ./postgres-backup.nix;
    full-restore = ./full-restore.nix;
  }
  // lib.optionalAttrs (available "azurite") { azure-storage = ./azure-storage.nix; }
  # Unfree: only where `pkgs` allows it.
  // lib.optionalAttrs (available "mongodb-ce") { mongodb = ./mongodb.nix; };

  # They set the clock, and mount with a module of the kernel.
  virtualOnly = {
    retention = ./retention.nix;
    storagebox = ./storagebox.nix;
  };
in
lib.mapAttrs virtual (everywhere // virtualOnly)
// lib.optionalAttrs hasContainers (
  lib.mapAttrs' (name: file: lib.nameValuePair "${name}-nspawn" (contained name file)) everywhere
)
