# The page of all options, docs/nixos-options.md, from what the module declares. Only built-in functions are needed:
#
#   nix --extra-experimental-features nix-command eval --raw --file nix/docs/options.nix page > docs/nixos-options.md
#
# With nixpkgs' own library (`--arg lib 'import /path/to/nixpkgs/lib'`) the same page comes out.
{
  lib ? import ./lib.nix,
}:
let
  inherit (builtins)
    attrNames
    concatStringsSep
    deepSeq
    elem
    filter
    head
    isAttrs
    isFunction
    isList
    isPath
    isString
    length
    map
    match
    replaceStrings
    split
    stringLength
    toJSON
    tryEval
    ;
  own = import ./lib.nix;
  inherit (own)
    concatMap
    hasPrefix
    last
    optional
    optionalString
    removePrefix
    removeSuffix
    unique
    ;
  layout = import ./layout.nix;

  # The arguments of the module's files. Only options are read: a default that depends on the configuration or on packages
  # has a `defaultText`.
  arguments = {
    inherit lib;
    config = throw "the page of options does not look at the configuration";
    options = throw "the page of options does not look at other options";
    pkgs.formats = {
      toml = _: {
        type = lib.types.anything // {
          description = "TOML value";
        };
      };
      json = _: {
        type = lib.types.anything // {
          description = "JSON value";
        };
      };
    };
  };
  declared = (own.collect arguments ../modules/backup).services.tik-backup;

  # A list of all options with their full names, those of submodules behind <name> or *.
  isOption = value: value._type or null == "option";
  placeholders =
    type:
    if
      elem type.name [
        "attrsOf"
        "lazyAttrsOf"
      ]
    then
      [ "<name>" ] ++ placeholders type.nestedTypes.elemType
    else if type.name == "listOf" then
      [ "*" ] ++ placeholders type.nestedTypes.elemType
    else if type.name == "nullOr" then
      placeholders type.nestedTypes.elemType
    else
      [ ];
  flat =
    path: value:
    if isOption value then
      optional (!(value.internal or false) && value.visible or true != false) { inherit path value; }
      ++ (
        if
          value.internal or false
          || elem (value.visible or true) [
            false
            "shallow"
          ]
        then
          [ ]
        else
          flat (path ++ placeholders value.type) (
            removeAttrs (value.type.getSubOptions [ ]) [
              "_module"
              "_freeformOptions"
            ]
          )
      )
    else
      concatMap (name: flat (path ++ [ name ]) value.${name}) (
        optional (value ? enable) "enable" ++ filter (name: name != "enable") (attrNames value)
      );

  # Values as Nix expressions. What fits on a line stays on one.
  indented =
    text: concatStringsSep "\n" (map (line: if line == "" then "" else "  ${line}") (lines text));
  lines = text: filter isString (split "\n" text);
  multiline = text: length (lines text) > 1;
  short = text: !multiline text && stringLength text <= 80;
  key = name: if match "[a-zA-Z_][a-zA-Z0-9_'-]*" name != null then name else toJSON name;
  show =
    value:
    if value._type or null == "literalExpression" then
      removeSuffix "\n" value.text
    else if isString value then
      replaceStrings [ "\${" ] [ "\\\${" ] (toJSON value)
    else if isList value then
      showList value
    else if isAttrs value && value.type or null != "derivation" then
      showAttrs value
    else if isAttrs value || isPath value || isFunction value then
      throw "this value cannot be shown"
    else
      toJSON value;
  showList =
    list:
    let
      item = value: if builtins.isInt value && value < 0 then "(${toJSON value})" else show value;
      items = map item list;
      line = "[ ${concatStringsSep " " items} ]";
    in
    if list == [ ] then
      "[ ]"
    else if short line then
      line
    else
      "[\n${indented (concatStringsSep "\n" items)}\n]";
  showAttrs =
    set:
    let
      items = map (name: "${key name} = ${show set.${name}};") (attrNames set);
      line = "{ ${concatStringsSep " " items} }";
    in
    if set == { } then
      "{ }"
    else if short line then
      line
    else
      "{\n${indented (concatStringsSep "\n" items)}\n}";

  code = text: if match ".*`.*" text == null then "`${text}`" else "`` ${text} ``";
  escape = replaceStrings [ "\\" "*" "_" "<" "[" ] [ "\\\\" "\\*" "\\_" "\\<" "\\[" ];

  # An option in the form of the page: every value is a text, as Nix or, marked with its type, as Markdown.
  option =
    { path, value }:
    let
      name = concatStringsSep "." path;
      shown =
        what: given:
        let
          text = if given._type or null == "literalMD" then given else show given;
          tried = tryEval (deepSeq text text);
        in
        if tried.success then
          tried.value
        else
          throw "services.tik-backup.${name}: this ${what} depends on the configuration or is no plain value; add ${what}Text, or use literalExpression";
    in
    {
      inherit name;
      type = value.type.description;
      description = removeSuffix "\n" (
        value.description or (throw "services.tik-backup.${name} has no description")
      );
      default =
        if value ? defaultText then
          shown "default" (
            if isString value.defaultText then lib.literalExpression value.defaultText else value.defaultText
          )
        else if value ? default then
          shown "default" value.default
        else
          null;
      example = if value ? example then shown "example" value.example else null;
      # For a source: the kinds that the option is for, as the last line of its description says; none for all.
      kinds =
        let
          said = match "For sources of kind (.*)[.]" (last (lines (removeSuffix "\n" value.description)));
        in
        if said == null then
          [ ]
        else
          filter (word: isString word && match "[a-z-]+" word != null) (split "[`, ]+" (head said));
    };
  all = map option (flat [ ] declared);

  # As GitHub makes anchors of headings: without punctuation, in lower case.
  anchor =
    text:
    own.toLower (
      concatStringsSep "" (
        map (character: if character == " " then "-" else character) (
          filter (character: match "[a-zA-Z0-9 _-]" character != null) (own.stringToCharacters text)
        )
      )
    );

  field =
    what: text:
    if text == null then
      ""
    else if isAttrs text then
      "- ${what}: ${removeSuffix "\n" text.text}\n"
    else if short text then
      "- ${what}: ${code text}\n"
    else
      "- ${what}:\n\n${indented "```nix\n${text}\n```"}\n";
  block = one: ''
    ### ${code one.name}

    ${one.description}

    - Type: ${escape one.type}
    ${
      if one.default == null then "- Required: there is no default\n" else field "Default" one.default
    }${field "Example" one.example}'';

  # An option without a group comes at the end, so that a new one is never missing.
  under =
    name: one:
    if own.hasSuffix ".*" name then hasPrefix (removeSuffix "*" name) one.name else one.name == name;
  takes = group: one: builtins.any (name: under name one) group.options;
  members =
    group:
    let
      found = unique (concatMap (name: filter (under name) all) group.options);
    in
    unique (
      filter (one: one.kinds == [ ]) found
      ++ concatMap (kind: filter (ofKind kind) found) (group.kinds or [ ])
      ++ found
    );
  ofKind = kind: one: elem kind one.kinds;
  rest = filter (one: !builtins.any (group: takes group one) layout.groups) all;
  groups =
    map (group: group // { members = members group; }) layout.groups
    ++ optional (rest != [ ]) {
      title = "Others";
      prefix = "";
      intro = "";
      members = rest;
    };
  present = filter (group: group.members != [ ]) groups;

  contents =
    group:
    let
      link = one: "[${code (removePrefix "${group.prefix}." one.name)}](#${anchor one.name})";
      links = list: concatStringsSep ", " (map link list);
      prefix = optionalString (group.prefix != "") " (${code "${group.prefix}.…"})";
    in
    "- [${group.title}](#${anchor group.title})${prefix}:"
    + (
      if group ? kinds then
        "\n  - every kind: ${links (filter (one: one.kinds == [ ]) group.members)}"
        + own.concatMapStrings (
          kind: "\n  - ${code kind}: ${links (filter (ofKind kind) group.members)}"
        ) group.kinds
      else
        " ${links group.members}"
    );
  section =
    group:
    concatStringsSep "\n" (
      [ "## ${group.title}\n" ]
      ++ optional (group.intro != "") "${group.intro}\n"
      ++ map block group.members
    );
in
{
  options = all;
  page = concatStringsSep "\n" (
    [ layout.introduction ] ++ map contents present ++ [ "" ] ++ map section present
  );
}
