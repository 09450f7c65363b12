# The parts of the options page that are not in the module: the introduction, and the groups in their order. A
# group has the options with these names, and those below the names that end in `.*`; `prefix` is left out in the contents.
{
  introduction = ''
    # Options of the NixOS module

    Every option of `services.tik-backup`. The names on this page leave out that prefix: `retention.daily` is
    `services.tik-backup.retention.daily`. [NixOS](nixos.md) shows a complete configuration and says what has to be prepared;
    [configuration.md](configuration.md) describes the keys of the configuration file, which `settings` takes as they are.

    This page is generated from the module. After a change of the module, write it anew:

    ```console
    $ nix --extra-experimental-features nix-command eval --raw --file nix/docs/options.nix page > docs/nixos-options.md
    ```

    ## Contents
  '';

  groups = [
    {
      title = "The service";
      prefix = "";
      intro = "Without `enable` all other options have no effect.";
      options = [
        "enable"
        "settings"
        "environmentFile"
        "configFile"
        "package"
        "user"
        "group"
        "uid"
      ];
    }
    {
      title = "Repository";
      prefix = "";
      intro = "";
      options = [
        "backupPath"
        "settings.repository.*"
        "initialize"
      ];
    }
    {
      title = "Retention";
      prefix = "retention";
      intro = "How many snapshots of each item are kept. A snapshot stays while any of these rules keeps it; `settings.retention` has more of them.";
      options = [
        "retention.within"
        "retention.daily"
        "retention.weekly"
        "retention.monthly"
        "retention.*"
      ];
    }
    {
      title = "Storage box";
      prefix = "storageBox";
      intro = "Mounts a storage box for the repository. A repository on another storage does not need these options.";
      options = [
        "storageBox.enable"
        "storageBox.protocol"
        "storageBox.host"
        "storageBox.share"
        "storageBox.user"
        "storageBox.mountPoint"
        "storageBox.*"
      ];
    }
    {
      title = "Secrets";
      prefix = "secrets";
      intro = "Each secret is a file. Only the secrets of enabled options are needed; [NixOS](nixos.md#secrets) describes how to make them.";
      options = [
        "secrets.declare"
        "secrets.sopsFile"
        "secrets.*"
      ];
    }
    {
      title = "Sources of any kind";
      prefix = "sources.<name>";
      intro = "Any number of sources. The options are the keys of [configuration.md](configuration.md#sourcesname) in camel case. What is null is left to the program, whose defaults are described there.";
      # The contents list the options of each kind of source.
      kinds = [
        "postgres"
        "mysql"
        "mongodb"
        "azure-storage"
        "directory"
      ];
      options = [
        "sources"
        "sources.<name>.kind"
        "sources.<name>.schedule"
        "sources.<name>.exclude"
        "sources.<name>.jobs"
        "sources.<name>.idleTimeout"
        "sources.<name>.maxAge"
        "sources.<name>.maxProofAge"
        "sources.<name>.retention"
        "sources.<name>.retention.*"
        "sources.<name>.anomalies"
        "sources.<name>.anomalies.*"
        "sources.<name>.host"
        "sources.<name>.port"
        "sources.<name>.user"
        "sources.<name>.passwordFile"
        "sources.<name>.databases"
        "sources.<name>.azure"
        "sources.<name>.uriFile"
        "sources.<name>.tenantIdFile"
        "sources.<name>.clientIdFile"
        "sources.<name>.clientSecretFile"
        "sources.<name>.accounts"
        "sources.<name>.paths"
        "sources.<name>.*"
      ];
    }
    {
      title = "PostgreSQL on Azure";
      prefix = "azurePostgres";
      intro = "A preset for one server, as the source `azure-postgres`.";
      options = [
        "azurePostgres.enable"
        "azurePostgres.host"
        "azurePostgres.user"
        "azurePostgres.schedule"
        "azurePostgres.*"
      ];
    }
    {
      title = "MySQL on Azure";
      prefix = "azureMysql";
      intro = "A preset for one server, as the source `azure-mysql`.";
      options = [
        "azureMysql.enable"
        "azureMysql.host"
        "azureMysql.user"
        "azureMysql.schedule"
        "azureMysql.*"
      ];
    }
    {
      title = "MongoDB";
      prefix = "mongodb";
      intro = "A preset for one deployment, on Atlas or elsewhere, as the source `mongodb`.";
      options = [
        "mongodb.enable"
        "mongodb.schedule"
        "mongodb.*"
      ];
    }
    {
      title = "Azure storage";
      prefix = "azureStorage";
      intro = "A preset for the storage accounts that a service principal sees, as the source `azure-storage`.";
      options = [
        "azureStorage.enable"
        "azureStorage.schedule"
        "azureStorage.*"
      ];
    }
    {
      title = "Discourse";
      prefix = "discourse";
      intro = "A preset for a Discourse on this machine: its database as the source `discourse`, its uploads as `discourse-uploads`.";
      options = [
        "discourse.enable"
        "discourse.schedule"
        "discourse.*"
      ];
    }
    {
      title = "Drills";
      prefix = "drill";
      intro = "Backups are proven by restoring them: [Drills](drills.md).";
      options = [
        "drill.enable"
        "drill.schedule"
        "drill.*"
      ];
    }
    {
      title = "Alerts";
      prefix = "alerting";
      intro = "Notifications when a backup fails or is overdue: [Alerts](alerts.md).";
      options = [
        "alerting.enable"
        "alerting.webhook.*"
        "alerting.*"
      ];
    }
    {
      title = "Dashboard and metrics";
      prefix = "";
      intro = "A web page with the state of the backups, which also serves metrics for Prometheus: [dashboard](dashboard.md).";
      options = [
        "dashboard.*"
        "prometheus.*"
        "metrics.*"
      ];
    }
    {
      title = "Schedules and limits";
      prefix = "";
      intro = "The schedule of a source is among its own options, that of drills in `drill.schedule`.";
      options = [
        "schedules.*"
        "randomizedDelaySec"
        "memoryMax"
      ];
    }
    {
      title = "Programs of database servers";
      prefix = "";
      intro = "";
      options = [
        "postgresqlPackages"
        "mysqlPackages"
        "extraPackages"
      ];
    }
  ];
}
