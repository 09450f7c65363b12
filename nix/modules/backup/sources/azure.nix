# Options for Azure: storage accounts, and with `azure` the database servers of a tenant.
{ fields, ... }:
with fields;
[
  {
    kinds = [
      "azure-storage"
      "postgres"
      "mysql"
    ];
    options = {
      tenantIdFile = file "File with the id of the tenant. Kind `azure-storage` and `azure` require it." "/run/secrets/azure-tenant-id";
      clientIdFile = file "File with the client id of the service principal. Kind `azure-storage` and `azure` require it." "/run/secrets/azure-client-id";
      clientSecretFile = file "File with the secret of the service principal. Kind `azure-storage` and `azure` require it." "/run/secrets/azure-client-secret";
      authority = text "URL of the service that issues tokens. The program's default is that of the public cloud." "https://login.chinacloudapi.cn";
      managementEndpoint = text "URL of Resource Manager. The program's default is that of the public cloud." "https://management.chinacloudapi.cn";
      managementScope = text "Scope of the tokens for Resource Manager. By default it is made of `managementEndpoint`." "https://management.chinacloudapi.cn/.default";
      storageScope = text "Scope of the tokens for storage. The program's default is that of the public cloud." "https://storage.azure.com/.default";
    };
  }
  {
    kinds = [ "azure-storage" ];
    options = {
      accounts =
        texts
          "Patterns of the storage accounts to back up. By default all are backed up; an empty list is an error."
          [ "tikprod*" ];
      excludeAccounts = texts "Patterns of the storage accounts to leave out." [ "tikprodterraform" ];
      excludeContainers = texts "Patterns of the blob containers to leave out, in every account." [
        "*-tmp"
      ];
      excludeShares = texts "Patterns of the file shares to leave out, in every account." [ "scratch" ];
      parallelDownloads =
        integer 1 64
          "This many blobs or files of an item are read at the same time. The program's default is 16."
          4;
    };
  }
]
