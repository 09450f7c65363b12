# The systemd units for a configuration. They are the ones that `tik-backup systemd` writes elsewhere, from the same data
# (src/systemd/units.json). Only built-in functions are used, so that it can be evaluated without nixpkgs:
#
#   import ./units.nix { settings = builtins.fromTOML (builtins.readFile ./config.toml); executable = …; configFile = …; }
#
# The result maps the names of units to their sections: { "tik-backup-drill.timer" = { Unit = { … }; Timer = { … }; }; }
{
  settings,
  executable,
  configFile,
}:
let
  inherit (builtins)
    attrNames
    attrValues
    concatLists
    concatStringsSep
    dirOf
    elem
    elemAt
    filter
    foldl'
    fromJSON
    genList
    getAttr
    hasAttr
    head
    isAttrs
    isList
    isString
    length
    listToAttrs
    mapAttrs
    match
    readFile
    removeAttrs
    replaceStrings
    split
    stringLength
    substring
    tail
    toString
    ;

  data = fromJSON (readFile ../../../src/systemd/units.json);
  get =
    set: name: default:
    if hasAttr name set then getAttr name set else default;
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  optional = condition: value: if condition then [ value ] else [ ];

  # `%` begins a specifier of systemd, `$` a variable in a command line.
  percent = replaceStrings [ "%" ] [ "%%" ];
  word =
    text:
    if match ".*[[:space:]\"'\\;].*" text != null then
      "\"" + replaceStrings [ "\\" "\"" ] [ "\\\\" "\\\"" ] text + "\""
    else
      text;
  literal = text: word (replaceStrings [ "$" ] [ "$$" ] (percent text));
  command =
    words:
    concatStringsSep " " (
      [
        (literal (toString executable))
        "--config"
        (literal (toString configFile))
      ]
      ++ map (text: if text == "%i" then text else literal text) words
    );

  mountUnit = import ./mount-unit.nix;

  # Settings with null are removed, later groups win.
  group = names: foldl' merge { } (map (name: get data name { }) names);
  merge =
    old: new:
    let
      all = old // new;
    in
    removeAttrs all (filter (key: getAttr key all == null) (attrNames all));

  # Secret files as credentials.
  secret =
    prefix: table: key:
    optional (hasAttr key table && isString table.${key} && !hasPrefix "credential:" table.${key}) {
      id = "${prefix}.${key}";
      path = table.${key};
    };
  secretsOf =
    prefix: table: keys:
    concatLists (map (secret prefix table) keys);

  repository = settings.repository or { };
  repositorySecrets =
    secretsOf "repository" repository [
      "location_file"
      "password_file"
    ]
    ++ (
      let
        files = repository.options_files or { };
      in
      secretsOf "repository.options_files" files (attrNames files)
    );
  sourceSecrets =
    name: source:
    secretsOf "sources.${name}" source [
      "password_file"
      "uri_file"
      "tenant_id_file"
      "client_id_file"
      "client_secret_file"
    ];
  alerts = settings.alerts or [ ];
  alertSecrets = concatLists (
    genList (
      index:
      secretsOf "alerts.${toString (index + 1)}" (elemAt alerts index) [
        "url_file"
        "topic_file"
        "token_file"
        "password_file"
      ]
    ) (length alerts)
  );

  systemd = settings.systemd or { };
  stateDir = settings.state_dir or "/var/lib/tik-backup";
  below = "/var/lib/";
  state =
    if
      hasPrefix below stateDir
      && stringLength stateDir > stringLength below
      && match ".*[[:space:]].*" stateDir == null
    then
      {
        settings = {
          StateDirectory = percent (substring (stringLength below) (stringLength stateDir) stateDir);
          StateDirectoryMode = "0700";
        };
        paths = [ ];
      }
    else
      {
        # The user's home, where ssh has its keys, known hosts and connections.
        settings = {
          StateDirectory = "tik-backup";
          StateDirectoryMode = "0700";
        };
        paths = [ stateDir ];
      };
  location =
    let
      text = repository.location or "";
    in
    if hasPrefix "local:" text then substring 6 (stringLength text) text else text;
  storage =
    if repository ? mount then [ repository.mount ] else optional (hasPrefix "/" location) location;

  # Paths that a service needs and the confinement would hide.
  within =
    folder: path: path == folder || hasPrefix (if folder == "/" then "/" else "${folder}/") path;
  any = test: list: filter test list != [ ];
  homes = [
    "/home"
    "/root"
    "/run/user"
  ];
  temporary = [
    "/tmp"
    "/var/tmp"
  ];
  # The paths that a pattern matches are in the directory before its first component with a wildcard.
  beforePatterns =
    path:
    let
      parts = filter isString (split "/" path);
      plain =
        parts':
        if parts' == [ ] || match ".*[[*?{].*" (head parts') != null then
          [ ]
        else
          [ (head parts') ] ++ plain (tail parts');
      kept = plain parts;
    in
    if length kept == length parts then
      path
    else if length kept < 2 then
      "/"
    else
      concatStringsSep "/" kept;
  inHomes = paths: any (path: any (home: within home path) homes) paths;
  inTemporary = paths: any (path: any (folder: within folder path) temporary) paths;
  aboveTemporary = paths: any (path: any (folder: within path folder) temporary) paths;

  user = systemd.user or "tik-backup";
  service =
    {
      name,
      description,
      groups,
      words,
      secrets ? [ ],
      writable ? [ ],
      needed ? [ ],
      data ? [ ],
      extra ? { },
    }:
    let
      # The configuration too: services then run and send alerts even if only root can read it.
      configuration = {
        id = "configuration";
        path = toString configFile;
      };
      all = [ configuration ] ++ repositorySecrets ++ secrets ++ alertSecrets;
      # A service that reports a missing storage must not need the storage to start.
      tells = name == "alert@";
      mounts = optional (repository ? mount && !tells) (mountUnit repository.mount);
      stored = if tells || name == "serve" then [ ] else storage;
      seen = needed ++ data ++ [ stateDir ] ++ stored;
      openTemporary = inTemporary seen || aboveTemporary data;
      paths =
        writable
        ++ optional (name == "drill" && openTemporary') "/var/tmp"
        ++ (if tells then [ stateDir ] else state.paths)
        ++ stored
        ++ optional (name == "init" && !(repository ? mount) && stored != [ ]) (dirOf (head stored));
      # For services started before the state directory and the storage are known.
      openTemporary' = inTemporary needed;
    in
    {
      "tik-backup-${name}.service" = {
        Unit = {
          Description = description;
          Documentation = "man:tik-backup(1)";
          Wants = [ "network-online.target" ] ++ mounts;
          After = [ "network-online.target" ] ++ mounts;
        }
        // (if tells then { } else { OnFailure = "tik-backup-alert@%n.service"; });
        Service =
          removeAttrs (group ([ "service" ] ++ groups)) (optional openTemporary "PrivateTmp")
          // (if inHomes seen then { ProtectHome = "read-only"; } else { })
          // {
            ExecStart = command words;
            User = user;
            Group = systemd.group or user;
            MemoryMax = systemd.memory_max or "50%";
            LoadCredential = map (file: "${file.id}:${percent file.path}") all;
            SetCredential = map (file: "${file.id}:\\n") all;
          }
          // (
            if systemd ? environment_file then
              { EnvironmentFile = (if tells then "-" else "") + percent systemd.environment_file; }
            else
              { }
          )
          // (if tells then { } else state.settings)
          // extra
          // (if paths == [ ] then { } else { ReadWritePaths = map (path: word "-${percent path}") paths; });
      };
    };

  timer = name: description: calendar: {
    "tik-backup-${name}.timer" = {
      Unit = {
        Description = description;
        PartOf = "tik-backup.target";
      };
      Timer = {
        OnCalendar = calendar;
        Persistent = "true";
        RandomizedDelaySec = delay;
        FixedRandomDelay = "true";
      };
    };
  };

  # Durations in the configuration are sums of numbers with units, which systemd reads unchanged.
  delay = systemd.randomized_delay or "600s";

  sources = settings.sources or { };
  source =
    name: source:
    let
      isDirectory = source.kind or "" == "directory";
      # Without a host it is a socket at the default path.
      path = key: optional (hasPrefix "/" (source.${key} or "")) source.${key};
    in
    service {
      name = "source-${name}";
      description = "Backup of ${name}";
      groups = [ (if isDirectory then "directory" else "backup") ];
      words = [
        "backup"
        name
      ];
      secrets = sourceSecrets name source;
      data = if isDirectory then map beforePatterns (source.paths or [ ]) else [ ];
      needed =
        path "host" ++ path "sslrootcert" ++ path "sslcert" ++ path "sslkey" ++ source.client_dirs or [ ];
    }
    // (
      if source ? schedule then timer "source-${name}" "Timer of the backup of ${name}" source.schedule else { }
    );

  drill = settings.drill or { };
  subset = systemd.check_subset or "5%";
  jobs = [
    {
      name = "drill";
      description = "Drill: restores backups and compares their content";
      schedule = "Sat 06:00";
      words = [ "drill" ];
      writable = optional (drill ? dir) drill.dir;
      needed =
        optional (drill ? dir) drill.dir
        ++ drill.server_dirs or [ ]
        ++ optional (drill ? mongod) drill.mongod
        ++ drill.server_files or [ ];
    }
    {
      name = "check";
      description = "Check of the backup repository";
      schedule = "Sun 10:00";
      words = [
        "check"
      ]
      ++ (
        if subset == "none" then
          [ ]
        else
          [
            "--read-data-subset"
            subset
          ]
      );
    }
    {
      name = "prune";
      description = "Removal of unused data from the backup repository";
      schedule = "Sun 14:00";
      words = [ "prune" ];
    }
    {
      name = "watch";
      description = "Check for late or unproven backups";
      schedule = "hourly";
      words = [ "watch" ];
    }
  ];
  job =
    {
      name,
      description,
      schedule,
      words,
      writable ? [ ],
      needed ? [ ],
    }:
    let
      calendar = get systemd name schedule;
    in
    service {
      inherit
        name
        description
        words
        writable
        needed
        ;
      groups = [ name ];
    }
    // (if calendar == "never" then { } else timer name description calendar);

  # The dashboard.
  dashboard = settings.dashboard or { };
  socket = match "unix:(.*)/[^/]*" (dashboard.listen or "");
  socketInRun = if socket == null then null else match "/run/([^[:space:]]+)" (head socket);
  page = service {
    name = "serve";
    description = "Dashboard with the state of the backups";
    groups = [ "serve" ];
    words = [ "serve" ];
    secrets = secretsOf "dashboard" dashboard [ "token_file" ];
    writable = optional (socket != null && socketInRun == null) (head socket);
    extra = if socketInRun == null then { } else { RuntimeDirectory = percent (head socketInRun); };
  };

  services = foldl' (all: one: all // one) { } (
    attrValues (mapAttrs source sources)
    ++ map job jobs
    ++ optional (settings ? dashboard) page
    ++ [
      (service {
        name = "init";
        description = "Creation of the backup repository";
        groups = [ "init" ];
        words = [ "init" ];
      })
      (service {
        name = "alert@";
        description = "Alert that %i failed";
        groups = [ "alert" ];
        words = [
          "alert"
          "unit-failed"
          "%i"
        ];
      })
    ]
  );
  timers = filter (name: match ".*\\.timer" name != null || name == "tik-backup-serve.service") (
    attrNames services
  );
in
services
// {
  "tik-backup.target" = {
    Unit = {
      Description = "All timers of tik-backup";
    }
    // (if timers == [ ] then { } else { Wants = timers; });
    Install.WantedBy = "timers.target";
  };
}
