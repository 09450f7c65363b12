# Stands in for sops-nix: the options that administrators set and modules read, with sops-nix' defaults.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  text =
    default:
    mkOption {
      type = types.str;
      inherit default;
    };
  maybe = mkOption {
    type = types.nullOr types.str;
    default = null;
  };
  cfg = config.sops;
  secret = types.submodule (
    { config, name, ... }:
    {
      options = {
        name = text name;
        key = text (if cfg.defaultSopsKey != null then cfg.defaultSopsKey else name);
        path = text (
          if config.neededForUsers then
            "/run/secrets-for-users/${config.name}"
          else
            "/run/secrets/${config.name}"
        );
        format = mkOption {
          type = types.enum [
            "yaml"
            "json"
            "binary"
            "dotenv"
            "ini"
          ];
          default = cfg.defaultSopsFormat;
        };
        sopsFile = mkOption { type = types.path; };
        mode = text "0400";
        owner = maybe;
        group = maybe;
        neededForUsers = lib.mkEnableOption "the secret before there are users";
        restartUnits = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
      };
      config.sopsFile = lib.mkOptionDefault cfg.defaultSopsFile;
    }
  );
  template = types.submodule (
    { config, name, ... }:
    {
      options = {
        name = text name;
        path = text "/run/secrets/rendered/${config.name}";
        content = mkOption {
          type = types.lines;
          default = "";
        };
        mode = text "0400";
        owner = maybe;
      };
    }
  );
in
{
  options.sops = {
    defaultSopsFile = mkOption { type = types.path; };
    defaultSopsFormat = text "yaml";
    defaultSopsKey = maybe;
    validateSopsFiles = mkOption {
      type = types.bool;
      default = true;
    };
    age.keyFile = maybe;
    secrets = mkOption {
      type = types.attrsOf secret;
      default = { };
    };
    templates = mkOption {
      type = types.attrsOf template;
      default = { };
    };
    placeholder = mkOption {
      type = types.attrsOf types.str;
      default = lib.mapAttrs (name: _: "<SOPS:${name}:PLACEHOLDER>") cfg.secrets;
    };
  };
}
