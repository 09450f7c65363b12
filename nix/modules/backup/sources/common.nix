# Options that every source has.
{ fields, lib }:
with fields;
let
  inherit (lib) types;
  keep = integer 0 1000000;

  retention = {
    keepWithin = age ''All snapshots that are younger than this are kept, counted back from the newest one; "0s" turns the rule off.'' "14d";
    keepLast = keep "This many of the newest snapshots are kept." 3;
    keepHourly = keep "The newest snapshot of each hour is kept, for this many hours." 24;
    keepDaily = keep "The newest snapshot of each day is kept, for this many days." 14;
    keepWeekly = keep "The newest snapshot of each week is kept, for this many weeks." 8;
    keepMonthly = keep "The newest snapshot of each month is kept, for this many months." 12;
    keepYearly = keep "The newest snapshot of each year is kept, for this many years." 10;
  };

  anomalies = {
    rowsLost =
      integer 0 99
        "A table that lost more than this percentage of its rows is suspicious; 0 turns the rule off."
        80;
    minRows = count "Tables with fewer rows than this are not examined, unless all tables of an item lose everything." 1000;
    sizeLost =
      integer 0 99
        "A backup that is smaller than usual by more than this percentage is suspicious; 0 turns the rule off."
        30;
    minSize = bytes "Items whose usual size is smaller than this are not examined." "1MiB";
    vanished = switch "Whether a table or schema that no longer exists is suspicious.";
    unchanged = age ''Content that does not change for longer than this, and for unusually long, is suspicious; "0s" turns the rule off.'' "30d";
  };
in
[
  {
    options = {
      schedule = text "When the source is backed up, as a calendar expression of systemd.time(7). Without it the source has a service and no timer." "Sun 04:00";
      maxAge = age "The newest snapshot of an item is late when it is older than this. By default the limit follows from the schedule." "8d";
      maxProofAge =
        field (types.either (types.enum [ "never" ]) duration)
          ''The last proven restore of an item is too old when it is older than this; "never" turns the rule off.''
          "35d";
      jobs = integer 1 64 "This many items of the source are backed up at the same time." 1;
      idleTimeout = age "An item fails when its stream stands still for this long. The program's default is 15 minutes." "1h";
      exclude = texts ''
        What is not backed up. For servers these are patterns of databases, for `directory` and `azure-storage` globs of files,
        relative to each directory, container or share, in the manner of `.gitignore`.
      '' [ "scratch_*" ];
      retention =
        table retention
          "What is kept of the items of this source. A rule that is left out here is taken from `settings.retention`."
          { keepDaily = 14; };
      anomalies =
        table anomalies
          "Which changes of this source are suspicious. A rule that is left out here is taken from `settings.anomalies`."
          { rowsLost = 80; };
    };
  }
]
