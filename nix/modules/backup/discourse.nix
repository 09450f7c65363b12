# Discourse on this machine, at half past three: its database over the socket, by a role that may only read and that
# only the services' own user can log in as; and the files that people uploaded.
{ config, lib, ... }:
let
  inherit (lib)
    mkDefault
    mkEnableOption
    mkIf
    mkOption
    types
    ;
  shared = import ./options.nix { inherit lib; };
  cfg = config.services.tik-backup;
  source = cfg.discourse;
  port = config.services.postgresql.settings.port or 5432;
  # Where there is the target, the server is set up only when that is reached.
  ready = if config.systemd.targets ? postgresql then "postgresql.target" else "postgresql.service";
  quoted = name: "\"${lib.replaceStrings [ "\"" ] [ "\"\"" ] name}\"";
in
{
  options.services.tik-backup.discourse = {
    enable = mkEnableOption "backups of a Discourse on this machine";
    database = mkOption {
      type = types.str;
      default = "discourse";
      description = "Name of the database.";
    };
    socket = mkOption {
      type = types.str;
      default = "/run/postgresql";
      description = "Folder of PostgreSQL's socket.";
    };
    createRole = mkOption {
      type = types.bool;
      default = config.services.postgresql.enable;
      defaultText = lib.literalExpression "config.services.postgresql.enable";
      description = "Whether to make the role, named like the services' user, in this machine's PostgreSQL.";
    };
    uploads = mkOption {
      type = types.nullOr types.str;
      default = "/var/lib/discourse/uploads";
      example = "/var/discourse/shared/standalone/uploads";
      description = "Folder of what people uploaded; null for none.";
    };
    schedule = shared.schedule "03:30";
  };

  config = mkIf (cfg.enable && source.enable) {
    services.tik-backup.settings.sources = {
      discourse = {
        kind = "postgres";
        host = source.socket;
        inherit (cfg) user;
        inherit (source) schedule;
        databases = [ source.database ];
        # Only a superuser reads the hashes of passwords; Discourse logs in over the socket, without one.
        role_passwords = mkDefault "never";
        port = mkDefault port;
      };
    }
    // lib.optionalAttrs (source.uploads != null) {
      discourse-uploads = {
        kind = "directory";
        inherit (source) schedule;
        paths = [ source.uploads ];
      };
    };

    services.postgresql.ensureUsers = mkIf source.createRole [ { name = cfg.user; } ];
    systemd.services.tik-backup-role = mkIf source.createRole {
      description = "Role for backups, which may read everything and change nothing";
      requires = [ ready ];
      after = [ ready ];
      environment.PGPORT = toString port;
      wantedBy = [ "multi-user.target" ];
      path = [ config.services.postgresql.package ];
      script = ''
        psql -X -v ON_ERROR_STOP=1 -d postgres -c 'GRANT pg_read_all_data TO ${quoted cfg.user}'
      '';
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        User = "postgres";
      };
    };
  };
}
