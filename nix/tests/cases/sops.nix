# sops-nix: what is declared, and from which keys.
lib':
let
  inherit (lib')
    all
    backup
    box
    case
    database
    example
    lacks
    lib
    mkForce
    mountHas
    one
    ownSops
    plan
    silent
    sops
    sopsWith
    withSops
    ;
in
{
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
  sopsBothKeys = case [ (sopsWith ../secrets/mixed.yaml) one box silent ] {
    sops.backup-restic-password.key = "backup-restic-password";
    sops.backup-azure-postgres-password.key = "azure-postgres-password";
    sops.storagebox-credentials.key = "storagebox-credentials";
  };
  sopsKeyMissing = case [ (sopsWith ../secrets/mixed.yaml) one ] {
    failed = [ "as backup-alerting-webhook-url or alerting-webhook-url, declare it" ];
  };
  sopsNestedKey =
    case
      [
        (sopsWith ../secrets/mixed.yaml)
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
  # A key that exists in one file may be missing in another.
  sopsOtherFile =
    case
      [
        (sopsWith ../secrets/plan.yaml)
        one
        silent
        { sops.secrets.backup-restic-password.sopsFile = ../secrets/other.yaml; }
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
  sopsJson = case [ (sopsWith ../secrets/backup.json) one ] {
    sops.backup-restic-password = {
      key = "restic-password";
      format = "json";
    };
    sops.backup-azure-postgres-password.key = "backup-azure-postgres-password";
  };
  sopsJsonByDefaultYamlHere =
    case
      [
        (sopsWith ../secrets/backup.json)
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
  # sops-nix serves other services; the backup's secrets are elsewhere.
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
}
