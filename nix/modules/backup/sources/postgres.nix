# Options of PostgreSQL alone.
{ fields, ... }:
with fields;
[
  {
    kinds = [ "postgres" ];
    options = {
      maintenanceDb = text "Database to connect to in order to list the others. The program's default is `postgres`." "defaultdb";
      rolePasswords =
        word
          [
            "auto"
            "never"
          ]
          "Whether the hashes of passwords are backed up with the roles: `auto` where the role may read them, which is the default, or `never`."
          "never";
    };
  }
]
