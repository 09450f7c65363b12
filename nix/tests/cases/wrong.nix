# Configurations that must not evaluate, with the text that the error must have.
lib':
let
  inherit (lib')
    azurePostgres
    backup
    box
    cifs
    one
    withSops
    ;
in
{
  sourceWithoutKind = {
    modules = [ (backup { sources.x.schedule = "01:00"; }) ];
    says = "sources.x.kind' ";
  };
  sourceUnknownOption = {
    modules = [
      (backup {
        sources.x = {
          kind = "mysql";
          shedule = "01:00";
        };
      })
    ];
    says = "sources.x.shedule' does not exist";
  };
  sourceUnknownKind = {
    modules = [ (backup { sources.x.kind = "oracle"; }) ];
    says = "sources.x.kind' is not of type";
  };
  unknownOption = {
    modules = [
      one
      (backup { azurePostgres.hots = "x"; })
    ];
    says = "azurePostgres.hots' does not exist";
  };
  wrongType = {
    modules = [
      one
      (backup { retention.daily = "seven"; })
    ];
    says = "retention.daily";
  };
  wrongProtocol = {
    modules = [
      one
      box
      (backup { storageBox.protocol = "nfs"; })
    ];
    says = "storageBox.protocol";
  };
  noHost = {
    modules = [ (backup { azurePostgres.enable = true; }) ];
    says = "azurePostgres.host' ";
  };
  secretAsPath = {
    modules = [
      one
      (backup { secrets.resticPassword = ../eval.nix; })
    ];
    says = "secrets.resticPassword' is not of type";
  };
  unknownSecret = {
    modules = [
      one
      (backup { secrets.resticPasword = "/x"; })
    ];
    says = "secrets.resticPasword' does not exist";
  };
  declareUnknown = {
    modules = [
      withSops
      one
      (backup { secrets.declare = [ "restic" ]; })
    ];
    says = "secrets.declare";
  };
  function = {
    modules = [
      one
      (backup { settings.x = y: y; })
    ];
    says = "settings.x";
  };
  twoSchedules = {
    modules = [
      one
      (backup { azurePostgres.schedule = "01:00"; })
      (backup { azurePostgres.schedule = "02:00"; })
    ];
    says = "conflicting definition values";
  };
  boxAndOwnMount = {
    modules = [
      one
      box
      (cifs [ ])
    ];
    says = "fileSystems.\"/mnt/backup\".device";
  };
  channelNotAList = {
    modules = [
      one
      (backup { alerting.channels.kind = "ntfy"; })
    ];
    says = "alerting.channels";
  };
  uidZero = {
    modules = [
      one
      (backup { uid = 0; })
    ];
    says = "services.tik-backup.uid";
  };
}
