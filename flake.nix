{
  description = "tik-backup: backs up every database it finds, and proves that it can be restored";

  # The oldest release with the Rust that Cargo.toml asks for is nixos-26.05.
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

      minimumRust = (lib.importTOML ./Cargo.toml).package.rust-version;

      # The host's own package if it has one, else one made with the host's nixpkgs; where its Rust is too old, the one that
      # this flake makes with its own.
      packageFor =
        pkgs:
        pkgs.tik-backup or (
          if lib.versionAtLeast pkgs.rustc.version minimumRust then
            pkgs.callPackage ./nix/package.nix { }
          else
            self.packages.${pkgs.stdenv.hostPlatform.system}.default
        );
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
            services.tik-backup.package = lib.mkDefault (packageFor pkgs);
          };
        default = tik-backup;
      };

      checks = forAllSystems (
        pkgs:
        import ./nix/tests/backup {
          inherit pkgs;
          module = self.nixosModules.default;
        }
        // {
          package = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
          formatting = pkgs.runCommand "tik-backup-formatting" { nativeBuildInputs = [ pkgs.nixfmt ]; } ''
            find ${
              lib.fileset.toSource {
                root = ./.;
                fileset = lib.fileset.fileFilter (file: file.hasExt "nix") ./.;
              }
            } -name '*.nix' -exec nixfmt --check {} +
            touch $out
          '';
        }
      );

      # `nix fmt`: every Nix file of the project.
      formatter = forAllSystems (pkgs: pkgs.nixfmt-tree);

      # For work on the program. `scripts/test` installs more on Debian: tests whose tools are not here are skipped.
      devShells = forAllSystems (pkgs: {
        default = pkgs.mkShell {
          packages = with pkgs; [
            cargo
            rustc
            clippy
            rustfmt
            rust-analyzer
            cargo-deny
            cargo-nextest
            nixfmt-tree

            # The servers and clients of the tests.
            postgresql
            mariadb
            restic
            openssl
            python3
          ];
        };
      });
    };
}
