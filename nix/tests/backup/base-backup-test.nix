# The mount exists, the units start, and a repository with the structure that restic expects is made. If the mount is
# missing, nothing is written and an alert is sent.
{ common }:
{
  name = "tik-backup-base";

  nodes.machine =
    { ... }:
    {
      imports = [
        (common.client {
          settings.sources.etc = {
            kind = "directory";
            paths = [ "/srv/files" ];
            schedule = "01:00";
          };
        })
      ];
      systemd.tmpfiles.rules = [
        "d /srv/files 0700 root root -"
        "f /srv/files/secret 0600 root root - for-root-alone"
      ];
    };

  testScript = ''
    machine.wait_for_unit("multi-user.target")
    machine.wait_for_unit("receiver.service")
    machine.succeed("mountpoint /mnt/backup")

    with subtest("timers are on"):
        timers = machine.succeed("systemctl list-timers --no-legend 'tik-backup-*'")
        for name in ["source-etc", "drill", "check", "prune", "watch"]:
            assert f"tik-backup-{name}.timer" in timers, timers

    with subtest("the repository is made once, as the services' user"):
        machine.fail("systemctl start tik-backup-source-etc.service")
        machine.succeed("systemctl start tik-backup-init.service")
        for name in ["config", "data", "index", "keys", "locks", "snapshots"]:
            machine.succeed(f"test -e /mnt/backup/restic-repo/{name}")
        machine.succeed("test -z \"$(find /mnt/backup ! -user tik-backup)\"")

    with subtest("a backup that stock restic finds sound"):
        machine.succeed("systemctl start tik-backup-source-etc.service")
        machine.succeed("${common.restic} check --read-data")
        assert "/secret\n" in machine.succeed("${common.restic} ls latest")

    with subtest("what runs is what was proven"):
        machine.succeed("systemctl start tik-backup-drill.service")
        machine.succeed("tik-backup --json status | jq -e '.summary.ok and .summary.proven == .summary.expected'")

    with subtest("without the mount nothing is written"):
        machine.succeed("systemctl stop mnt-backup.mount && systemctl mask --runtime mnt-backup.mount")
        machine.fail("systemctl start tik-backup-source-etc.service")
        machine.succeed("test -z \"$(ls -A /mnt/backup)\"")
        machine.wait_until_succeeds("grep -q 'nothing is mounted at /mnt/backup' /tmp/alerts")
  '';
}
