# Discourse on this machine, at 03:30: its database over the socket, by a role that may only read and that only the
# services' user can log in as; and the uploaded files.
{
  config,
  lib,
  options,
  ...
}:
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
  postgresql = config.services.postgresql;
  local = import ./local-servers.nix { inherit config lib; };
  isDefault = shared.isDefault options.services.tik-backup.discourse.socket;
  quoted = name: "\"${lib.replaceStrings [ "\"" ] [ "\"\"" ] name}\"";
in
{
  options.services.tik-backup.discourse = {
    enable = mkEnableOption "backups of a Discourse on this machine";
    database = mkOption {
      type = types.str;
      default = "discourse";
      description = "Name of Discourse's database.";
    };
    socket = mkOption {
      type = types.str;
      default = "/run/postgresql";
      example = "/var/discourse/shared/standalone/postgres_run";
      description = ''
        Directory of PostgreSQL's socket. For a Discourse in a container it is the directory on this machine that the container has its
        socket in; the role is then made in the container.
      '';
    };
    createRole = mkOption {
      type = types.bool;
      default = config.services.postgresql.enable && source.socket == local.postgresqlSocket;
      defaultText = lib.literalMD "true where `services.postgresql` is enabled and `socket` is its socket";
      description = "Whether to create a role in this machine's PostgreSQL that may read everything. It is named like the services' user, who logs in as it over the socket.";
    };
    uploads = mkOption {
      type = types.nullOr types.str;
      default = "/var/lib/discourse/uploads";
      example = "/var/discourse/shared/standalone/uploads";
      description = "Directory of the uploaded files. With null no files are backed up.";
    };
    schedule = shared.schedule "03:30";
  };

  config = mkIf (cfg.enable && source.enable) {
    assertions = [
      {
        assertion = !source.createRole || postgresql.enable;
        message = "services.tik-backup.discourse.createRole: there is no PostgreSQL to make the role in; enable services.postgresql, or make the role in the server that has the database and set createRole to false";
      }
      {
        assertion =
          !source.createRole
          || !postgresql.enable
          || lib.versionAtLeast (lib.getVersion local.postgresqlPackage) "14";
        message = "services.tik-backup.discourse.createRole: the role becomes a member of pg_read_all_data, which exists since PostgreSQL 14, and services.postgresql.package is ${lib.getVersion local.postgresqlPackage}; upgrade the server, or set createRole to false and grant a role of your own what it reads";
      }
    ];
    # A Discourse in a container is fine if its socket is mounted here and named.
    warnings =
      lib.optional (!postgresql.enable && isDefault)
        "services.tik-backup.discourse: services.postgresql is not enabled, so nothing on this machine makes ${source.socket}, and the backup fails unless a container has its socket there; set services.tik-backup.discourse.socket to the directory of that socket, or to \"${source.socket}\" if it is this one";

    services.tik-backup.sources = {
      discourse = lib.mapAttrs (_: mkDefault) {
        kind = "postgres";
        host = source.socket;
        port = if source.socket == local.postgresqlSocket then local.postgresqlPort else 5432;
        inherit (cfg) user;
        inherit (source) schedule;
        databases = [ source.database ];
        # Only a superuser reads password hashes; Discourse logs in over the socket, without a password.
        rolePasswords = "never";
      };
      discourse-uploads = mkIf (source.uploads != null) (
        lib.mapAttrs (_: mkDefault) {
          kind = "directory";
          inherit (source) schedule;
          paths = [ source.uploads ];
        }
      );
    };

    services.postgresql.ensureUsers = mkIf source.createRole [ { name = cfg.user; } ];
    systemd.services.tik-backup-role = mkIf source.createRole {
      description = "Role for backups, which may read everything and change nothing";
      requires = [ local.postgresqlUnit ];
      after = [ local.postgresqlUnit ];
      environment.PGPORT = toString local.postgresqlPort;
      wantedBy = [ "multi-user.target" ];
      path = [ local.postgresqlPackage ];
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
