{
  description = "tik-backup: backs up every database it finds, and proves that it can be restored";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forAllSystems = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      packages = forAllSystems (pkgs: rec {
        tik-backup = pkgs.callPackage ./nix/package.nix { };
        default = tik-backup;
      });

      overlays.default = final: _previous: {
        tik-backup = final.callPackage ./nix/package.nix { };
      };

      nixosModules = rec {
        tik-backup =
          { pkgs, ... }:
          {
            imports = [ ./nix/modules/backup ];
            services.tik-backup.package = lib.mkDefault (pkgs.callPackage ./nix/package.nix { });
          };
        default = tik-backup;
      };

      checks = forAllSystems (
        pkgs: import ./nix/tests/backup { inherit pkgs; module = self.nixosModules.default; }
      );
    };
}
