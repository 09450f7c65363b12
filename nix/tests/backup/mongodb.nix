# A replica set of MongoDB on another machine: its databases are found, backed up, proven by a drill and restored.
#
# MongoDB's own server is not free software (SSPL). nixpkgs has it as `mongodb-ce`, as MongoDB built it and in no binary
# cache, and `pkgs` must allow it; default.nix leaves this test out where it is not allowed. FerretDB, which is free, has
# neither replica sets nor snapshots.
{ common }:
let
  server =
    { lib, pkgs, ... }:
    let
      python = pkgs.python3.withPackages (packages: [ packages.pymongo ]);
      content = pkgs.writeShellScriptBin "content" ''
        exec ${python}/bin/python3 ${./mongodb.py} "$@"
      '';
    in
    {
      networking.firewall.allowedTCPPorts = [ 27017 ];
      services.mongodb = {
        enable = true;
        package = pkgs.mongodb-ce;
        bind_ip = "0.0.0.0";
        replSetName = "tik";
      };
      environment.systemPackages = [ content ];
      systemd.services.content = {
        description = "Makes the replica set and fills it";
        requires = [ "mongodb.service" ];
        after = [ "mongodb.service" ];
        wantedBy = [ "multi-user.target" ];
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${lib.getExe content} fill";
        };
      };
    };
in
{
  name = "tik-backup-mongodb";

  nodes = {
    mongodb = server;

    client =
      { pkgs, ... }:
      {
        imports = [
          (common.client {
            initialize = true;
            mongodb.enable = true;
            # The server that a drill restores into.
            extraPackages = [ pkgs.mongodb-ce ];
          })
        ];
      };
  };

  testScript = ''
    start_all()
    mongodb.wait_for_unit("content.service")
    client.wait_for_unit("receiver.service")

    def protected():
        return client.succeed("tik-backup --json status | jq -r '.items[] | select(.state == \"protected\") | .source + \"/\" + (.item // \"\")'").split()

    with subtest("every database is backed up, as of one moment, and proven"):
        client.succeed("systemctl start tik-backup-source-mongodb.service")
        client.succeed("systemctl start tik-backup-drill.service")
        assert {"mongodb/shop", "mongodb/wiki"} <= set(protected()), protected()
        client.succeed("${common.restic} dump latest --path /mongodb/shop /mongodb/shop/manifest.json | jq -e '.consistency == \"snapshot\"'")
        client.succeed("tik-backup --json status | jq -e '.summary.ok and .summary.proven == .summary.expected'")

    with subtest("a new database is backed up the next time"):
        mongodb.succeed("content add depot")
        client.succeed("systemctl start tik-backup-source-mongodb.service")
        client.succeed("${common.restic} snapshots --json | jq -e 'any(.[]; .paths[0] == \"/mongodb/depot\")'")

    with subtest("restored beside the original"):
        client.succeed("tik-backup restore mongodb/shop --into shop_copy")
        original = mongodb.succeed("content show shop")
        assert original.count("\n") == 2002, original[:300]
        assert mongodb.succeed("content show shop_copy") == original

    with subtest("a server that is gone is told"):
        client.succeed("rm -f /tmp/alerts")
        mongodb.succeed("systemctl stop mongodb.service")
        client.fail("systemctl start tik-backup-source-mongodb.service")
        client.wait_until_succeeds("grep -q mongodb /tmp/alerts")
  '';
}
