# Forty nights: seven daily and four weekly snapshots are kept, and their content is intact.
{ common }:
{
  name = "tik-backup-retention";

  nodes.machine =
    { ... }:
    {
      imports = [
        (common.client {
          initialize = true;
          alerting.enable = false;
          settings.sources.files = {
            kind = "directory";
            paths = [ "/srv/files" ];
            schedule = "01:00";
          };
        })
      ];
      systemd.tmpfiles.rules = [ "d /srv/files 0755 root root -" ];
      services.timesyncd.enable = false;
    };

  testScript = ''
    import datetime

    machine.wait_for_unit("multi-user.target")
    # Nothing starts by itself while the clock is moved.
    machine.succeed("systemctl stop 'tik-backup-*.timer'")
    night = datetime.datetime(2026, 3, 1, 1, 0)
    for _ in range(40):
        machine.succeed(f"date --set '{night:%Y-%m-%d %H:%M}' && date > /srv/files/night")
        # The machine's own time does not go on between two nights: to systemd these are starts in quick succession, of
        # which it allows five. Only a unit that is named is reset although it has not failed.
        machine.succeed("systemctl reset-failed tik-backup-source-files.service")
        machine.succeed("systemctl start tik-backup-source-files.service")
        night += datetime.timedelta(days=1)

    times = machine.succeed("${common.restic} snapshots --json | jq -r '.[].time[:10]'").split()
    nights = [datetime.date(2026, 3, 1) + datetime.timedelta(days=n) for n in range(40)]
    daily = nights[-7:]
    weeks = {}
    for day in nights:
        weeks[day.isocalendar()[:2]] = day
    weekly = sorted(weeks.values())[-4:]
    # Snapshots younger than keep_within, two days, are among the seven.
    expected = sorted({str(day) for day in daily + weekly})
    assert sorted(times) == expected, (sorted(times), expected)

    machine.succeed("systemctl start tik-backup-prune.service")
    machine.succeed("${common.restic} check --read-data")
  '';
}
