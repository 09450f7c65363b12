# The program, with the clients it calls on its path. A server of another version wants a client of that version:
# `clients` is where to put it, or `services.tik-backup.postgresqlPackages` and `mysqlPackages`.
{
  lib,
  rustPlatform,
  installShellFiles,
  makeWrapper,
  stdenv,
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
in
rustPlatform.buildRustPackage {
  pname = cargo.name;
  inherit (cargo) version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../src
      ../docs/example-config.toml
      ./modules/backup/units.json
    ];
  };
  cargoLock.lockFile = ../Cargo.lock;

  nativeBuildInputs = [
    installShellFiles
    makeWrapper
  ];

  # The tests start real servers and install what they need: `scripts/test` runs them, and nix/tests those for NixOS.
  doCheck = false;

  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/tik-backup generate --output share
    installManPage share/man/*.1
    installShellCompletion share/completions/{tik-backup.bash,_tik-backup,tik-backup.fish}
  '';
  # Added after what the service's own path says.
  postFixup = ''
    wrapProgram $out/bin/tik-backup --suffix PATH : ${lib.makeBinPath clients}
  '';

  meta = {
    inherit (cargo) description;
    license = with lib.licenses; [
      mit
      asl20
    ];
    mainProgram = "tik-backup";
    platforms = lib.platforms.linux;
  };
}
