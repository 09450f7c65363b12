# Storage accounts that a service principal finds: blobs are backed up and restored, a new container is found without
# anybody changing the configuration. The storage service is Azurite (`pkgs.azurite`; default.nix leaves this test out
# where that is not), tokens and lists come from azure.py. Both are on this machine, because without TLS no other address is allowed.
{ common }:
{
  name = "tik-backup-azure-storage";

  nodes.machine =
    { lib, pkgs, ... }:
    let
      azure = pkgs.writeShellScriptBin "azure" ''
        exec ${pkgs.python3}/bin/python3 ${./azure.py} "$@"
      '';
      service = command: {
        wantedBy = [ "multi-user.target" ];
        serviceConfig = {
          ExecStart = "${lib.getExe azure} ${command}";
          StateDirectory = "azurite";
          WorkingDirectory = "/var/lib/azurite";
          Environment = "HOME=/var/lib/azurite";
        };
      };
    in
    {
      imports = [
        (common.client {
          initialize = true;
          azureStorage.enable = true;
          settings.sources.azure-storage = {
            authority = "http://127.0.0.1:8081";
            management_endpoint = "http://127.0.0.1:8081";
          };
        })
      ];
      environment.systemPackages = [ azure ];
      systemd.services = {
        entra = service "serve" // {
          description = "Tokens, and lists of what there is in Azure";
        };
        azurite =
          service "azurite ${pkgs.azurite}/bin/azurite-blob --blobHost 127.0.0.1 --blobPort 10000 --location /var/lib/azurite --skipApiVersionCheck --disableTelemetry"
          // {
            description = "Blobs of a storage account";
          };
      };
    };

  testScript = ''
    machine.wait_for_unit("receiver.service")
    machine.wait_for_open_port(8081)
    machine.wait_for_open_port(10000)

    def snapshots():
        return set(machine.succeed("${common.restic} snapshots --json | jq -r '.[].paths[0]'").split("\n"))

    machine.succeed("azure create photos")
    machine.succeed("azure put photos 2026/may/one.txt 'one of them'")
    machine.succeed("azure put photos 'Größe & Gewicht.txt' 'an odd name'")
    for number in range(30):
        machine.succeed(f"azure put photos many/{number} 'number {number}'")

    with subtest("what the service principal sees is backed up and proven"):
        machine.succeed("systemctl start tik-backup-source-azure-storage.service")
        machine.succeed("systemctl start tik-backup-drill.service")
        assert "/azure-storage/tikprod%2Fphotos" in snapshots(), snapshots()
        machine.succeed("tik-backup --json status | jq -e '.summary.ok and .summary.proven == .summary.expected'")

    with subtest("a new container is backed up the next time"):
        machine.succeed("azure create letters && azure put letters first 'a letter'")
        machine.succeed("systemctl start tik-backup-source-azure-storage.service")
        assert "/azure-storage/tikprod%2Fletters" in snapshots(), snapshots()

    with subtest("restored into a new container, and as files"):
        original = machine.succeed("azure list photos")
        assert original.count("\n") == 32, original
        machine.succeed("tik-backup restore azure-storage/tikprod/photos --into tikprod/photos-restored")
        assert machine.succeed("azure list photos-restored") == original
        machine.succeed("tik-backup restore azure-storage/tikprod/photos --to /tmp/photos")
        machine.succeed("azure get photos 'Größe & Gewicht.txt' | cmp - '/tmp/photos/blobs/Größe & Gewicht.txt'")

    with subtest("a secret that expired is told"):
        machine.succeed("rm -f /tmp/alerts")
        machine.succeed("echo another > /tmp/secret && mount --bind /tmp/secret /etc/mock/azureClientSecret")
        machine.fail("systemctl start tik-backup-source-azure-storage.service")
        machine.wait_until_succeeds("grep -q azure-storage /tmp/alerts")
  '';
}
