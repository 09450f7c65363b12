# Where the secrets lie. With sops-nix on the host they are declared here and decrypted from `sopsFile`; without it, or
# where a path is given, the path counts. nix/secrets/backup.example.yaml says what each of them holds.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.tik-backup;
  hasSops = options ? sops;

  names = {
    storageboxCredentials = "storagebox-credentials";
    resticPassword = "backup-restic-password";
    azureClientId = "backup-azure-client-id";
    azureClientSecret = "backup-azure-client-secret";
    azureTenantId = "backup-azure-tenant-id";
    azurePostgresPassword = "backup-azure-postgres-password";
    azureMysqlPassword = "backup-azure-mysql-password";
    mongodbConnectionString = "backup-mongodb-connection-string";
    alertingWebhookUrl = "backup-alerting-webhook-url";
  };
  # Only what somebody uses has to be in the file.
  used = {
    storageboxCredentials = cfg.storageBox.enable && cfg.storageBox.protocol == "cifs";
    resticPassword = true;
    azureClientId = cfg.azureStorage.enable;
    azureClientSecret = cfg.azureStorage.enable;
    azureTenantId = cfg.azureStorage.enable;
    azurePostgresPassword = cfg.azurePostgres.enable;
    azureMysqlPassword = cfg.azureMysql.enable;
    mongodbConnectionString = cfg.mongodb.enable;
    alertingWebhookUrl = cfg.alerting.enable && cfg.alerting.webhook.enable;
  };
  path = name: cfg.secrets.${name};
  declared = lib.filter (name: used.${name} && path name == "/run/secrets/${names.${name}}") (lib.attrNames names);
in
{
  options.services.tik-backup.secrets = {
    sopsFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = lib.literalExpression "./secrets/backup.yaml";
      description = "The encrypted file; without it, sops-nix's default file.";
    };
  }
  // lib.mapAttrs (
    _: name:
    mkOption {
      type = types.str;
      default = "/run/secrets/${name}";
      example = "/etc/secrets/${name}";
      description = ''
        File with the secret `${name}`. Where sops-nix is there and the path is not changed, the secret is declared under
        that name. It is root's alone: systemd hands it to the services.
      '';
    }
  ) names;

  config = lib.mkIf cfg.enable (
    lib.optionalAttrs hasSops {
      sops.secrets = lib.listToAttrs (
        map (
          name:
          lib.nameValuePair names.${name} (
            lib.optionalAttrs (cfg.secrets.sopsFile != null) { inherit (cfg.secrets) sopsFile; }
          )
        ) declared
      );
    }
  );
}
