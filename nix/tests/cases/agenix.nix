# agenix.
lib':
let
  inherit (lib')
    case
    example
    lib
    mountHas
    one
    ownSops
    silent
    withAgenix
    ;
in
{
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
  ] { warnings = [ "declare age.secrets.backup-alerting-webhook-url" ]; };
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

}
