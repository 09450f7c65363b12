# sops-nix: paths that depend on other options.
lib':
let
  inherit (lib')
    all
    box
    case
    database
    filter
    has
    lib
    listToAttrs
    mountHas
    nameValuePair
    one
    silent
    sops
    sopsWith
    withSops
    ;
in
{
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
        (sopsWith ../secrets/other.yaml)
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
}
