# Options that several files share.
{ lib }:
let
  inherit (lib) mkOption types;
in
{
  # Whether an option is not set.
  isDefault = option: (option.highestPrio or 0) >= (lib.mkOptionDefault { }).priority;

  schedule =
    default:
    mkOption {
      type = types.str;
      inherit default;
      description = "When the source is backed up: a calendar expression as in systemd.time(7).";
    };

  host =
    example:
    mkOption {
      type = types.str;
      inherit example;
      description = "Host name of the server.";
    };

  leftOut =
    {
      what,
      default ? [ ],
      example ? [ "scratch_*" ],
    }:
    mkOption {
      type = types.listOf types.str;
      inherit default example;
      description = "${what} to leave out. All others are backed up, including those added later.";
    };
}
