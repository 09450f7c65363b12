# Building blocks of the cases: parts of hosts, and the comparison of the result with the expected one.
{
  lib,
  evaluate,
  sops,
  agenix,
}:
let
  inherit (lib)
    concatMap
    filter
    filterAttrs
    hasPrefix
    listToAttrs
    mapAttrs
    mkDefault
    mkForce
    mkMerge
    nameValuePair
    removePrefix
    ;

  # The parts of a host that are compared. Only the parts that a case names are evaluated.
  see =
    { config, ... }:
    let
      ours = filterAttrs (name: _: hasPrefix "tik-backup" name);
      services = ours config.systemd.services;
      idAndPath =
        text:
        let
          parts = lib.splitString ":" text;
        in
        nameValuePair (builtins.unsafeDiscardStringContext (lib.head parts)) (
          lib.concatStringsSep ":" (lib.tail parts)
        );
    in
    {
      inherit config services;
      inherit (config.services.tik-backup) settings;
      names = lib.attrNames services;
      timers = mapAttrs (_: timer: timer.timerConfig.OnCalendar or null) (ours config.systemd.timers);
      unit = mapAttrs (_: service: service.serviceConfig) services;
      after = mapAttrs (_: service: service.after) services;
      wants = mapAttrs (_: service: service.wants) services;
      # Of all services: the id of a credential, and the file.
      credentials = listToAttrs (
        map idAndPath (
          concatMap (service: service.serviceConfig.LoadCredential or [ ]) (lib.attrValues services)
        )
      );
      sops = mapAttrs (_: secret: {
        inherit (secret)
          path
          key
          format
          owner
          mode
          ;
        file = lib.last (lib.splitString "-" (baseNameOf (toString secret.sopsFile)));
      }) (config.sops.secrets or { });
      declared = lib.attrNames (config.sops.secrets or { });
      # The options that a mount has in the end: what is declared, or the drop-in that replaces it.
      mount =
        path: unit:
        let
          text = config.systemd.units."${unit}.mount".text or "";
          line = filter (hasPrefix "Options=") (lib.splitString "\n" text);
        in
        if line == [ ] then
          config.fileSystems.${path}.options
        else
          lib.splitString "," (removePrefix "Options=" (lib.head line));
      # Mounts whose options differ from the declared ones.
      dropIns = filter (
        name:
        lib.hasSuffix ".mount" name && lib.hasInfix "[Mount]" (config.systemd.units.${name}.text or "")
      ) (lib.attrNames config.systemd.units);
      tmpfiles = filter (lib.hasInfix "tik-backup") config.systemd.tmpfiles.rules;
      user = config.users.users.tik-backup or null;
      failed = map (one: one.message) (filter (one: !one.assertion) config.assertions);
      # Most cases are not about the location of the repository, and leave it at /mnt/backup.
      unmounted = filter (lib.hasInfix "no mount in") config.warnings;
      warnings = filter (
        text: hasPrefix "services.tik-backup" text && !lib.hasInfix "no mount in" text
      ) config.warnings;
    };

  show = value: if lib.isString value then value else builtins.toJSON value;
  differences =
    at: want: have:
    if lib.isFunction want then
      let
        said = want have;
      in
      lib.optional (said != true) "${at}: ${if said == false then show have else said}"
    else if lib.isAttrs want then
      if lib.isAttrs have then
        concatMap (name: differences "${at}.${name}" want.${name} (have.${name} or null)) (
          lib.attrNames want
        )
      else
        [ "${at}: ${show have}" ]
    else
      lib.optional (want != have) "${at}: ${show have}, not ${show want}";
  # As many messages as texts, each with its text.
  messages =
    what: texts: found:
    if texts == null then
      [ ]
    else if
      lib.length texts == lib.length found && lib.all (text: lib.any (lib.hasInfix text) found) texts
    then
      [ ]
    else
      [ "${what}: ${show found}" ];

  case =
    modules: want:
    let
      host = see (evaluate modules);
      failed = messages "failed" (want.failed or [ ]) host.failed;
    in
    if failed != [ ] then
      failed
    else
      messages "warnings" (want.warnings or [ ]) host.warnings
      ++ differences "" (removeAttrs want [
        "failed"
        "warnings"
      ]) host;

  has = part: whole: if lib.isString whole then lib.hasInfix part whole else lib.elem part whole;
  hasAll = parts: whole: lib.all (part: has part whole) parts;
  lacks = part: whole: !has part whole;
  mountHas =
    path: unit: parts: find:
    hasAll parts (find path unit) || show (find path unit);
  unmounted = {
    settings.repository.mount = null;
  };

  # Parts of hosts.
  backup = settings: { services.tik-backup = settings; };
  azurePostgres = {
    enable = true;
    host = "example.postgres.database.azure.com";
  };
  one = backup { inherit azurePostgres; };
  all = backup {
    inherit azurePostgres;
    azureMysql = {
      enable = true;
      host = "example.mysql.database.azure.com";
    };
    mongodb.enable = true;
    discourse.enable = true;
    azureStorage.enable = true;
  };
  box = backup {
    storageBox = {
      enable = true;
      host = "u123456.your-storagebox.de";
    };
  };
  database = {
    services.postgresql.enable = true;
  };
  silent = backup { alerting.enable = false; };
  cifs = options: {
    fileSystems."/mnt/backup" = {
      device = "//uXXXXXX.your-storagebox.de/backup";
      fsType = "cifs";
      options = if options == [ ] then [ "defaults" ] else options;
    };
  };
  # As the guild's plan has it.
  plan =
    { config, pkgs, ... }:
    {
      fileSystems."/mnt/backup" = {
        device = "//uXXXXXX.your-storagebox.de/backup";
        fsType = "cifs";
        options = [
          "credentials=${config.sops.secrets.storagebox-credentials.path}"
          "uid=root"
          "gid=root"
          "_netdev"
          "x-systemd.automount"
          "x-systemd.idle-timeout=60"
        ];
      };
      environment.systemPackages = [ pkgs.cifs-utils ];
    };
  example = ../../secrets/backup.example.yaml;
  sopsWith = file: {
    imports = [ sops ];
    sops.defaultSopsFile = file;
    sops.age.keyFile = "/var/lib/sops-nix/key.txt";
  };
  withSops = sopsWith example;
  ownSops = {
    imports = [ sops ];
    sops.age.keyFile = "/var/lib/sops-nix/key.txt";
  };
  withAgenix = {
    imports = [ agenix ];
    age.identityPaths = [ "/etc/ssh/ssh_host_ed25519_key" ];
  };
  directory = {
    kind = "directory";
    paths = [ "/srv" ];
    schedule = "01:00";
  };
  takenOver = "gives all of its files to root";
  lockedOut = "could not write there";
  mine = [
    "uid=tik-backup"
    "gid=tik-backup"
    "forceuid"
    "dir_mode=0700"
  ];
in
{
  inherit
    all
    azurePostgres
    backup
    box
    case
    cifs
    database
    directory
    example
    filter
    has
    hasAll
    hasPrefix
    lacks
    lib
    listToAttrs
    lockedOut
    mine
    mkDefault
    mkForce
    mkMerge
    mountHas
    nameValuePair
    one
    ownSops
    plan
    removePrefix
    show
    silent
    sops
    sopsWith
    takenOver
    unmounted
    withAgenix
    withSops
    ;
}
