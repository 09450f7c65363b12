# The program, with the clients it calls on its path. A server of another version needs a client of that version:
# add it to `clients`, or to `services.tik-backup.postgresqlPackages` and `mysqlPackages`.
{
  lib,
  rustPlatform,
  rustc,
  installShellFiles,
  makeWrapper,
  versionCheckHook,
  cacert,
  tzdata,
  stdenv,
  buildPackages,
  pkgs,
  postgresql,
  mariadb,
  openssh,
  clients ? [
    postgresql
    mariadb
    openssh
  ],
}:
let
  cargo = (lib.importTOML ../Cargo.toml).package;

  # Tests of the library that Nix does not allow in a build: they need setuid and setgid bits, and extended attributes.
  forbidden = [
    "restore::folder::tests::a_tree_comes_back_as_it_was"
    "restore::folder::tests::files_of_other_kinds_are_private_whatever_the_snapshot_says"
    "restore::folder::tests::only_what_is_chosen_is_written_and_the_folders_above_it_are_as_they_were"
    "restore::folder::tests::rights_that_a_file_lends_and_devices_are_restored_only_if_asked_for"
    "source::directory::attributes::tests::what_the_system_tells_is_taken_over"
    "source::directory::tests::everything_is_stored_and_counted"
    "source::directory::tests::what_has_not_changed_is_not_read_again"
  ];

  # Cargo would refuse too, but only after all downloads, and without a hint.
  supported = lib.throwIf (lib.versionOlder rustc.version cargo.rust-version) ''
    ${cargo.name} needs Rust ${cargo.rust-version}, and this nixpkgs has ${rustc.version}. NixOS 26.05 is the first release
    that has it. On an older one, take the package from a newer nixpkgs: let the flake's input `nixpkgs` follow
    nixos-26.05 or nixos-unstable instead of the system's, and set
      services.tik-backup.package = inputs.tik-backup.packages.''${pkgs.stdenv.hostPlatform.system}.default;
    With a toolchain of your own: `override { inherit rustPlatform rustc; }`.
  '' rustPlatform;
in
supported.buildRustPackage (finalAttrs: {
  pname = cargo.name;
  inherit (cargo) version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../src
      ../docs/design.md
      ../docs/example-config.toml
      # Files that the library's tests read.
      ../testkit
      ../tests/fixtures
    ];
  };
  cargoLock.lockFile = ../Cargo.lock;

  # The libraries in C (zstd, SQLite, AWS-LC) come with the crates and need nothing but the C compiler.
  nativeBuildInputs = [
    installShellFiles
    makeWrapper
  ];

  # The library's own tests. Those in tests/ start real servers and install what they need: `scripts/test` runs them,
  # and nix/tests has those for NixOS.
  doCheck = true;
  cargoTestFlags = [ "--lib" ];
  checkFlags = map (name: "--skip=${name}") forbidden;
  # HTTPS clients need certificates to be created.
  nativeCheckInputs = [ cacert ];
  preCheck = ''
    export TZDIR=${tzdata}/share/zoneinfo
  '';

  postInstall = lib.optionalString (stdenv.hostPlatform.emulatorAvailable buildPackages) ''
    ${stdenv.hostPlatform.emulator buildPackages} $out/bin/tik-backup generate --output share
    installManPage share/man/*.1
    installShellCompletion share/completions/{tik-backup.bash,_tik-backup,tik-backup.fish}
  '';
  # Added after the service's own path.
  postFixup = lib.optionalString (clients != [ ]) ''
    wrapProgram $out/bin/tik-backup --suffix PATH : ${lib.makeBinPath clients}
  '';

  # These checks and the tests need a machine that can run the program.
  nativeInstallCheckInputs = [ versionCheckHook ];
  versionCheckProgramArg = "--version";
  doInstallCheck = true;

  passthru = {
    # The program for the machine that builds: the module checks the configuration with it.
    forBuild =
      if stdenv.buildPlatform.canExecute stdenv.hostPlatform then
        finalAttrs.finalPackage
      else
        buildPackages.callPackage ./package.nix { clients = [ ]; };

    # In virtual machines, with this package.
    tests = import ./tests/backup {
      inherit pkgs;
      module = {
        imports = [ ./modules/backup ];
        services.tik-backup.package = lib.mkDefault finalAttrs.finalPackage;
      };
    };
  };

  meta = {
    inherit (cargo) description;
    license = with lib.licenses; [
      mit
      asl20
    ];
    maintainers = [ ];
    mainProgram = "tik-backup";
    platforms = lib.platforms.linux;
  }
  # Taken from Cargo.toml if it is set there.
  // lib.optionalAttrs (cargo ? homepage || cargo ? repository) {
    homepage = cargo.homepage or cargo.repository;
  };
})
