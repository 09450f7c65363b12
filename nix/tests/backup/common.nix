# What the machines of the tests share: credentials that are none, a storage box in memory, somebody who is alerted.
{ module }:
let
  secrets = {
    resticPassword = "a repository password for tests";
    azurePostgresPassword = "of the postgres server";
    azureMysqlPassword = "of the mysql server";
    alertingWebhookUrl = "http://127.0.0.1:8099/";
  };
in
{
  inherit secrets;

  # Environment of stock restic.
  restic = "RESTIC_REPOSITORY=/mnt/backup/restic-repo RESTIC_PASSWORD_FILE=/etc/mock/resticPassword restic --no-cache";

  # A machine that backs up. `source` is merged into services.tik-backup.
  client =
    source:
    {
      lib,
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

      # The virtual machine's own file systems replace those of `fileSystems`.
      virtualisation.fileSystems."/mnt/backup" = {
        device = "tmpfs";
        fsType = "tmpfs";
        options = [
          "uid=871"
          "gid=871"
          "mode=0700"
        ];
      };
      virtualisation.memorySize = 2048;

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

  # A PostgreSQL with a database and a role that may read everything.
  postgres =
    { pkgs, ... }:
    {
      networking.firewall.allowedTCPPorts = [ 5432 ];
      services.postgresql = {
        enable = true;
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

  # What counts as the same content.
  digest = "psql -X -At -d shop -c \"SELECT count(*), md5(string_agg(o::text, ',' ORDER BY n)) FROM orders o\"";
}
