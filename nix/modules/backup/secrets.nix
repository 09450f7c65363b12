# The paths of the secrets. With sops-nix on the host, those in use are declared here, as far as the encrypted file has
# them; a path that is given counts all the same. nix/secrets/backup.example.yaml says what each of them holds.
#
# Which secrets are declared must not depend on the options with the paths: those may well be
# `config.sops.secrets.….path`, and what is declared would then depend on itself.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib)
    literalExpression
    mkDefault
    mkOption
    types
    ;
  cfg = config.services.tik-backup;
  shared = import ./options.nix { inherit lib; };
  hasSops = options ? sops;
  hasAge = options ? age;

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

  # The keys of the encrypted file that may hold a secret; the first that exists is used.
  keysFor =
    secret:
    [
      names.${secret}
      (lib.removePrefix "backup-" names.${secret})
    ]
    ++ lib.optional (secret == "azurePostgresPassword") "azure-postgres-admin-password";

  inherit (import ./paths.nix { inherit config lib; })
    isCifs
    mountsOfFileSystems
    pathOf
    within
    ;
  # Mounts with credentials that the administrator has declared, the repository's or another.
  mountsWithCredentials = lib.filter isCifs mountsOfFileSystems;

  # Only secrets in use have to be in the file.
  used = {
    storageboxCredentials =
      if cfg.storageBox.enable then
        cfg.storageBox.protocol == "cifs"
      else
        lib.any (mount: keys != null || within (pathOf cfg.backupPath) mount.at) mountsWithCredentials;
    resticPassword = true;
    azureClientId = cfg.azureStorage.enable;
    azureClientSecret = cfg.azureStorage.enable;
    azureTenantId = cfg.azureStorage.enable;
    azurePostgresPassword = cfg.azurePostgres.enable;
    azureMysqlPassword = cfg.azureMysql.enable;
    mongodbConnectionString = cfg.mongodb.enable;
    alertingWebhookUrl = cfg.alerting.enable && cfg.alerting.webhook.enable;
  };

  file =
    if cfg.secrets.sopsFile != null then
      cfg.secrets.sopsFile
    else if hasSops && options.sops.defaultSopsFile.isDefined then
      config.sops.defaultSopsFile
    else
      null;
  # The keys of the encrypted file, which are not encrypted; null where it cannot be read before the system is built.
  keys =
    let
      built = lib.any (context: context ? outputs) (lib.attrValues (builtins.getContext (toString file)));
      isJson = lib.hasSuffix ".json" (toString file);
      text = builtins.readFile file;
      key = line: builtins.match "[\"']?([A-Za-z0-9_.-]+)[\"']?:.*" line;
    in
    if file == null || built || !(builtins.isPath file || lib.hasPrefix builtins.storeDir file) then
      null
    else if !builtins.pathExists file then
      null
    else if isJson then
      lib.attrNames (builtins.fromJSON text)
    else if lib.hasSuffix ".yaml" (toString file) || lib.hasSuffix ".yml" (toString file) then
      map lib.head (lib.filter (found: found != null) (map key (lib.splitString "\n" text)))
    else
      null;
  keyOf = secret: lib.findFirst (key: lib.elem key keys) null (keysFor secret);
  # Without a file no secrets are declared: sops-nix may be on the host for other services.
  inFile = secret: file != null && (keys == null || keyOf secret != null);

  formats = {
    json = "json";
    yaml = "yaml";
    yml = "yaml";
  };
  format = formats.${lib.last (lib.splitString "." (toString file))} or null;
  # If an administrator names another file for a secret, the keys of this file do not apply to it.
  declare =
    secret:
    lib.nameValuePair names.${secret} (
      { config, ... }:
      let
        here = toString config.sopsFile == toString file;
      in
      {
        # A module may have a `key` of its own, hence `config`.
        config = {
          sopsFile = lib.mkIf (cfg.secrets.sopsFile != null) (mkDefault cfg.secrets.sopsFile);
          format = lib.mkIf (format != null && here) (mkDefault format);
          key = lib.mkIf (keys != null && keyOf secret != null && here) (mkDefault (keyOf secret));
        };
      }
    );

  # The files that the services finally get: settings and sources may name others than those of `secrets`.
  handed = lib.concatMap (unit: unit.Service.LoadCredential or [ ]) (lib.attrValues cfg.units);
  # Secrets that are used and whose default path nothing provides.
  plain = secret: "/run/secrets/${names.${secret}}";
  provided = map (one: one.path) (
    lib.attrValues (config.sops.secrets or { }) ++ lib.attrValues (config.sops.templates or { })
  );
  absent = lib.filter (
    secret:
    used.${secret}
    && (
      if secret == "storageboxCredentials" then
        cfg.storageBox.enable
      else
        lib.any (lib.hasSuffix ":${plain secret}") handed
    )
    && shared.isDefault options.services.tik-backup.secrets.${secret}
    && cfg.secrets.${secret} == plain secret
    && !lib.elem (plain secret) provided
  ) (lib.attrNames names);
  instead =
    secret:
    lib.optionalString (
      secret == "alertingWebhookUrl"
    ) "; without a webhook set services.tik-backup.alerting.webhook.enable to false";
  where = if file == null then "" else " ${baseNameOf (toString file)}";
in
{
  options.services.tik-backup.secrets = {
    sopsFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = literalExpression "./secrets/backup.yaml";
      description = "The encrypted file of sops-nix that holds the secrets. With null, sops-nix's default file.";
    };
    declare = mkOption {
      type = types.listOf (types.enum (lib.attrNames names));
      default = lib.filter (secret: used.${secret} && inFile secret) (lib.attrNames names);
      defaultText = lib.literalMD "those that are used and that the encrypted file has";
      example = [ "resticPassword" ];
      description = ''
        Which of the secrets the module declares to sops-nix (`sops.secrets`). The file is looked into when the system is
        evaluated: its keys are not encrypted. A secret is found under its own name (`backup-restic-password`) or without
        the `backup-` before it (`restic-password`). With `[ ]` nothing is declared: declare the secrets yourself, under
        the same names, or give their paths.
      '';
    };
  }
  // lib.mapAttrs (
    secret: name:
    mkOption {
      type = types.str;
      default =
        if hasSops && config.sops.secrets ? ${name} then
          config.sops.secrets.${name}.path
        else if hasAge && config.age.secrets ? ${name} then
          config.age.secrets.${name}.path
        else
          plain secret;
      defaultText = lib.literalMD "the path of the secret `${name}` of sops-nix or agenix; without them `${plain secret}`";
      example = literalExpression "config.sops.secrets.my-${name}.path";
      description = ''
        File with the secret `${name}`. It may be root's alone: systemd hands it to the services.
      '';
    }
  ) names;

  config = lib.mkIf cfg.enable (
    {
      assertions = lib.optionals hasSops (
        map (secret: {
          assertion = false;
          message = "services.tik-backup: nothing provides ${plain secret}. Put the secret into the encrypted file${where} as ${lib.concatStringsSep " or " (keysFor secret)}, declare it as sops.secrets.${names.${secret}}, or set services.tik-backup.secrets.${secret} to the file that holds it${instead secret}";
        }) absent
      );
      warnings = lib.optionals (hasAge && !hasSops) (
        map (
          secret:
          "services.tik-backup: nothing in this configuration provides ${plain secret}; declare age.secrets.${names.${secret}}, or set services.tik-backup.secrets.${secret} to the file that holds the secret${instead secret}"
        ) absent
      );
    }
    // lib.optionalAttrs hasSops {
      sops.secrets = lib.listToAttrs (map declare cfg.secrets.declare);
    }
  );
}
