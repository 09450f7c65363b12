"""Asks the fake of Azure with Microsoft's own clients and prints what they understood as JSON.

Reads {"url", "token", "subscription", "account", "key", "share"} from standard input.
"""

import json
import sys
import time

from azure.core.credentials import AccessToken
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.mgmt.mysqlflexibleservers import MySQLManagementClient
from azure.mgmt.postgresqlflexibleservers import PostgreSQLManagementClient
from azure.mgmt.resource.subscriptions import SubscriptionClient
from azure.mgmt.storage import StorageManagementClient
from azure.storage.fileshare import NTFSAttributes, ShareServiceClient


class Token:
    """A token that was fetched elsewhere."""

    def __init__(self, token):
        self.token = token

    def get_token(self, *_scopes, **_options):
        return AccessToken(self.token, int(time.time()) + 3600)


def manage(given):
    """What Resource Manager tells."""
    # Tokens go over plain HTTP only if that is asked for.
    plain = {"enforce_https": False}
    place = {"base_url": given["url"], "credential_scopes": ["unused"]}
    token = Token(given["token"])
    one = given["subscription"]
    subscriptions = SubscriptionClient(token, **place).subscriptions.list(**plain)
    storage = StorageManagementClient(token, one, **place)
    accounts = list(storage.storage_accounts.list(**plain))
    keys = storage.storage_accounts.list_keys("rg-" + given["account"], given["account"], **plain)
    postgres = PostgreSQLManagementClient(token, one, **place)
    mysql = MySQLManagementClient(token, one, **place)
    servers = postgres.servers
    # The two packages differ in how they call the same list.
    list_postgres = getattr(servers, "list_by_subscription", None) or servers.list
    return {
        "subscriptions": [[s.subscription_id, s.display_name, str(s.state)] for s in subscriptions],
        "accounts": [
            [a.name, a.primary_endpoints.file, a.primary_endpoints.blob, a.is_hns_enabled, a.allow_shared_key_access]
            for a in accounts
        ],
        "keys": [key.value for key in keys.keys_property if key.permissions] if hasattr(keys, "keys_property")
        else [key.value for key in keys.keys],
        "postgres": [[s.name, s.fully_qualified_domain_name, str(s.version)] for s in list_postgres(**plain)],
        "mysql": [[s.name, s.fully_qualified_domain_name] for s in mysql.servers.list(**plain)],
    }


def walk(share, path=""):
    """Every file and directory, with what its list says about it."""
    include = ["timestamps", "Etag", "Attributes", "PermissionKey"]
    found = []
    directory = share.get_directory_client(path)
    for entry in directory.list_directories_and_files(include=include, include_extended_info=True):
        inside = f"{path}/{entry.name}" if path else entry.name
        found.append(
            {
                "path": inside,
                "directory": entry.is_directory,
                "size": None if entry.is_directory else entry.size,
                "etag": bool(entry.etag),
                "written": str(entry.last_write_time),
                "attributes": str(entry.file_attributes),
                "id": bool(entry.file_id),
                "permission": entry.permission_key,
            }
        )
        if entry.is_directory:
            found += walk(share, inside)
    return found


def files(given):
    """What the File service does."""
    url = f"{given['url']}/{given['account']}"
    # A trailing dot of a name survives only if it is asked for.
    service = ShareServiceClient(url, credential={"account_name": given["account"], "account_key": given["key"]},
                                 allow_trailing_dot=True)
    live = service.get_share_client(given["share"])
    snapshot_id = live.create_snapshot(metadata={"tik_backup": "a_b", "tik1": "c"})["snapshot"]
    listed = [[s.name, s.snapshot, s.metadata, s.protocols, s.quota]
              for s in service.list_shares(include_snapshots=True, include_metadata=True)]
    snapshot = service.get_share_client(given["share"], snapshot=snapshot_id)

    target = live.get_file_client("up/loaded ä+%.bin")
    live.create_directory("up")
    try:
        live.create_directory("up")
        raise AssertionError("a directory was made twice")
    except ResourceExistsError as error:
        exists = error.error_code
    content = b"\0" * 5_000_000 + b"the end"
    target.upload_file(content, length=len(content), max_concurrency=1, metadata={"who": "me"},
                       file_attributes=NTFSAttributes(read_only=False, archive=True, hidden=True))
    properties = target.get_file_properties()

    found = walk(snapshot)
    reads = {}
    for entry in found:
        if not entry["directory"]:
            reads[entry["path"]] = snapshot.get_file_client(entry["path"]).download_file().readall().hex()
    part = snapshot.get_file_client("readme.txt").download_file(offset=2, length=3).readall().decode()

    key = live.create_permission_for_share("O:BAG:BAD:(A;;FA;;;BA)")
    permission = live.get_permission_for_share(key)
    try:
        snapshot.get_file_client("not there").download_file()
        raise AssertionError("a file that is not there was read")
    except ResourceNotFoundError as error:
        missing = error.error_code

    snapshot.delete_share()
    left = [s.snapshot for s in service.list_shares(include_snapshots=True) if s.snapshot]
    return {
        "listed": listed,
        "snapshot": snapshot_id,
        "found": found,
        "reads": reads,
        "part": part,
        "permission": permission,
        "exists": exists,
        "missing": missing,
        "left": left,
        "uploaded": [properties.size, properties.metadata, str(properties.file_attributes)],
    }


def main():
    given = json.load(sys.stdin)
    json.dump({"managed": manage(given), "files": files(given)}, sys.stdout)


main()
