# Loss of the machine that made the backups: another machine restores the content, with this program, and with stock restic
# and PostgreSQL's own client alone.
{ common }:
{
  name = "tik-backup-full-restore";

  nodes = {
    origin =
      { ... }:
      {
        imports = [
          common.postgresql
          common.shop
          (common.client {
            initialize = true;
            discourse = {
              enable = true;
              database = "shop";
              uploads = "/srv/uploads";
            };
          })
        ];
        systemd.tmpfiles.rules = [
          "d /srv/uploads 0755 root root -"
          "f /srv/uploads/picture 0644 root root - not-really-a-picture"
        ];
      };

    other =
      { pkgs, ... }:
      {
        imports = [ common.postgresql ];
        environment.systemPackages = [ pkgs.restic ];
        environment.etc."mock/resticPassword" = {
          text = common.secrets.resticPassword;
          mode = "0600";
        };
      };
  };

  testScript = ''
    start_all()
    origin.wait_for_unit("database.target")
    origin.wait_for_unit("tik-backup-role.service")
    other.wait_for_unit("database.target")

    with subtest("backed up and proven"):
        origin.succeed("systemctl start tik-backup-source-discourse.service tik-backup-source-discourse-uploads.service")
        origin.succeed("systemctl start tik-backup-drill.service")
        original = origin.succeed("""${common.as "postgres"} ${common.digest "shop"} """)

    with subtest("beside the original, with this program"):
        origin.succeed("${common.as "postgres"} createuser --superuser root")
        origin.succeed("tik-backup restore discourse/shop --into 'postgresql:///copy?host=/run/postgresql'")
        copy = origin.succeed("""${common.as "postgres"} ${common.digest "copy"} """)
        assert copy == original, (copy, original)

    with subtest("on another machine, without this program"):
        origin.succeed("tar -C /mnt/backup -czf /tmp/shared/repository.tar.gz restic-repo")
        other.succeed("mkdir -p /mnt/backup && tar -C /mnt/backup -xzf /tmp/shared/repository.tar.gz")
        other.fail("command -v tik-backup")
        other.succeed("${common.restic} check --read-data")
        other.succeed("${common.as "postgres"} createdb --template template0 shop")
        other.succeed("${common.restic} dump latest --path /discourse/shop /discourse/shop/database.dump | ${common.as "postgres"} pg_restore --exit-on-error --no-owner --no-privileges --dbname shop")
        assert other.succeed("""${common.as "postgres"} ${common.digest "shop"} """) == original

    with subtest("files"):
        origin.succeed("tik-backup restore discourse-uploads/uploads --to /tmp/uploads")
        origin.succeed("diff -r /srv/uploads /tmp/uploads")
  '';
}
