# Parts that the machines of the tests share: dummy credentials, a storage box in memory, a receiver of alerts.
# Names hold from NixOS 25.05 on; what differs between releases is chosen here by what exists.
{ module }:
let
  secrets = {
    resticPassword = "a repository password for tests";
    azureClientId = "00000000-0000-0000-0000-00000000000c";
    azureClientSecret = "the secret of a service principal";
    azureTenantId = "00000000-0000-0000-0000-00000000000d";
    azurePostgresPassword = "of the postgres server";
    azureMysqlPassword = "of the mysql server";
    # A replica set without accounts; that it goes in the clear has to be said.
    mongodbConnectionString = "mongodb://mongodb:27017/?replicaSet=tik&tls=false";
    alertingWebhookUrl = "http://127.0.0.1:8099/";
  };
  # In memory, and the services' own.
  box = {
    device = "tmpfs";
    fsType = "tmpfs";
    options = [
      "uid=871"
      "gid=871"
      "mode=0700"
    ];
  };
in
{
  inherit secrets;

  # Environment of stock restic.
  restic = "RESTIC_REPOSITORY=/mnt/backup/restic-repo RESTIC_PASSWORD_FILE=/etc/mock/resticPassword restic --no-cache";

  # A command as another user. In a container of the test framework neither sudo nor PAM works.
  as = user: "setpriv --reuid=${user} --regid=${user} --init-groups --";

  # A machine that backs up. `source` is merged into services.tik-backup.
  client =
    source:
    {
      lib,
      options,
      pkgs,
      ...
    }:
    {
      imports = [ module ];

      environment.etc = lib.mapAttrs' (name: text: {
        name = "mock/${name}";
        value = {
          inherit text;
          mode = "0600";
        };
      }) secrets;
      environment.systemPackages = [
        pkgs.restic
        pkgs.jq
      ];

      # A virtual machine's own file systems replace those of `fileSystems`; a container has neither these nor memory of
      # its own.
      virtualisation = lib.optionalAttrs (options.virtualisation ? fileSystems) {
        fileSystems."/mnt/backup" = box;
        memorySize = 2048;
      };
      fileSystems = lib.optionalAttrs (!(options.virtualisation ? fileSystems)) { "/mnt/backup" = box; };

      services.tik-backup = lib.mkMerge [
        {
          enable = true;
          uid = 871;
          secrets = lib.mapAttrs (name: _: lib.mkForce "/etc/mock/${name}") secrets;
          settings.repository.mount = "/mnt/backup";
          settings.repository.min_free = "1MiB";
        }
        source
      ];

      systemd.services.receiver = {
        description = "Takes alerts and writes them down";
        wantedBy = [ "multi-user.target" ];
        serviceConfig.ExecStart = "${pkgs.python3}/bin/python3 ${pkgs.writeText "receiver.py" ''
          import http.server

          class Handler(http.server.BaseHTTPRequestHandler):
              def do_POST(self):
                  body = self.rfile.read(int(self.headers["Content-Length"]))
                  with open("/tmp/alerts", "ab") as log:
                      log.write(body + b"\n")
                  self.send_response(200)
                  self.end_headers()

          http.server.HTTPServer(("127.0.0.1", 8099), Handler).serve_forever()
        ''}";
      };
    };

  # A PostgreSQL. `database.target` is reached when it is set up: that is postgresql.target where that exists (NixOS
  # 25.11), and postgresql.service before.
  postgresql =
    { config, ... }:
    let
      ready = if config.systemd.targets ? postgresql then "postgresql.target" else "postgresql.service";
    in
    {
      services.postgresql.enable = true;
      systemd.targets.database = {
        description = "PostgreSQL, set up";
        requires = [ ready ];
        after = [ ready ];
        wantedBy = [ "multi-user.target" ];
      };
    };

  # The initial content of the server: a database, and a role that may read everything.
  shop =
    { pkgs, ... }:
    {
      networking.firewall.allowedTCPPorts = [ 5432 ];
      services.postgresql = {
        enableTCPIP = true;
        authentication = "host all all all scram-sha-256";
        initialScript = pkgs.writeText "init.sql" ''
          CREATE ROLE backup LOGIN PASSWORD '${secrets.azurePostgresPassword}' IN ROLE pg_read_all_data;
          CREATE DATABASE shop;
          \connect shop
          CREATE TABLE orders AS SELECT n, md5(n::text) AS word FROM generate_series(1, 5000) AS n;
        '';
      };
    };

  # The content that is compared.
  digest =
    database:
    "psql -X -At -d ${database} -c \"SELECT count(*), md5(string_agg(o::text, ',' ORDER BY n)) FROM orders o\"";
}
