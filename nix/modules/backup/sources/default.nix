# services.tik-backup.sources: any number of sources with typed options. Each option stands for one key of the
# configuration; its name is that of the key in camel case. Options that are not set are not written into the configuration.
{ config, lib, ... }:
let
  inherit (lib)
    concatLists
    concatMapStringsSep
    mapAttrs
    mkDefault
    mkIf
    mkOption
    types
    ;
  cfg = config.services.tik-backup;
  fields = import ./fields.nix { inherit lib; };
  local = import ../local-servers.nix { inherit config lib; };

  allKinds = [
    "postgres"
    "mysql"
    "mongodb"
    "azure-storage"
    "directory"
  ];
  quoted = concatMapStringsSep ", " (kind: "`${kind}`");

  # Groups of options with the kinds that they are for.
  groups = lib.concatMap (file: import file { inherit fields lib; }) [
    ./common.nix
    ./server.nix
    ./postgres.nix
    ./mysql.nix
    ./mongodb.nix
    ./azure.nix
    ./directory.nix
  ];
  merge = lib.foldl' (all: one: all // one) { };
  kindsOf = merge (map (group: mapAttrs (_: _: group.kinds or allKinds) group.options) groups);
  optionsOf = merge (
    map (
      group:
      mapAttrs (
        _: option:
        option
        // lib.optionalAttrs (group ? kinds) {
          description = "${lib.removeSuffix "\n" option.description}\n\nFor sources of kind ${quoted group.kinds}.";
        }
      ) group.options
    ) groups
  );

  source = types.submodule {
    options = optionsOf // {
      kind = mkOption {
        type = types.enum allKinds;
        example = "postgres";
        description = "What the source is: ${quoted allKinds}.";
      };
    };
  };

  # passwordFile → password_file
  key = lib.stringAsChars (char: if char == lib.toLower char then char else "_${lib.toLower char}");
  # Without options that are not set.
  table =
    options:
    lib.filterAttrs (_: value: value != null && value != { }) (
      lib.mapAttrs' (
        name: value: lib.nameValuePair (key name) (if builtins.isAttrs value then table value else value)
      ) options
    );
  toSettings = source: lib.mapAttrsRecursive (_: mkDefault) (local.withPort (table source));

  isName = name: builtins.match "[A-Za-z0-9_][A-Za-z0-9._-]{0,63}" name != null;
  badNames = lib.filter (name: !isName name) (lib.attrNames (cfg.settings.sources or { }));
  misplaced =
    name: source:
    let
      wrong = option: source.${option} != null && !lib.elem source.kind kindsOf.${option};
    in
    map (option: {
      assertion = false;
      message =
        "services.tik-backup.sources.${name}.${option}: this option is for sources of kind "
        + "${lib.concatStringsSep ", " kindsOf.${option}}, but the kind of ${name} is ${source.kind}";
    }) (lib.filter wrong (lib.attrNames kindsOf));
in
{
  options.services.tik-backup.sources = mkOption {
    type = types.attrsOf source;
    default = { };
    example = lib.literalExpression ''
      {
        shop = {
          kind = "postgres";
          host = "db.example.org";
          user = "backup";
          passwordFile = "/run/secrets/shop-password";
          schedule = "02:15";
          retention.keepMonthly = 12;
        };
        wiki = {
          kind = "directory";
          paths = [ "/var/lib/wiki" ];
          schedule = "03:45";
        };
      }
    '';
    description = ''
      What is backed up, by the name of the source. The sources that `azurePostgres`, `azureMysql`, `mongodb`, `azureStorage` and
      `discourse` add are among them and may be changed here. `settings.sources` overrides the options here.
    '';
  };

  config = mkIf cfg.enable {
    services.tik-backup.settings.sources = mapAttrs (_: toSettings) cfg.sources;

    assertions =
      map (name: {
        assertion = false;
        message = "services.tik-backup.sources: ${builtins.toJSON name} is not a valid source name: use 1 to 64 of the characters A-Z a-z 0-9 . _ - and do not start with . or -";
      }) badNames
      ++ concatLists (lib.mapAttrsToList misplaced cfg.sources);
  };
}
