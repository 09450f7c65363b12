# Stands in for agenix: the options that administrators set and modules read.
{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.age.identityPaths = mkOption {
    type = types.listOf types.path;
    default = [ ];
  };
  options.age.secrets = mkOption {
    default = { };
    type = types.attrsOf (
      types.submodule (
        { config, name, ... }:
        {
          options = {
            name = mkOption {
              type = types.str;
              default = name;
            };
            file = mkOption { type = types.path; };
            path = mkOption {
              type = types.str;
              default = "/run/agenix/${config.name}";
            };
            mode = mkOption {
              type = types.str;
              default = "0400";
            };
            owner = mkOption {
              type = types.str;
              default = "0";
            };
          };
        }
      )
    );
  };
}
