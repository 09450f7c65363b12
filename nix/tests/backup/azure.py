"""As much of Azure as the test of storage accounts needs beside Azurite, which is Microsoft's stand-in for the storage
services alone: `azure.py serve` gives tokens (Entra ID) and lists subscriptions, accounts and keys (Resource Manager);
`create`, `put`, `list` and `get` are a client of the account's blobs."""

import base64
import email.utils
import hashlib
import hmac
import html
import http.server
import json
import os
import re
import sys
import urllib.parse
import urllib.request

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
ACCOUNT = "tikprod"
# Listed too; nobody listens there.
EXCLUDED = "tikprodterraform"
KEY = base64.b64encode(b"the key of a storage account, of the test alone").decode()
BLOBS = "http://127.0.0.1:10000"
PORT = 8081
MANAGEMENT = f"http://127.0.0.1:{PORT}"
TOKEN = "a-token-for-resource-manager"


def secret(name):
    with open(f"/etc/mock/{name}", encoding="utf-8") as file:
        return file.read()


def account(name, blobs):
    return {
        "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/{name}",
        "name": name,
        "type": "Microsoft.Storage/storageAccounts",
        "kind": "StorageV2",
        "location": "westeurope",
        "properties": {"provisioningState": "Succeeded", "primaryEndpoints": {"blob": blobs}},
        "sku": {"name": "Standard_LRS", "tier": "Standard"},
    }


class Azure(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status, code):
        self.answer(status, {"error": {"code": code, "message": f"The request is refused: {code}."}})

    def token(self, form):
        expected = {
            "grant_type": "client_credentials",
            "client_id": secret("azureClientId"),
            "client_secret": secret("azureClientSecret"),
            "scope": f"{MANAGEMENT}/.default",
        }
        wrong = [key for key, value in expected.items() if form.get(key) != value]
        if wrong:
            text = f"AADSTS7000215: the test expects another {wrong[0]}."
            return self.answer(401, {"error": "invalid_client", "error_description": text, "error_codes": [7000215]})
        return self.answer(200, {"token_type": "Bearer", "expires_in": 3599, "access_token": TOKEN})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        path = urllib.parse.unquote(self.path.split("?")[0])
        if path == f"/{secret('azureTenantId')}/oauth2/v2.0/token":
            return self.token(dict(urllib.parse.parse_qsl(body)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401, "InvalidAuthenticationToken")
        if path.endswith(f"/storageAccounts/{ACCOUNT}/listKeys"):
            return self.answer(200, {"keys": [{"keyName": "key1", "value": KEY, "permissions": "FULL"}]})
        return self.refuse(404, "ResourceNotFound")

    def do_GET(self):
        path = self.path.split("?")[0]
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401, "InvalidAuthenticationToken")
        if path == "/subscriptions":
            known = {
                "id": f"/subscriptions/{SUBSCRIPTION}",
                "subscriptionId": SUBSCRIPTION,
                "displayName": "Guild",
                "state": "Enabled",
            }
            return self.answer(200, {"value": [known]})
        if path == f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Storage/storageAccounts":
            here = account(ACCOUNT, f"{BLOBS}/{ACCOUNT}/")
            return self.answer(200, {"value": [here, account(EXCLUDED, "http://127.0.0.1:9/")]})
        return self.refuse(404, "ResourceNotFound")


def ask(method, path, query=None, body=b"", headers=None):
    """A request to the account, signed with its key."""
    query = query or {}
    sent = {
        "x-ms-date": email.utils.formatdate(usegmt=True),
        "x-ms-version": "2021-12-02",
        **(headers or {}),
    }
    path = f"/{ACCOUNT}/{urllib.parse.quote(path)}"
    length = str(len(body)) if body else ""
    kind = "application/octet-stream" if body else ""
    lines = [method, "", "", length, "", kind, "", "", "", "", "", ""]
    lines += [f"{name}:{sent[name]}" for name in sorted(sent)]
    lines += [f"/{ACCOUNT}{path}"] + [f"{name}:{query[name]}" for name in sorted(query)]
    signature = hmac.new(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256)
    sent["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(signature.digest()).decode()}"
    if kind:
        sent["Content-Type"] = kind
    url = f"{BLOBS}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
    request = urllib.request.Request(url, data=body or None, headers=sent, method=method)
    with urllib.request.urlopen(request) as response:
        return response.read()


def create(container):
    ask("PUT", container, {"restype": "container"})


def put(container, name, text):
    ask("PUT", f"{container}/{name}", body=text.encode(), headers={"x-ms-blob-type": "BlockBlob"})


def get(container, name):
    sys.stdout.buffer.write(ask("GET", f"{container}/{name}"))


def listing(container):
    """All blobs of a container and the digests of what they hold."""
    answer = ask("GET", container, {"restype": "container", "comp": "list"}).decode()
    for name in sorted(map(html.unescape, re.findall("<Name>(.*?)</Name>", answer))):
        print(hashlib.sha256(ask("GET", f"{container}/{name}")).hexdigest(), name)


def serve():
    http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Azure).serve_forever()


if __name__ == "__main__":
    # What Azurite is to be started with.
    if sys.argv[1] == "azurite":
        os.environ["AZURITE_ACCOUNTS"] = f"{ACCOUNT}:{KEY}"
        os.execvp(sys.argv[2], sys.argv[2:])
    {"serve": serve, "create": create, "put": put, "get": get, "list": listing}[sys.argv[1]](*sys.argv[2:])
