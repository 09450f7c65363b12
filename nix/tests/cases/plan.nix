# A complete host, as docs/nixos.md shows it.
lib':
let
  inherit (lib')
    all
    azurePostgres
    backup
    box
    case
    cifs
    database
    has
    lacks
    lib
    mine
    mountHas
    one
    ownSops
    plan
    removePrefix
    sops
    sopsWith
    takenOver
    withSops
    ;
in
{
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
  planKeys = case [ (sopsWith ../secrets/plan.yaml) all database plan ] {
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
        (backup { secrets.sopsFile = ../secrets/plan.yaml; })
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
                sopsFile = ../secrets/plan.yaml;
                key = removePrefix "backup-" name;
              })
            // {
              backup-azure-postgres-password = {
                sopsFile = ../secrets/plan.yaml;
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

}
