# What administrators write, and what must come of it.
#
# `right` maps the name of each case to what differs from what is expected: the empty list is right. `wrong` holds what
# must not evaluate, with the text that the error must have.
{
  lib,
  evaluate,
  # Stand-ins, or the modules themselves.
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

  # What of a host is looked at. Only what a case asks for is evaluated.
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
      dropIns = filter (lib.hasSuffix ".mount") (lib.attrNames config.systemd.units);
      tmpfiles = filter (lib.hasInfix "tik-backup") config.systemd.tmpfiles.rules;
      user = config.users.users.tik-backup or null;
      failed = map (one: one.message) (filter (one: !one.assertion) config.assertions);
      # Most cases are not about the place of the repository, and leave it at /mnt/backup.
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
  example = ../secrets/backup.example.yaml;
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
  right = {
    # The guild's plan.
    nothing = case [ ] { failed = [ "nothing would be backed up" ]; };
    planPath =
      case
        [
          (backup {
            inherit azurePostgres;
            backupPath = "/mnt/backup/restic-repo";
          })
        ]
        {
          settings.repository.location = "/mnt/backup/restic-repo";
          timers.tik-backup-source-azure-postgres = "02:00";
        };
    planMount = case [ withSops one plan ] {
      warnings = [ takenOver ];
      mount = mountHas "/mnt/backup" "mnt-backup" (
        mine
        ++ [
          "credentials=/run/secrets/storagebox-credentials"
          "_netdev"
          "x-systemd.automount"
        ]
      );
      settings.repository.mount = "/mnt/backup";
      after.tik-backup-source-azure-postgres = has "mnt-backup.mount";
      wants.tik-backup-source-azure-postgres = has "mnt-backup.mount";
      after."tik-backup-alert@" = lacks "mnt-backup.mount";
      declared = has "storagebox-credentials";
      tmpfiles = [ ];
    };
    planMountAsRoot =
      case
        [
          withSops
          one
          plan
          (backup {
            user = "root";
            group = "root";
          })
        ]
        {
          dropIns = lacks "mnt-backup.mount";
          unit.tik-backup-source-azure-postgres.User = "root";
          settings.repository.mount = "/mnt/backup";
        };
    planMountInitialize =
      case
        [
          one
          (cifs [ ])
          (backup { initialize = true; })
        ]
        {
          warnings = [ takenOver ];
          after.tik-backup-source-azure-postgres = has "tik-backup-init.service";
        };
    planKeys = case [ (sopsWith ./secrets/plan.yaml) all database plan ] {
      warnings = [ takenOver ];
      declared = [
        "backup-alerting-webhook-url"
        "backup-azure-client-id"
        "backup-azure-client-secret"
        "backup-azure-mysql-password"
        "backup-azure-postgres-password"
        "backup-azure-tenant-id"
        "backup-mongodb-connection-string"
        "backup-restic-password"
        "storagebox-credentials"
      ];
      sops.backup-restic-password.key = "restic-password";
      sops.backup-restic-password.path = "/run/secrets/backup-restic-password";
      sops.backup-azure-postgres-password.key = "azure-postgres-admin-password";
      sops.storagebox-credentials.key = "storagebox-credentials";
      credentials."sources.azure-postgres.password_file" = "/run/secrets/backup-azure-postgres-password";
    };
    planKeysBySetting =
      case
        [
          ownSops
          one
          box
          (backup { secrets.sopsFile = ./secrets/plan.yaml; })
        ]
        {
          sops.backup-restic-password = {
            key = "restic-password";
            file = "plan.yaml";
            format = "yaml";
          };
          sops.backup-alerting-webhook-url.key = "alerting-webhook-url";
        };
    planDeclarations =
      case
        [
          ownSops
          one
          plan
          {
            sops.secrets =
              lib.genAttrs
                [
                  "backup-restic-password"
                  "backup-alerting-webhook-url"
                  "storagebox-credentials"
                ]
                (name: {
                  sopsFile = ./secrets/plan.yaml;
                  key = removePrefix "backup-" name;
                })
              // {
                backup-azure-postgres-password = {
                  sopsFile = ./secrets/plan.yaml;
                  key = "azure-postgres-admin-password";
                };
              };
          }
        ]
        {
          warnings = [ takenOver ];
          sops.backup-azure-postgres-password.key = "azure-postgres-admin-password";
          credentials."sources.azure-postgres.password_file" = "/run/secrets/backup-azure-postgres-password";
        };

    # sops-nix.
    sopsEverything = case [ withSops all box database ] {
      declared = names: lib.length names == 9;
      sops.backup-restic-password = {
        path = "/run/secrets/backup-restic-password";
        file = "backup.example.yaml";
      };
    };
    sopsOnlyUsed = case [ withSops one silent ] {
      declared = [
        "backup-azure-postgres-password"
        "backup-restic-password"
      ];
    };
    sopsBothKeys = case [ (sopsWith ./secrets/mixed.yaml) one box silent ] {
      sops.backup-restic-password.key = "backup-restic-password";
      sops.backup-azure-postgres-password.key = "azure-postgres-password";
      sops.storagebox-credentials.key = "storagebox-credentials";
    };
    sopsKeyMissing = case [ (sopsWith ./secrets/mixed.yaml) one ] {
      failed = [ "as backup-alerting-webhook-url or alerting-webhook-url, declare it" ];
    };
    sopsNestedKey =
      case
        [
          (sopsWith ./secrets/mixed.yaml)
          one
          { sops.secrets.backup-alerting-webhook-url.key = "nested/alerting-webhook-url"; }
        ]
        {
          sops.backup-alerting-webhook-url.key = "nested/alerting-webhook-url";
          credentials."alerts.1.url_file" = "/run/secrets/backup-alerting-webhook-url";
        };
    sopsKey =
      case
        [
          withSops
          one
          { sops.secrets.backup-restic-password.key = "restic-password"; }
        ]
        {
          sops.backup-restic-password.key = "restic-password";
        };
    sopsMode =
      case
        [
          withSops
          one
          {
            sops.secrets.backup-restic-password = {
              owner = "root";
              mode = "0440";
              restartUnits = [ "x.service" ];
            };
          }
        ]
        {
          sops.backup-restic-password = {
            owner = "root";
            mode = "0440";
            key = "backup-restic-password";
          };
        };
    # The key that was found in one file says nothing about another.
    sopsOtherFile =
      case
        [
          (sopsWith ./secrets/plan.yaml)
          one
          silent
          { sops.secrets.backup-restic-password.sopsFile = ./secrets/other.yaml; }
        ]
        {
          sops.backup-restic-password = {
            file = "other.yaml";
            key = "backup-restic-password";
          };
          sops.backup-azure-postgres-password.key = "azure-postgres-admin-password";
        };
    sopsOtherPath =
      case
        [
          withSops
          one
          { sops.secrets.backup-restic-password.path = "/etc/restic/password"; }
        ]
        {
          credentials."repository.password_file" = "/etc/restic/password";
        };
    sopsOtherName =
      case
        [
          withSops
          one
          { sops.secrets.backup-restic-password.name = "renamed"; }
        ]
        {
          credentials."repository.password_file" = "/run/secrets/renamed";
        };
    sopsForUsers =
      case
        [
          withSops
          one
          { sops.secrets.backup-restic-password.neededForUsers = true; }
        ]
        {
          credentials."repository.password_file" = "/run/secrets-for-users/backup-restic-password";
        };
    sopsDefaultKey =
      case
        [
          withSops
          one
          { sops.defaultSopsKey = "whole"; }
        ]
        {
          sops.backup-restic-password.key = "backup-restic-password";
        };
    sopsJson = case [ (sopsWith ./secrets/backup.json) one ] {
      sops.backup-restic-password = {
        key = "restic-password";
        format = "json";
      };
      sops.backup-azure-postgres-password.key = "backup-azure-postgres-password";
    };
    sopsJsonByDefaultYamlHere =
      case
        [
          (sopsWith ./secrets/backup.json)
          { sops.defaultSopsFormat = "json"; }
          one
          (backup { secrets.sopsFile = example; })
        ]
        {
          sops.backup-restic-password = {
            format = "yaml";
            file = "backup.example.yaml";
          };
        };
    sopsOnHost =
      case
        [
          (sopsWith "/etc/nixos/secrets/backup.yaml")
          { sops.validateSopsFiles = false; }
          one
        ]
        {
          declared = [
            "backup-alerting-webhook-url"
            "backup-azure-postgres-password"
            "backup-restic-password"
          ];
        };
    # sops-nix is there for others, the backup's secrets lie elsewhere.
    sopsWithoutFile =
      case
        [
          ownSops
          one
          (backup {
            secrets = {
              resticPassword = "/root/restic";
              azurePostgresPassword = "/root/postgres";
              alertingWebhookUrl = "/root/webhook";
            };
          })
        ]
        {
          declared = [ ];
          credentials."repository.password_file" = "/root/restic";
        };
    sopsWithoutFileNorPaths = case [ ownSops one silent ] {
      failed = [
        "nothing provides /run/secrets/backup-restic-password"
        "nothing provides /run/secrets/backup-azure-postgres-password"
      ];
    };
    sopsGivenWhereItWouldBe =
      case
        [
          ownSops
          one
          silent
          (backup { secrets.resticPassword = "/run/secrets/backup-restic-password"; })
        ]
        {
          failed = [ "nothing provides /run/secrets/backup-azure-postgres-password" ];
        };
    sopsPath =
      case
        [
          withSops
          one
          ({ config, ... }: {
            sops.secrets.my-password.key = "backup-azure-postgres-password";
            services.tik-backup.secrets.azurePostgresPassword = config.sops.secrets.my-password.path;
          })
        ]
        {
          declared = has "my-password";
          credentials."sources.azure-postgres.password_file" = "/run/secrets/my-password";
        };
    sopsPathOfEverySecret =
      case
        [
          withSops
          all
          database
          (
            { config, options, ... }:
            let
              names = filter (
                name:
                lib.elem name [
                  "resticPassword"
                  "azureClientId"
                  "azureClientSecret"
                  "azureTenantId"
                  "azurePostgresPassword"
                  "azureMysqlPassword"
                  "mongodbConnectionString"
                  "alertingWebhookUrl"
                  "storageboxCredentials"
                ]
              ) (lib.attrNames options.services.tik-backup.secrets);
            in
            {
              sops.secrets = listToAttrs (map (name: nameValuePair "my-${name}" { key = "x"; }) names);
              services.tik-backup.secrets = lib.genAttrs names (name: config.sops.secrets."my-${name}".path);
            }
          )
        ]
        {
          credentials."repository.password_file" = "/run/secrets/my-resticPassword";
          credentials."sources.mongodb.uri_file" = "/run/secrets/my-mongodbConnectionString";
          credentials."alerts.1.url_file" = "/run/secrets/my-alertingWebhookUrl";
        };
    sopsPathsElsewhere =
      case
        [
          withSops
          one
          (
            { config, ... }:
            let
              path = name: config.sops.secrets.${name}.path;
            in
            {
              sops.secrets = lib.genAttrs [ "token" "heartbeat" "shop" "s3" "where" ] (_: { });
              services.tik-backup = {
                dashboard = {
                  enable = true;
                  tokenFile = path "token";
                };
                alerting.channels = [
                  {
                    kind = "heartbeat";
                    url_file = path "heartbeat";
                  }
                ];
                settings.sources.shop = {
                  kind = "mysql";
                  host = "db";
                  user = "backup";
                  password_file = path "shop";
                  schedule = "01:00";
                };
                settings.repository = {
                  location_file = path "where";
                  options_files.secret_access_key = path "s3";
                };
              };
            }
          )
        ]
        {
          credentials = {
            "dashboard.token_file" = "/run/secrets/token";
            "alerts.2.url_file" = "/run/secrets/heartbeat";
            "sources.shop.password_file" = "/run/secrets/shop";
            "repository.location_file" = "/run/secrets/where";
            "repository.options_files.secret_access_key" = "/run/secrets/s3";
          };
          settings.repository.location = null;
          settings.repository.mount = null;
        };
    sopsTemplate =
      case
        [
          withSops
          one
          ({ config, ... }: {
            sops.secrets.proxy-password = { };
            sops.templates.environment.content = "HTTPS_PROXY=http://u:${config.sops.placeholder.proxy-password}@proxy";
            services.tik-backup.environmentFile = config.sops.templates.environment.path;
            sops.templates.postgres.content = config.sops.placeholder.backup-azure-postgres-password;
            services.tik-backup.secrets.azurePostgresPassword = config.sops.templates.postgres.path;
          })
        ]
        {
          unit.tik-backup-source-azure-postgres.EnvironmentFile = "/run/secrets/rendered/environment";
          unit."tik-backup-alert@".EnvironmentFile = "-/run/secrets/rendered/environment";
          credentials."sources.azure-postgres.password_file" = "/run/secrets/rendered/postgres";
        };
    sopsTemplateInPlace =
      case
        [
          (sopsWith ./secrets/other.yaml)
          one
          silent
          { sops.templates.pw.path = "/run/secrets/backup-azure-postgres-password"; }
        ]
        {
          credentials."sources.azure-postgres.password_file" = "/run/secrets/backup-azure-postgres-password";
        };
    sopsPlaceholderOfOurs =
      case
        [
          withSops
          box
          one
          ({ config, ... }: {
            sops.templates.credentials.content = "password=${config.sops.placeholder.backup-restic-password}";
            services.tik-backup.secrets.storageboxCredentials = config.sops.templates.credentials.path;
          })
        ]
        {
          mount = mountHas "/mnt/backup" "mnt-backup" [ "credentials=/run/secrets/rendered/credentials" ];
        };
    sopsDeclareNothing =
      case
        [
          withSops
          one
          (backup { secrets.declare = [ ]; })
          {
            sops.secrets = lib.genAttrs [
              "backup-restic-password"
              "backup-azure-postgres-password"
              "backup-alerting-webhook-url"
            ] (_: { });
          }
        ]
        {
          declared = names: lib.length names == 3;
          credentials."repository.password_file" = "/run/secrets/backup-restic-password";
        };
    sopsDeclareSome = case [
      (sopsWith "/etc/secrets.env")
      one
      silent
      (backup {
        secrets.declare = [ "azurePostgresPassword" ];
        secrets.resticPassword = "/root/restic";
      })
      { sops.validateSopsFiles = false; }
    ] { declared = [ "backup-azure-postgres-password" ]; };
    sopsSshfs =
      case
        [
          withSops
          one
          ({ config, ... }: {
            sops.secrets.box-key = { };
            services.tik-backup.uid = 871;
            services.tik-backup.storageBox = {
              enable = true;
              protocol = "sshfs";
              host = "u1.your-storagebox.de";
              identityFile = config.sops.secrets.box-key.path;
            };
          })
        ]
        {
          mount = mountHas "/mnt/backup" "mnt-backup" [
            "IdentityFile=/run/secrets/box-key"
            "uid=871"
          ];
          declared = lacks "storagebox-credentials";
        };
    sopsDisabled =
      case
        [
          ownSops
          one
          box
          plan
          {
            services.tik-backup.enable = mkForce false;
            sops.secrets.storagebox-credentials.sopsFile = example;
          }
        ]
        {
          declared = [ "storagebox-credentials" ];
          names = [ ];
          user = null;
        };

    # agenix.
    agenix = case [
      withAgenix
      one
      {
        age.secrets =
          lib.genAttrs
            [
              "backup-restic-password"
              "backup-azure-postgres-password"
              "backup-alerting-webhook-url"
            ]
            (_: {
              file = example;
            });
      }
    ] { credentials."repository.password_file" = "/run/agenix/backup-restic-password"; };
    agenixPath = case [
      withAgenix
      one
      ({ config, ... }: {
        age.secrets.restic.file = example;
        age.secrets.pg.file = example;
        age.secrets.hook.file = example;
        services.tik-backup.secrets = {
          resticPassword = config.age.secrets.restic.path;
          azurePostgresPassword = config.age.secrets.pg.path;
          alertingWebhookUrl = config.age.secrets.hook.path;
        };
      })
    ] { credentials."repository.password_file" = "/run/agenix/restic"; };
    agenixMissing = case [
      withAgenix
      one
      {
        age.secrets =
          lib.genAttrs
            [
              "backup-restic-password"
              "backup-azure-postgres-password"
            ]
            (_: {
              file = example;
            });
      }
    ] { warnings = [ "age.secrets.backup-alerting-webhook-url is not declared" ]; };
    agenixAndSops =
      case
        [
          withAgenix
          ownSops
          one
          silent
          {
            age.secrets.backup-restic-password.file = example;
            age.secrets.backup-azure-postgres-password.file = example;
          }
        ]
        {
          declared = [ ];
          credentials."repository.password_file" = "/run/agenix/backup-restic-password";
        };
    agenixMount =
      case
        [
          withAgenix
          one
          silent
          ({ config, ... }: {
            age.secrets =
              lib.genAttrs
                [
                  "box"
                  "backup-restic-password"
                  "backup-azure-postgres-password"
                ]
                (_: {
                  file = example;
                });
            fileSystems."/mnt/backup" = {
              device = "//h/backup";
              fsType = "cifs";
              options = [
                "credentials=${config.age.secrets.box.path}"
                "uid=tik-backup"
              ];
            };
          })
        ]
        {
          mount = mountHas "/mnt/backup" "mnt-backup" [ "credentials=/run/agenix/box" ];
          settings.repository.mount = "/mnt/backup";
        };

    # The storage.
    box = case [ one box ] {
      settings.repository.mount = "/mnt/backup";
      mount = mountHas "/mnt/backup" "mnt-backup" (
        mine ++ [ "credentials=/run/secrets/storagebox-credentials" ]
      );
      dropIns = lacks "mnt-backup.mount";
    };
    boxAndOwnOptions =
      case
        [
          one
          box
          { fileSystems."/mnt/backup".options = [ "uid=root" ]; }
        ]
        {
          mount = mountHas "/mnt/backup" "mnt-backup" mine;
          warnings = [ ];
        };
    boxElsewhere = case [
      one
      box
      (backup { backupPath = "/srv/repo"; })
    ] { failed = [ "/srv/repo is not below" ]; };
    boxOtherPlace =
      case
        [
          one
          box
          (backup {
            storageBox.mountPoint = "/backup/box";
            backupPath = "/backup/box/restic";
          })
        ]
        {
          settings.repository.mount = "/backup/box";
          after.tik-backup-check = has "backup-box.mount";
        };
    boxWithSlash =
      case
        [
          one
          box
          (backup { storageBox.mountPoint = "/mnt/backup/"; })
        ]
        {
          after.tik-backup-check = has "mnt-backup.mount";
        };
    boxIsRepository =
      case
        [
          one
          box
          (backup { backupPath = "/mnt/backup"; })
        ]
        {
          settings.repository.location = "/mnt/backup";
          settings.repository.mount = "/mnt/backup";
        };
    boxLocal =
      case
        [
          one
          box
          (backup { backupPath = "local:/mnt/backup/repo"; })
        ]
        {
          settings.repository.mount = "/mnt/backup";
        };
    boxLocationFile =
      case
        [
          one
          box
          (backup { settings.repository.location_file = "/run/where"; })
        ]
        {
          settings.repository.location = null;
          settings.repository.mount = "/mnt/backup";
        };
    boxAndOtherMount =
      case
        [
          one
          box
          {
            fileSystems."/mnt" = {
              device = "/dev/vdb";
              fsType = "ext4";
            };
          }
        ]
        {
          settings.repository.mount = "/mnt/backup";
          tmpfiles = [ ];
        };
    sshfsWithoutKey = case [
      one
      box
      (backup { storageBox.protocol = "sshfs"; })
    ] { failed = [ "SSHFS needs" ]; };
    mountByUser =
      case
        [
          one
          (cifs [
            "credentials=/x"
            "uid=tik-backup"
            "gid=tik-backup"
          ])
        ]
        {
          dropIns = lacks "mnt-backup.mount";
          settings.repository.mount = "/mnt/backup";
        };
    mountByNumber = case [
      one
      (cifs [ "uid=871" ])
      (backup { uid = 871; })
    ] { dropIns = lacks "mnt-backup.mount"; };
    mountByNumberOfUser =
      case
        [
          one
          (cifs [ "uid=871" ])
          { users.users.tik-backup.uid = 871; }
        ]
        {
          dropIns = lacks "mnt-backup.mount";
        };
    mountByOther = case [
      one
      (cifs [ "uid=1000" ])
    ] { failed = [ lockedOut ]; };
    mountByOtherNumber = case [
      one
      (cifs [ "uid=872" ])
      (backup { uid = 871; })
    ] { failed = [ lockedOut ]; };
    # Which number an account without one will get is not known here.
    mountByNumberUnknown = case [
      one
      (cifs [ "uid=1000" ])
      (backup {
        user = "alice";
        group = "users";
      })
      { users.users.alice.isNormalUser = true; }
    ] { dropIns = lacks "mnt-backup.mount"; };
    mountByNobody =
      case
        [
          one
          (cifs [ ])
        ]
        {
          warnings = [ takenOver ];
          mount = mountHas "/mnt/backup" "mnt-backup" mine;
        };
    mountByZero =
      case
        [
          one
          (cifs [ "uid=0,gid=0,credentials=/x" ])
        ]
        {
          warnings = [ takenOver ];
          mount = mountHas "/mnt/backup" "mnt-backup" (mine ++ [ "credentials=/x" ]);
        };
    mountNoPermissions = case [
      one
      (cifs [ "uid=root,noperm" ])
    ] { dropIns = lacks "mnt-backup.mount"; };
    mountForAll =
      case
        [
          one
          (cifs [
            "uid=root"
            "file_mode=0666"
            "dir_mode=0777"
          ])
        ]
        {
          dropIns = lacks "mnt-backup.mount";
        };
    mountForGroup =
      case
        [
          one
          (cifs [
            "uid=root"
            "gid=tik-backup"
            "file_mode=0660"
            "dir_mode=0770"
          ])
        ]
        {
          dropIns = lacks "mnt-backup.mount";
        };
    mountForOtherGroup = case [
      one
      (cifs [
        "uid=root"
        "gid=storage"
        "file_mode=0660"
        "dir_mode=0770"
      ])
      {
        users.groups.storage = { };
        users.users.tik-backup.extraGroups = [ "storage" ];
      }
    ] { dropIns = lacks "mnt-backup.mount"; };
    mountForMembers = case [
      one
      (cifs [
        "uid=root"
        "gid=990"
        "file_mode=0660"
        "dir_mode=0770"
      ])
      {
        users.groups.storage = {
          gid = 990;
          members = [ "tik-backup" ];
        };
      }
    ] { dropIns = lacks "mnt-backup.mount"; };
    mountGroupMayRead = case [
      one
      (cifs [
        "uid=root"
        "gid=tik-backup"
      ])
    ] { warnings = [ takenOver ]; };
    mountSmb3 =
      case
        [
          one
          {
            fileSystems."/mnt/backup" = {
              device = "//h/b";
              fsType = "smb3";
              options = [ "uid=root" ];
            };
          }
        ]
        {
          warnings = [ takenOver ];
        };
    mountSshfs =
      case
        [
          one
          {
            fileSystems."/mnt/backup" = {
              device = "u1@u1.your-storagebox.de:";
              fsType = "fuse.sshfs";
              options = [
                "allow_other"
                "IdentityFile=/root/.ssh/box"
                "_netdev"
              ];
            };
          }
        ]
        {
          settings.repository.mount = "/mnt/backup";
          dropIns = lacks "mnt-backup.mount";
        };
    mountSshfsForRoot =
      case
        [
          one
          {
            fileSystems."/mnt/backup" = {
              device = "u1@h:";
              fsType = "sshfs";
              options = [ "_netdev" ];
            };
          }
        ]
        {
          failed = [ "allow_other" ];
        };
    mountSshfsByOther =
      case
        [
          one
          {
            fileSystems."/mnt/backup" = {
              device = "u1@h:";
              fsType = "sshfs";
              options = [
                "allow_other"
                "default_permissions"
                "uid=1000"
              ];
            };
          }
        ]
        {
          failed = [ lockedOut ];
        };
    mountNfs =
      case
        [
          one
          {
            fileSystems."/mnt/backup" = {
              device = "nas:/backup";
              fsType = "nfs";
              options = [
                "nfsvers=4.2"
                "x-systemd.automount"
                "noauto"
              ];
            };
          }
        ]
        {
          settings.repository.mount = "/mnt/backup";
          tmpfiles = [ ];
        };
    mountDisk =
      case
        [
          one
          {
            fileSystems."/mnt/backup" = {
              device = "/dev/disk/by-label/backup";
              fsType = "ext4";
              options = [ "nofail" ];
            };
          }
        ]
        {
          settings.repository.mount = "/mnt/backup";
          after.tik-backup-init = has "mnt-backup.mount";
          unit.tik-backup-init.ExecStartPre = hasPrefix "+-";
        };
    mountUsb =
      case
        [
          one
          {
            fileSystems."/mnt/backup" = {
              device = "/dev/disk/by-label/usb";
              fsType = "exfat";
              options = [ "nofail" ];
            };
          }
        ]
        {
          failed = [ lockedOut ];
        };
    mountUsbByUser =
      case
        [
          one
          {
            fileSystems."/mnt/backup" = {
              device = "/dev/disk/by-label/usb";
              fsType = "exfat";
              options = [
                "nofail"
                "uid=tik-backup"
              ];
            };
          }
        ]
        {
          settings.repository.mount = "/mnt/backup";
        };
    mountBtrfs =
      case
        [
          one
          {
            fileSystems."/mnt/backup" = {
              device = "/dev/vdb";
              fsType = "btrfs";
              options = [
                "subvol=backup"
                "compress=zstd"
              ];
            };
          }
        ]
        {
          settings.repository.mount = "/mnt/backup";
        };
    mountBind =
      case
        [
          one
          {
            fileSystems."/mnt/backup" = {
              device = "/persist/backup";
              fsType = "none";
              options = [ "bind" ];
            };
          }
        ]
        {
          settings.repository.mount = "/mnt/backup";
        };
    mountInner =
      case
        [
          one
          (cifs [ "uid=tik-backup" ])
          {
            fileSystems."/mnt" = {
              device = "/dev/vdb";
              fsType = "ext4";
            };
          }
        ]
        {
          settings.repository.mount = "/mnt/backup";
        };
    mountOuter =
      case
        [
          one
          {
            fileSystems."/mnt" = {
              device = "/dev/vdb";
              fsType = "ext4";
            };
          }
        ]
        {
          settings.repository.mount = "/mnt";
          after.tik-backup-check = has "mnt.mount";
        };
    mountDeeper =
      case
        [
          one
          (cifs [ "uid=tik-backup" ])
          (backup { backupPath = "/mnt/backup/a/b/c"; })
        ]
        {
          settings.repository.mount = "/mnt/backup";
        };
    mountBeside = case [
      one
      (cifs [ "uid=root" ])
      (backup { backupPath = "/mnt/backup2/repo"; })
    ] unmounted;
    mountLocal =
      case
        [
          one
          (cifs [ "uid=tik-backup" ])
          (backup { backupPath = "local:/mnt/backup/r"; })
        ]
        {
          settings.repository.mount = "/mnt/backup";
        };
    mountBySettings =
      case
        [
          one
          (cifs [ "uid=tik-backup" ])
          (backup { settings.repository.location = "/mnt/backup/other"; })
        ]
        {
          settings.repository = {
            location = "/mnt/backup/other";
            mount = "/mnt/backup";
          };
        };
    mountWithSlashes =
      case
        [
          one
          (cifs [ ])
          (backup { backupPath = "/mnt/backup/"; })
        ]
        {
          warnings = [ takenOver ];
          settings.repository.mount = "/mnt/backup";
        };
    mountGivenWithSlash =
      case
        [
          one
          (cifs [ ])
          (backup { settings.repository.mount = "/mnt/backup/"; })
        ]
        {
          warnings = [ takenOver ];
          dropIns = has "mnt-backup.mount";
        };
    # The attribute's name is no more than the default of the mount point.
    mountByName =
      case
        [
          one
          {
            fileSystems.box = {
              mountPoint = "/mnt/backup";
              device = "//h/b";
              fsType = "cifs";
            };
          }
        ]
        {
          warnings = [ takenOver ];
          settings.repository.mount = "/mnt/backup";
          dropIns = has "mnt-backup.mount";
        };
    mountUnit =
      case
        [
          one
          {
            systemd.mounts = [
              {
                what = "//h/b";
                where = "/mnt/backup";
                type = "cifs";
                options = "uid=tik-backup,credentials=/x";
                wantedBy = [ "multi-user.target" ];
              }
            ];
            systemd.automounts = [
              {
                where = "/mnt/backup";
                wantedBy = [ "multi-user.target" ];
              }
            ];
          }
        ]
        {
          settings.repository.mount = "/mnt/backup";
          after.tik-backup-check = has "mnt-backup.mount";
          tmpfiles = [ ];
        };
    mountSpace =
      case
        [
          one
          (backup { backupPath = "/mnt/my box/repo"; })
          {
            fileSystems."/mnt/my box" = {
              device = "//h/b";
              fsType = "cifs";
            };
          }
        ]
        {
          warnings = [ takenOver ];
          settings.repository.mount = "/mnt/my box";
          after.tik-backup-check = has "mnt-my\\x20box.mount";
          dropIns = has "mnt-my\\x20box.mount";
        };
    mountUmlaut =
      case
        [
          one
          (backup { backupPath = "/mnt/säilö/repo"; })
          {
            fileSystems."/mnt/säilö" = {
              device = "//h/b";
              fsType = "cifs";
              options = [ "uid=tik-backup" ];
            };
          }
        ]
        {
          settings.repository.mount = "/mnt/säilö";
          after.tik-backup-check = has "mnt-s\\xc3\\xa4il\\xc3\\xb6.mount";
        };
    mountPercent =
      case
        [
          one
          (cifs [ "credentials=/etc/100%" ])
        ]
        {
          warnings = [ takenOver ];
          mount = mountHas "/mnt/backup" "mnt-backup" [ "credentials=/etc/100%%" ];
        };
    mountVar =
      case
        [
          one
          (backup { backupPath = "/var/backup/repo"; })
          {
            fileSystems."/var" = {
              device = "/dev/vdb";
              fsType = "ext4";
            };
          }
        ]
        {
          settings.repository.mount = "/var";
          unit.tik-backup-init.ExecStartPre = hasPrefix "+-";
          tmpfiles = [ ];
        };
    mountImpermanence = case [
      one
      (backup { backupPath = "/var/lib/restic"; })
      {
        fileSystems."/" = mkForce {
          device = "none";
          fsType = "tmpfs";
        };
        fileSystems."/persist" = {
          device = "/dev/vda";
          fsType = "ext4";
          neededForBoot = true;
        };
        fileSystems."/var/lib/restic" = {
          device = "/persist/var/lib/restic";
          fsType = "none";
          options = [ "bind" ];
          depends = [ "/persist" ];
        };
      }
    ] { settings.repository.mount = "/var/lib/restic"; };
    mountMissing = case [ one ] {
      unmounted = texts: lib.length texts == 1;
      settings.repository.mount = null;
      tmpfiles = [ ];
    };
    mountElsewhere =
      case
        [
          one
          (backup { settings.repository.mount = "/mnt/backup"; })
        ]
        {
          unmounted = [ ];
          after.tik-backup-check = has "mnt-backup.mount";
        };
    mountOff =
      case
        [
          one
          (backup { backupPath = "/srv/repo"; })
        ]
        {
          settings.repository.mount = null;
          tmpfiles = hasAll [ "d \"/srv/repo\" :0700 :tik-backup :tik-backup -" ];
        };
    mountIgnored =
      case
        [
          one
          (cifs [ "uid=root" ])
          (backup { settings.repository.mount = null; })
        ]
        {
          settings.repository.mount = null;
          after.tik-backup-check = lacks "mnt-backup.mount";
        };
    url =
      case
        [
          one
          (backup { backupPath = "sftp:u1@h:repo"; })
        ]
        {
          settings.repository = {
            location = "sftp:u1@h:repo";
            mount = null;
          };
          tmpfiles = [ ];
        };
    pathLiteral =
      case
        [
          one
          (backup { backupPath = /mnt/backup/repo; })
        ]
        {
          settings.repository.location = "/mnt/backup/repo";
        };
    pathLiteralInSettings =
      case
        [
          one
          (backup {
            settings.repository.location = mkForce "/srv/repo";
            settings.state_dir = /var/lib/other;
          })
        ]
        {
          settings.state_dir = "/var/lib/other";
        };
    relativePath =
      case
        [
          one
          (backup { backupPath = "backup/repo"; })
        ]
        {
          failed = [ "backup/repo is neither" ];
        };
    blindInitialize = case [
      one
      (backup { initialize = true; })
    ] { failed = [ "created on the wrong disk" ]; };
    blindInitializeLocal =
      case
        [
          one
          (backup {
            initialize = true;
            backupPath = "local:/mnt/backup/repo";
          })
        ]
        {
          failed = [ "created on the wrong disk" ];
        };

    # Users.
    root =
      case
        [
          one
          (backup {
            user = "root";
            group = "root";
          })
        ]
        {
          unit.tik-backup-source-azure-postgres.User = "root";
          user = null;
        };
    ownUser =
      case
        [
          one
          (backup {
            user = "backups";
            group = "backups";
          })
          {
            users.users.backups = {
              isSystemUser = true;
              group = "backups";
            };
            users.groups.backups = { };
          }
        ]
        {
          unit.tik-backup-check.User = "backups";
          user = null;
        };
    ownUserOnly =
      case
        [
          one
          (backup { user = "backups"; })
          {
            users.users.backups = {
              isSystemUser = true;
              group = "tik-backup";
            };
          }
        ]
        {
          unit.tik-backup-check.Group = "tik-backup";
          config.users.groups = groups: groups ? tik-backup;
        };
    ownGroup =
      case
        [
          one
          (backup { group = "storage"; })
          { users.groups.storage = { }; }
        ]
        {
          unit.tik-backup-check.Group = "storage";
          user.group = "storage";
        };
    missingUser = case [
      one
      (backup { user = "nobody-there"; })
    ] { failed = [ "the user nobody-there" ]; };
    # NixOS has something to say as well.
    missingGroup =
      case
        [
          one
          (backup { group = "nobody-there"; })
        ]
        {
          failed = [
            "the group nobody-there"
            "users.groups.nobody-there"
          ];
        };
    userBySettings =
      case
        [
          one
          (backup { settings.systemd.user = "root"; })
        ]
        {
          unit.tik-backup-check.User = "root";
        };
    userNull =
      case
        [
          one
          (backup {
            settings.systemd.user = null;
            settings.systemd.group = null;
          })
        ]
        {
          unit.tik-backup-check.User = "tik-backup";
          user.isSystemUser = true;
        };
    userExtended =
      case
        [
          one
          {
            users.users.tik-backup = {
              uid = 871;
              extraGroups = [ "wheel" ];
              home = "/srv/tik-backup";
              description = "Varmuuskopiot";
            };
            users.groups.tik-backup.gid = 871;
          }
        ]
        {
          user = {
            uid = 871;
            home = "/srv/tik-backup";
          };
        };

    # Settings.
    nulls =
      case
        [
          one
          (backup {
            settings = {
              drill.dir = null;
              drill.mongod = null;
              state_dir = null;
              dashboard = null;
              repository.password_file = null;
              retention.keep_weekly = null;
              systemd.check = null;
              systemd.memory_max = null;
              systemd.environment_file = null;
              sources.gone = null;
              sources.azure-postgres.exclude = null;
              runbook.contacts = [
                {
                  name = "A";
                  reach = null;
                }
              ];
            };
          })
        ]
        {
          settings = {
            drill.dir = null;
            sources.gone = null;
            state_dir = null;
            retention.keep_weekly = null;
            runbook.contacts = [ { name = "A"; } ];
          };
          timers.tik-backup-check = "Sun 10:00";
          unit.tik-backup-check.MemoryMax = "50%";
          names = lacks "tik-backup-serve";
        };
    force =
      case
        [
          one
          (backup {
            settings = {
              retention.keep_daily = mkForce 30;
              repository.host = "other";
              systemd.watch = "never";
              sources.azure-postgres.exclude = mkForce [ "x" ];
            };
          })
        ]
        {
          settings.retention.keep_daily = 30;
          settings.repository.host = "other";
          settings.sources.azure-postgres.exclude = [ "x" ];
          timers.tik-backup-watch = null;
        };
    presetBySettings =
      case
        [
          one
          (backup {
            settings.sources.azure-postgres = {
              schedule = "05:00";
              user = "reader";
              host = "other.example.org";
              exclude = [ "scratch" ];
            };
          })
        ]
        {
          timers.tik-backup-source-azure-postgres = "05:00";
          settings.sources.azure-postgres = {
            user = "reader";
            host = "other.example.org";
            exclude = [ "scratch" ];
          };
        };
    presetExclude =
      case
        [
          (backup {
            azurePostgres = azurePostgres // {
              exclude = [ "scratch" ];
            };
          })
        ]
        {
          settings.sources.azure-postgres.exclude = [ "scratch" ];
        };
    presetDefaults =
      case
        [
          one
          { services.tik-backup.azurePostgres.schedule = mkDefault "04:00"; }
          (backup {
            retention = mkMerge [
              { daily = 14; }
              { weekly = 8; }
            ];
          })
        ]
        {
          timers.tik-backup-source-azure-postgres = "04:00";
          settings.retention = {
            keep_daily = 14;
            keep_weekly = 8;
          };
        };
    twoModules =
      case
        [
          (backup {
            settings.sources.one = directory;
            settings.alerts = [
              {
                kind = "heartbeat";
                url_file = "/run/one";
              }
            ];
          })
          (backup {
            settings.sources.two = directory;
            settings.alerts = [
              {
                kind = "heartbeat";
                url_file = "/run/two";
              }
            ];
          })
        ]
        {
          names = hasAll [
            "tik-backup-source-one"
            "tik-backup-source-two"
          ];
          settings.alerts = alerts: lib.length alerts == 3;
          credentials = found: lib.length (filter (hasPrefix "alerts.") (lib.attrNames found)) == 3;
        };
    sourceWithSpace = case [ (backup { settings.sources."my wiki" = directory; }) ] {
      failed = [ "is no name of a source" ];
    };
    sourceWithoutSchedule =
      case [ (backup { settings.sources.x = removeAttrs directory [ "schedule" ]; }) ]
        {
          names = has "tik-backup-source-x";
          timers.tik-backup-source-x = null;
        };
    sourceInHome =
      case
        [
          (backup {
            settings.sources.home = directory // {
              paths = [ "/home/x" ];
            };
          })
        ]
        {
          unit.tik-backup-source-home.ProtectHome = "read-only";
        };
    silent = case [ one silent ] { settings.alerts = null; };
    dashboard =
      case
        [
          one
          (backup {
            dashboard = {
              enable = true;
              listen = "unix:/run/tik-backup/page.sock";
            };
          })
        ]
        {
          unit.tik-backup-serve.RuntimeDirectory = "tik-backup";
        };
    configFile =
      case
        [
          one
          (backup { configFile = mkForce "/etc/tik.toml"; })
        ]
        {
          credentials.configuration = "/etc/tik.toml";
        };
    schedules =
      case
        [
          one
          (backup {
            schedules.check = "never";
            schedules.prune = "monthly";
          })
        ]
        {
          timers.tik-backup-check = null;
          timers.tik-backup-prune = "monthly";
          names = has "tik-backup-check";
        };
    pathsFromConfig =
      case
        [
          one
          ({ config, ... }: {
            services.tik-backup = {
              backupPath = "/mnt/backup/${config.networking.hostName}";
              secrets.resticPassword = "${config.users.users.root.home}/restic";
              secrets.alertingWebhookUrl = "${config.users.users.postgres.home or "/srv"}/hook";
              settings.sources.shop = {
                kind = "mongodb";
                uri_file = "${config.users.users.root.home}/uri";
                schedule = "01:00";
              };
              environmentFile = "${config.users.users.root.home}/environment";
            };
          })
        ]
        {
          settings.repository.location = "/mnt/backup/tikpannu";
          credentials."repository.password_file" = "/root/restic";
        };
    sourcesFromHost =
      case
        [
          ({ config, ... }: {
            services.postgresql.enable = true;
            services.postgresql.ensureDatabases = [ "wiki" ];
            services.tik-backup.settings.sources.local = {
              kind = "postgres";
              host = "/run/postgresql";
              user = "tik-backup";
              databases = config.services.postgresql.ensureDatabases;
              port = config.services.postgresql.settings.port;
            };
            services.tik-backup.settings.sources.homes = directory // {
              paths = map (user: user.home) (
                filter (user: user.isNormalUser) (lib.attrValues config.users.users)
              );
            };
            users.users.alice = {
              isNormalUser = true;
            };
          })
        ]
        {
          settings.sources.local.databases = [ "wiki" ];
          settings.sources.homes.paths = [ "/home/alice" ];
        };

    # Typed sources.
    sources =
      case
        [
          withSops
          ({ config, ... }: {
            sops.secrets.shop = { };
            services.tik-backup.alerting.enable = false;
            services.tik-backup.sources = {
              shop = {
                kind = "postgres";
                host = "db.example.org";
                user = "reader";
                passwordFile = config.sops.secrets.shop.path;
                schedule = "01:00";
                retention.keepMonthly = 12;
              };
              files = {
                kind = "directory";
                paths = [ config.users.users.root.home ];
                schedule = "04:00";
              };
            };
          })
          (backup { sources.shop.exclude = [ "scratch" ]; })
          (backup { settings.sources.shop.user = "other"; })
        ]
        {
          credentials."sources.shop.password_file" = "/run/secrets/shop";
          settings.sources.shop = {
            user = "other";
            exclude = [ "scratch" ];
            retention.keep_monthly = 12;
            databases = null;
          };
          settings.sources.files.paths = [ "/root" ];
          timers.tik-backup-source-files = "04:00";
        };
    sourcesChangePreset =
      case
        [
          one
          (backup { sources.azure-postgres.schedule = "05:00"; })
        ]
        {
          timers.tik-backup-source-azure-postgres = "05:00";
          settings.sources.azure-postgres.host = "example.postgres.database.azure.com";
        };
    sourcesOptionOfOtherKind = case [
      (backup {
        sources.x = {
          kind = "directory";
          paths = [ "/srv" ];
          host = "h";
          schedule = "01:00";
        };
      })
    ] { failed = [ "sources.x.host: this option is for sources of kind" ]; };
    sourcesInStore = case [
      (backup {
        sources.x = {
          kind = "mongodb";
          uriFile = "${./eval.nix}";
          schedule = "01:00";
        };
      })
    ] { failed = [ "everybody can read" ]; };

    # Servers on this machine.
    localPostgresql =
      case
        [
          database
          ({ pkgs, ... }: {
            services.postgresql.package = pkgs.postgresql_17;
            services.tik-backup.discourse.enable = true;
          })
        ]
        {
          config.services.tik-backup.postgresqlPackages =
            packages: map (one: lib.versions.major (lib.getVersion one)) packages == [ "17" ];
          after.tik-backup-source-discourse =
            after: has "postgresql.service" after || has "postgresql.target" after;
          after.tik-backup-source-discourse-uploads = lacks "postgresql.service";
        };
    localPostgresqlTooOld = case [
      database
      ({ pkgs, ... }: {
        services.postgresql.package = pkgs.postgresql // {
          version = "13.18";
        };
        services.tik-backup.discourse.enable = true;
      })
    ] { failed = [ "exists since PostgreSQL 14" ]; };
    localMysql =
      case
        [
          ({ pkgs, ... }: {
            services.mysql.enable = true;
            services.mysql.package = pkgs.mariadb;
            services.tik-backup.sources.wiki = {
              kind = "mysql";
              host = "/run/mysqld/mysqld.sock";
              user = "tik-backup";
              schedule = "01:00";
            };
          })
        ]
        {
          after.tik-backup-source-wiki = has "mysql.service";
          config.services.tik-backup.mysqlPackages =
            packages: map lib.getName packages == [ "mariadb-server" ] || show (map lib.getName packages);
        };
    discourseWithoutServer = case [ (backup { discourse.enable = true; }) ] {
      warnings = [ "services.postgresql is not enabled" ];
    };

    # Secrets where everybody can read them.
    storeSecret =
      case
        [
          one
          (backup { secrets.resticPassword = "${builtins.storeDir}/x-password"; })
        ]
        {
          failed = [ "everybody can read: repository.password_file:" ];
        };
    storePathLiteral =
      case
        [
          one
          (backup { secrets.resticPassword = "${./eval.nix}"; })
        ]
        {
          failed = [ "everybody can read" ];
        };
    storePathLiteralInSettings = case [
      (backup {
        settings.sources.x = {
          kind = "mongodb";
          uri_file = "${./eval.nix}";
          schedule = "01:00";
        };
      })
    ] { failed = [ "everybody can read" ]; };
    storeCredentials =
      case
        [
          one
          box
          (backup { secrets.storageboxCredentials = "${./eval.nix}"; })
        ]
        {
          failed = [ "what opens the box lies in the store" ];
        };
    relativeSecret =
      case
        [
          one
          (backup { secrets.resticPassword = "restic-password"; })
        ]
        {
          failed = [ "absolute path: repository.password_file:restic-password" ];
        };
    systemdCredential =
      case
        [
          one
          (backup { settings.repository.password_file = "credential:restic"; })
        ]
        {
          credentials."repository.password_file" = null;
        };
    # Not copied into the store: it stays where it is on the host.
    pathLiteralSecret =
      case
        [
          (backup {
            settings.sources.x = {
              kind = "mongodb";
              uri_file = /run/keys/mongo;
              schedule = "01:00";
            };
          })
        ]
        {
          credentials."sources.x.uri_file" = "/run/keys/mongo";
          settings.sources.x.uri_file = "/run/keys/mongo";
        };
    storeChannel = case [
      one
      (backup {
        alerting.channels = [
          {
            kind = "heartbeat";
            url_file = "${builtins.storeDir}/x-url";
          }
        ];
      })
    ] { failed = [ "everybody can read" ]; };

    # Off.
    disabled =
      case
        [
          all
          box
          (backup {
            enable = mkForce false;
            dashboard.enable = true;
            initialize = true;
            user = "nobody-there";
          })
        ]
        {
          names = [ ];
          timers = timers: timers == { };
          user = null;
          config.users.users = users: !(users ? tik-backup-drill);
          config.fileSystems = mounts: !(mounts ? "/mnt/backup");
          config.environment.etc = files: !(files ? "tik-backup/config.toml");
        };
    specialisation =
      case
        [
          one
          {
            specialisation.other.configuration.services.tik-backup = {
              schedules.check = "never";
              settings.sources.more = directory;
            };
          }
        ]
        {
          timers.tik-backup-check = "Sun 10:00";
          config.specialisation.other.configuration.systemd.services =
            services: services ? tik-backup-source-more;
        };
  };

  wrong = {
    sourceWithoutKind = {
      modules = [ (backup { sources.x.schedule = "01:00"; }) ];
      says = "sources.x.kind' ";
    };
    sourceUnknownOption = {
      modules = [
        (backup {
          sources.x = {
            kind = "mysql";
            shedule = "01:00";
          };
        })
      ];
      says = "sources.x.shedule' does not exist";
    };
    sourceUnknownKind = {
      modules = [ (backup { sources.x.kind = "oracle"; }) ];
      says = "sources.x.kind' is not of type";
    };
    unknownOption = {
      modules = [
        one
        (backup { azurePostgres.hots = "x"; })
      ];
      says = "azurePostgres.hots' does not exist";
    };
    wrongType = {
      modules = [
        one
        (backup { retention.daily = "seven"; })
      ];
      says = "retention.daily";
    };
    wrongProtocol = {
      modules = [
        one
        box
        (backup { storageBox.protocol = "nfs"; })
      ];
      says = "storageBox.protocol";
    };
    noHost = {
      modules = [ (backup { azurePostgres.enable = true; }) ];
      says = "azurePostgres.host' ";
    };
    secretAsPath = {
      modules = [
        one
        (backup { secrets.resticPassword = ./eval.nix; })
      ];
      says = "secrets.resticPassword' is not of type";
    };
    unknownSecret = {
      modules = [
        one
        (backup { secrets.resticPasword = "/x"; })
      ];
      says = "secrets.resticPasword' does not exist";
    };
    declareUnknown = {
      modules = [
        withSops
        one
        (backup { secrets.declare = [ "restic" ]; })
      ];
      says = "secrets.declare";
    };
    function = {
      modules = [
        one
        (backup { settings.x = y: y; })
      ];
      says = "settings.x";
    };
    twoSchedules = {
      modules = [
        one
        (backup { azurePostgres.schedule = "01:00"; })
        (backup { azurePostgres.schedule = "02:00"; })
      ];
      says = "conflicting definition values";
    };
    boxAndOwnMount = {
      modules = [
        one
        box
        (cifs [ ])
      ];
      says = "fileSystems.\"/mnt/backup\".device";
    };
    channelNotAList = {
      modules = [
        one
        (backup { alerting.channels.kind = "ntfy"; })
      ];
      says = "alerting.channels";
    };
    uidZero = {
      modules = [
        one
        (backup { uid = 0; })
      ];
      says = "services.tik-backup.uid";
    };
  };
}
