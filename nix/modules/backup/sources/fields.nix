# Building blocks for the options of sources. Each option may be left out; the program's default then applies.
{ lib }:
let
  inherit (lib) mkOption types;

  described = description: type: type // { inherit description; };
  duration = described ''duration, such as "90s" or "1h30m"'' (
    types.strMatching "([0-9]+[smhd][[:space:]]*)+"
  );
  size = described ''size, such as "16MiB" or "1 GB"'' (
    types.strMatching "[0-9]+ *(B|[KMGT]iB|[KMGT]B)"
  );

  field =
    type: description: example:
    mkOption {
      type = types.nullOr type;
      default = null;
      inherit description example;
    };
in
{
  inherit duration field;
  text = field types.str;
  texts = field (types.listOf types.str);
  # A string and not a path: a path would be copied into the store, which every user can read.
  file = field types.str;
  integer = from: to: field (types.ints.between from to);
  count = field types.ints.unsigned;
  port = field types.port;
  word = words: field (types.enum words);
  age = field duration;
  bytes = field size;
  switch =
    description:
    mkOption {
      type = types.nullOr types.bool;
      default = null;
      inherit description;
    };
  table =
    options: description: example:
    mkOption {
      type = types.nullOr (types.submodule { inherit options; });
      default = null;
      inherit description example;
    };
}
