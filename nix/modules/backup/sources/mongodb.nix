# Options of MongoDB alone.
{ fields, ... }:
with fields;
[
  {
    kinds = [ "mongodb" ];
    options = {
      uriFile = file "File with the connection string, credentials included. It is required." "/run/secrets/mongodb-uri";
      parallelCollections =
        integer 1 16
          "This many collections of a database are read at the same time. The program's default is 4."
          2;
      consistency =
        word
          [
            "auto"
            "snapshot"
            "none"
          ]
          ''
            Whether all collections of a database show one moment: `auto` where the server can do it, which is the default;
            `snapshot` makes the item fail where it cannot; with `none` each collection is read as it is found.
          ''
          "snapshot";
    };
  }
]
