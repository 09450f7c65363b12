# The storage box as it is mounted on a host: over CIFS, with a credentials file, on access.
{ common }:
{
  name = "tik-backup-storagebox";

  nodes = {
    box =
      { ... }:
      {
        networking.firewall.allowedTCPPorts = [ 445 ];
        services.samba = {
          enable = true;
          settings = {
            global."map to guest" = "never";
            backup = {
              path = "/srv/backup";
              "read only" = "no";
              "valid users" = "u123456";
              "force user" = "u123456";
            };
          };
        };
        users.users.u123456 = {
          isNormalUser = true;
        };
        systemd.tmpfiles.rules = [ "d /srv/backup 0700 u123456 users -" ];
      };

    client =
      { config, lib, ... }:
      {
        imports = [
          (common.client {
            initialize = true;
            storageBox = {
              enable = true;
              host = "box";
            };
            secrets.storageboxCredentials = "/etc/mock/storageboxCredentials";
            settings.sources.files = {
              kind = "directory";
              paths = [ "/etc/ssl" ];
              schedule = "01:00";
            };
          })
        ];
        environment.etc."mock/storageboxCredentials" = {
          text = ''
            username=u123456
            password=of the box
          '';
          mode = "0600";
        };
        # Not the one in memory that the other tests have, but the module's own.
        virtualisation.fileSystems."/mnt/backup" =
          lib.mkForce config.services.tik-backup.storageBox.fileSystem;
      };
  };

  testScript = ''
    start_all()
    box.wait_for_unit("samba-smbd.service")
    box.succeed("(echo 'of the box'; echo 'of the box') | smbpasswd -s -a u123456")
    client.wait_for_unit("multi-user.target")

    with subtest("it is mounted by the first who looks"):
        client.succeed("systemctl start tik-backup-source-files.service")
        client.succeed("findmnt --types cifs /mnt/backup")
        client.succeed("${common.restic} check --read-data")
        box.succeed("test -e /srv/backup/restic-repo/config")

    with subtest("a box that is gone is told, and nothing is written instead"):
        client.succeed("systemctl stop mnt-backup.mount")
        box.shutdown()
        client.fail("systemctl start tik-backup-source-files.service")
        client.wait_until_succeeds("test -s /tmp/alerts")
  '';
}
