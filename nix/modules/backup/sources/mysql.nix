# Options of MySQL and MariaDB alone.
{ fields, ... }:
with fields;
[
  {
    kinds = [ "mysql" ];
    options.excludeTables =
      texts "Patterns of the tables and views to leave out, each as `DATABASE.TABLE`."
        [
          "shop.tmp_*"
          "*.cache"
        ];
  }
]
