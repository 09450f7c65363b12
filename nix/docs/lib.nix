# The part of nixpkgs' `lib` that the declarations of options use, so that the page of options can be made, and checked,
# where nixpkgs is not at hand. Types have only what the page shows: their name, their description, and the options below
# them. Nothing here merges or checks values; `config` is never looked at.
let
  inherit (builtins)
    attrNames
    concatLists
    concatStringsSep
    elem
    elemAt
    filter
    foldl'
    functionArgs
    head
    isAttrs
    isFunction
    isList
    isPath
    isString
    length
    listToAttrs
    mapAttrs
    stringLength
    substring
    tail
    toJSON
    ;

  lib = builtins // {
    inherit collect mergeOptions types;

    # Options.
    mkOption = option: option // { _type = "option"; };
    mkEnableOption =
      what:
      lib.mkOption {
        type = types.bool;
        default = false;
        example = true;
        description = "Whether to enable ${what}.";
      };
    literalExpression = text: {
      _type = "literalExpression";
      inherit text;
    };
    literalMD = text: {
      _type = "literalMD";
      inherit text;
    };

    # Functions.
    id = value: value;
    toList = value: if isList value then value else [ value ];

    # Lists.
    optional = condition: value: if condition then [ value ] else [ ];
    optionals = condition: values: if condition then values else [ ];
    concatMap = function: list: concatLists (map function list);
    range =
      first: last:
      if first > last then [ ] else builtins.genList (index: index + first) (last - first + 1);
    last = list: elemAt list (length list - 1);
    unique = foldl' (list: value: if elem value list then list else list ++ [ value ]) [ ];

    # Strings.
    concatStrings = concatStringsSep "";
    concatMapStrings = function: list: concatStringsSep "" (map function list);
    concatMapStringsSep =
      separator: function: list:
      concatStringsSep separator (map function list);
    optionalString = condition: text: if condition then text else "";
    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    hasSuffix =
      suffix: text:
      let
        start = stringLength text - stringLength suffix;
      in
      start >= 0 && substring start (stringLength text) text == suffix;
    removePrefix =
      prefix: text:
      if lib.hasPrefix prefix text then
        substring (stringLength prefix) (stringLength text) text
      else
        text;
    removeSuffix =
      suffix: text:
      if lib.hasSuffix suffix text then
        substring 0 (stringLength text - stringLength suffix) text
      else
        text;
    stringToCharacters = text: builtins.genList (index: substring index 1 text) (stringLength text);
    toLower = builtins.replaceStrings (lib.stringToCharacters upper) (lib.stringToCharacters lower);

    # Attribute sets.
    nameValuePair = name: value: { inherit name value; };
    genAttrs = names: function: listToAttrs (map (name: lib.nameValuePair name (function name)) names);
    mapAttrs' = function: set: listToAttrs (map (name: function name set.${name}) (attrNames set));
    mapAttrsToList = function: set: map (name: function name set.${name}) (attrNames set);
    filterAttrs = keep: set: removeAttrs set (filter (name: !keep name set.${name}) (attrNames set));
    optionalAttrs = condition: set: if condition then set else { };
  };

  lower = "abcdefghijklmnopqrstuvwxyz";
  upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

  # All options that a module and its imports declare.
  collect =
    arguments: module:
    let
      inherit (evaluated arguments module) options imports;
    in
    foldl' mergeOptions options (map (collect arguments) imports);
  evaluated =
    arguments: module:
    let
      given = if isPath module || isString module then import module else module;
      # Arguments that a file uses only in its `config` may be missing.
      absent = mapAttrs (name: _: throw "the argument ${name} of modules is not known here") (
        functionArgs given
      );
    in
    {
      options = { };
      imports = [ ];
    }
    // (if isFunction given then given (absent // arguments) else given);

  isOption = value: value._type or null == "option";
  mergeOptions =
    a: b:
    if isOption a && isOption b then
      # The same option in two files: the options below it are merged.
      a
      // b
      // {
        type = a.type // {
          getSubOptions = prefix: mergeOptions (a.type.getSubOptions prefix) (b.type.getSubOptions prefix);
        };
      }
    else if isOption a || isOption b then
      throw "an option cannot have options beside its type"
    else
      a // b // mapAttrs (name: mergeOptions a.${name}) (builtins.intersectAttrs a b);

  # A description inside that of another type gets parentheses unless its class is one of these.
  phrase =
    classes: type:
    if elem (type.class or null) classes then type.description else "(${type.description})";

  plain = name: description: class: {
    inherit name description class;
    _type = "option-type";
    getSubOptions = _: { };
    nestedTypes = { };
  };
  noun = name: description: plain name description "noun";
  around =
    name: description: class: inner:
    plain name description class
    // {
      getSubOptions = inner.getSubOptions;
      nestedTypes.elemType = inner;
    };
  between = low: high: "between ${toString low} and ${toString high} (both inclusive)";
  sized =
    bits: high:
    noun "unsignedInt${toString bits}" "${toString bits} bit unsigned integer; ${between 0 high}";

  types = {
    anything = noun "anything" "anything";
    raw = noun "raw" "raw value";
    unspecified = noun "unspecified" "unspecified value";
    bool = noun "bool" "boolean";
    int = noun "int" "signed integer";
    float = noun "float" "floating point number";
    number = types.either types.int types.float;
    str = noun "str" "string";
    nonEmptyStr = noun "nonEmptyStr" "non-empty string";
    singleLineStr = noun "singleLineStr" "(optionally newline-terminated) single-line string";
    lines = noun "separatedString" "strings concatenated with ${toJSON "\n"}";
    strMatching =
      pattern: noun "strMatching ${toJSON pattern}" "string matching the pattern ${pattern}";
    path = noun "path" "absolute path";
    package = noun "package" "package";
    attrs = plain "attrs" "attribute set" null;

    ints = {
      between = low: high: noun "intBetween" "integer ${between low high}";
      unsigned = plain "unsignedInt" "unsigned integer, meaning >=0" "nonRestrictiveClause";
      positive = plain "positiveInt" "positive integer, meaning >0" "nonRestrictiveClause";
      u8 = sized 8 255;
      u16 = sized 16 65535;
      u32 = sized 32 4294967295;
    };
    port = types.ints.u16;

    enum =
      values:
      let
        show =
          value:
          if isString value then
            "\"${value}\""
          else if isAttrs value then
            "<set>"
          else
            toJSON value;
      in
      if length values == 1 then
        noun "enum" "value ${show (head values)} (singular enum)"
      else
        plain "enum" "one of ${concatStringsSep ", " (map show values)}" "conjunction";

    listOf = inner: around "listOf" "list of ${phrase [ "noun" "composite" ] inner}" "composite" inner;
    nonEmptyListOf =
      inner: types.listOf inner // { description = "non-empty (${(types.listOf inner).description})"; };
    attrsOf =
      inner: around "attrsOf" "attribute set of ${phrase [ "noun" "composite" ] inner}" "composite" inner;
    lazyAttrsOf =
      inner:
      around "lazyAttrsOf" "lazy attribute set of ${
        phrase [ "noun" "composite" ] inner
      }" "composite" inner;
    nullOr =
      inner: around "nullOr" "null or ${phrase [ "noun" "conjunction" ] inner}" "conjunction" inner;

    either =
      a: b:
      plain "either" (
        if a.class == "nonRestrictiveClause" then
          "${a.description}, or ${phrase [ "noun" "conjunction" ] b}"
        else
          "${phrase [ "noun" "conjunction" ] a} or ${phrase [ "noun" "conjunction" "composite" ] b}"
      ) "conjunction";
    oneOf = list: foldl' types.either (head list) (tail list);

    coercedTo =
      from: _: to:
      plain "coercedTo" "${phrase [ "noun" ] to} or ${phrase [ "noun" ] from} convertible to it" null
      // {
        inherit (to) getSubOptions;
        nestedTypes.finalType = to;
      };

    submodule = module: types.submoduleWith { modules = lib.toList module; };
    submoduleWith =
      {
        modules,
        specialArgs ? { },
        description ? null,
        ...
      }:
      let
        arguments = {
          inherit lib;
          name = "‹name›";
          config = throw "the configuration of a submodule is not looked at";
          options = throw "the options of a submodule are not looked at";
        }
        // specialArgs;
        free = filter (one: one ? freeformType) (map (evaluated arguments) modules);
        inner = (head free).freeformType;
      in
      plain "submodule" (
        if description != null then
          description
        else if free == [ ] then
          "submodule"
        else
          "open submodule of ${phrase [ "noun" "composite" ] inner}"
      ) null
      // {
        getSubOptions = _: foldl' mergeOptions { } (map (collect arguments) modules);
      };
  };
in
lib
