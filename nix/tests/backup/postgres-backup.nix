# A PostgreSQL and a MySQL server on other machines: all of their databases are found and backed up, a new one without
# anybody changing the configuration; an alert is sent for a server that is gone.
{ common }:
{
  name = "tik-backup-postgres";

  nodes = {
    postgres.imports = [
      common.postgresql
      common.shop
    ];

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
            -- What docs/mysql.md says, and no more.
            GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, SHOW DATABASES ON *.* TO 'backup'@'%';
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
    postgres.wait_for_unit("database.target")
    postgres.wait_for_open_port(5432)
    mysql.wait_for_unit("mysql.service")
    mysql.wait_for_open_port(3306)
    client.wait_for_unit("receiver.service")

    def items():
        return client.succeed("tik-backup --json status | jq -r '.items[] | select(.state == \"protected\") | .source + \"/\" + (.item // \"\")'").split()

    with subtest("everything that is there is backed up"):
        client.succeed("systemd-run --unit=processes bash -c 'while sleep 0.02; do cat /proc/[0-9]*/cmdline; done >/tmp/processes 2>/dev/null'")
        client.succeed("systemctl start tik-backup-source-azure-postgres.service")
        client.succeed("systemctl start tik-backup-source-azure-mysql.service")
        client.succeed("systemctl start tik-backup-drill.service")
        client.succeed("systemctl stop processes.service")
        assert {"azure-postgres/shop", "azure-postgres/@globals", "azure-mysql/wiki", "azure-mysql/@globals"} <= set(items()), items()

    with subtest("a new database is backed up the next time"):
        postgres.succeed("${common.as "postgres"} createdb 'New & odd'")
        client.succeed("systemctl start tik-backup-source-azure-postgres.service")
        client.succeed("${common.restic} snapshots --json | jq -e 'any(.[]; .paths[0] == \"/azure-postgres/New & odd\")'")

    with subtest("the secrets are in no unit and no process list"):
        units = client.succeed("systemctl cat 'tik-backup-*'")
        # The clients that were seen at all.
        client.succeed("grep -aq pg_dump /tmp/processes", "grep -aq 'mariadb\\|mysql' /tmp/processes")
        for secret in ["${common.secrets.azurePostgresPassword}", "${common.secrets.azureMysqlPassword}"]:
            assert secret not in units
            client.fail(f"grep -aqF '{secret}' /tmp/processes")

    with subtest("a server that is gone is told"):
        client.succeed("rm -f /tmp/alerts")
        postgres.succeed("systemctl stop postgresql.service")
        client.fail("systemctl start tik-backup-source-azure-postgres.service")
        client.wait_until_succeeds("grep -q 'azure-postgres' /tmp/alerts")
  '';
}
