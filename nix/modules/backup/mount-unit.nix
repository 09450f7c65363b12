# The name of the unit that mounts something at a path: systemd.unit(5), "String escaping". Only built-in functions are
# used, as in units.nix.
let
  inherit (builtins)
    concatStringsSep
    elemAt
    filter
    fromJSON
    genList
    isString
    length
    listToAttrs
    match
    split
    stringLength
    substring
    ;
  digits = [
    "0"
    "1"
    "2"
    "3"
    "4"
    "5"
    "6"
    "7"
    "8"
    "9"
    "a"
    "b"
    "c"
    "d"
    "e"
    "f"
  ];
  hex = number: elemAt digits (number / 16) + elemAt digits (number - (number / 16) * 16);
  bytes = text: genList (index: substring index 1 text) (stringLength text);

  # Nix has no function for the value of a byte, so that a table is built from UTF-8 sequences.
  char = code: fromJSON "\"\\u${hex (code / 256)}${hex (code - (code / 256) * 256)}\"";
  # 128 to 191 are the second byte of the characters with the same numbers.
  following = genList (index: {
    name = substring 1 1 (char (128 + index));
    value = hex (128 + index);
  }) 64;
  first = text: value: {
    name = substring 0 1 text;
    value = hex value;
  };
  ofTwo = genList (index: first (char ((index + 2) * 64)) (194 + index)) 30;
  ofThree = genList (
    index: first (char (if index == 0 then 2048 else index * 4096)) (224 + index)
  ) 16;
  ofFour = map (one: first (fromJSON one.text) one.value) [
    {
      text = "\"\\ud800\\udc00\"";
      value = 240;
    }
    {
      text = "\"\\ud8c0\\udc00\"";
      value = 241;
    }
    {
      text = "\"\\ud9c0\\udc00\"";
      value = 242;
    }
    {
      text = "\"\\udac0\\udc00\"";
      value = 243;
    }
    {
      text = "\"\\udbc0\\udc00\"";
      value = 244;
    }
  ];
  ascii = genList (index: {
    name = char (index + 1);
    value = hex (index + 1);
  }) 127;
  codes = listToAttrs (ascii ++ following ++ ofTwo ++ ofThree ++ ofFour);

  one =
    index: byte:
    if byte == "/" then
      "-"
    else if match "[A-Za-z0-9:_.]" byte != null && !(byte == "." && index == 0) then
      byte
    else
      "\\x" + codes.${byte};
in
path:
let
  parts = filter (part: isString part && part != "") (split "/" path);
  joined = bytes (concatStringsSep "/" parts);
in
if parts == [ ] then
  "-.mount"
else
  concatStringsSep "" (genList (index: one index (elemAt joined index)) (length joined)) + ".mount"
