# Tests in virtual machines: `nix build .#checks.x86_64-linux.full-restore`, or `nix flake check` for all.
{ pkgs, module }:
let
  common = import ./common.nix { inherit module; };
  test = file: pkgs.testers.runNixOSTest (import file { inherit common; });
in
{
  base-backup-test = test ./base-backup-test.nix;
  postgres-backup = test ./postgres-backup.nix;
  full-restore = test ./full-restore.nix;
  retention = test ./retention.nix;
  storagebox = test ./storagebox.nix;
}
