# A PostgreSQL and a MySQL server on other machines: all of their databases are found and backed up, a new one without
# anybody changing the configuration; a server that is gone is told.
{ common }:
{
  name = "tik-backup-postgres";

  nodes = {
    postgres = common.postgres;

    mysql =
      { pkgs, ... }:
      {
        networking.firewall.allowedTCPPorts = [ 3306 ];
        services.mysql = {
          enable = true;
          package = pkgs.mariadb;
          initialScript = pkgs.writeText "init.sql" ''
            CREATE DATABASE wiki;
            CREATE TABLE wiki.pages (id INT PRIMARY KEY, title TEXT);
            INSERT INTO wiki.pages VALUES (1, 'Start'), (2, 'Größe');
            CREATE USER 'backup'@'%' IDENTIFIED BY '${common.secrets.azureMysqlPassword}';
            GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES, RELOAD, PROCESS, REPLICATION CLIENT ON *.* TO 'backup'@'%';
            GRANT SELECT ON mysql.* TO 'backup'@'%';
          '';
        };
      };

    client =
      { lib, pkgs, ... }:
      {
        imports = [
          (common.client {
            initialize = true;
            mysqlPackages = lib.mkForce [ pkgs.mariadb ];
            azurePostgres = {
              enable = true;
              host = "postgres";
            };
            azureMysql = {
              enable = true;
              host = "mysql";
            };
            # Without certificates in the test.
            settings.sources.azure-postgres.sslmode = "disable";
            settings.sources.azure-mysql.sslmode = "disable";
          })
        ];
      };
  };

  testScript = ''
    start_all()
    postgres.wait_for_unit("postgresql.target")
    postgres.wait_for_open_port(5432)
    mysql.wait_for_unit("mysql.service")
    mysql.wait_for_open_port(3306)
    client.wait_for_unit("receiver.service")

    def items():
        return client.succeed("tik-backup --json status | jq -r '.items[] | select(.state == \"protected\") | .source + \"/\" + (.item // \"\")'").split()

    with subtest("everything that is there is backed up"):
        client.succeed("systemctl start tik-backup-source-azure-postgres.service")
        client.succeed("systemctl start tik-backup-source-azure-mysql.service")
        client.succeed("systemctl start tik-backup-drill.service")
        assert {"azure-postgres/shop", "azure-postgres/@globals", "azure-mysql/wiki", "azure-mysql/@globals"} <= set(items()), items()

    with subtest("a new database is backed up the next time"):
        postgres.succeed("sudo -u postgres createdb 'New & odd'")
        client.succeed("systemctl start tik-backup-source-azure-postgres.service")
        client.succeed("${common.restic} snapshots --json | jq -e 'any(.[]; .paths[0] == \"/azure-postgres/New & odd\")'")

    with subtest("the secrets are in no unit and no process list"):
        client.fail("systemctl cat 'tik-backup-*' | grep -F '${common.secrets.azurePostgresPassword}'")

    with subtest("a server that is gone is told"):
        postgres.succeed("systemctl stop postgresql.service")
        client.fail("systemctl start tik-backup-source-azure-postgres.service")
        client.wait_until_succeeds("grep -q 'azure-postgres' /tmp/alerts")
  '';
}
