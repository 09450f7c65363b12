"""The part of a tenant of Azure that a frozen set needs: blobs in Azurite; tokens, Resource Manager, one file share and
the receiver of alerts in a server of its own. It checks no credentials: the tests have a fake that does."""
import base64, hashlib, hmac, http.client, http.server, json, os, pathlib, subprocess, sys, threading, time, urllib.parse
from email.utils import formatdate
from xml.sax.saxutils import escape

import bench_servers

VERSION = "2025-05-05"
BLOBS, FILES = "tikprod", "tikfiles"
STAMP = "2020-02-03T04:05:06.7654321Z"
DATE = "Mon, 03 Feb 2020 04:05:06 GMT"


def key_of(account):
    return base64.b64encode(f"the key of {account}".encode()).decode()


class Azurite(bench_servers.Process):
    """Microsoft's emulator of the blob service, with one account."""

    def __init__(self, folder, tools):
        self.log = pathlib.Path(folder) / "azurite.log"
        program = pathlib.Path(tools) / "node_modules/azurite/dist/src/blob/main.js"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["node", program, "--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence",
                 "--disableTelemetry", "--silent"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
                env={**os.environ, "AZURITE_ACCOUNTS": f"{BLOBS}:{key_of(BLOBS)}", "HOME": str(folder)})
        for _ in range(600):
            lines = [line for line in self.log.read_text().splitlines() if "successfully listens on" in line]
            if lines:
                self.port = int(lines[0].rsplit(":", 1)[1])
                return
            time.sleep(0.1)
        sys.exit(f"Azurite did not start: {self.log.read_text()}")

    def endpoint(self):
        return f"http://127.0.0.1:{self.port}/{BLOBS}/"

    def put(self, path, query="", content=b"", headers=None):
        """A signed PUT; `path` begins with the container."""
        path = f"/{BLOBS}/" + urllib.parse.quote(path)
        ours = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02", **(headers or {})}
        plain = {key.lower(): value for key, value in ours.items()}
        canonical = "".join(f"{key}:{plain[key]}\n" for key in sorted(plain) if key.startswith("x-ms-"))
        # The emulator has the account in the path, so it appears twice in the signed text.
        resource = f"/{BLOBS}{path}" + "".join(f"\n{key}:{value}" for key, value in sorted(urllib.parse.parse_qsl(query)))
        standard = ["PUT", "", plain.get("content-language", ""), str(len(content) or ""), "", plain.get("content-type", ""),
                    "", "", "", "", "", ""]
        text = "\n".join(standard) + "\n" + canonical + resource
        mac = hmac.new(base64.b64decode(key_of(BLOBS)), text.encode(), hashlib.sha256).digest()
        ours["Authorization"] = f"SharedKey {BLOBS}:{base64.b64encode(mac).decode()}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("PUT", path + (f"?{query}" if query else ""), content, ours)
        answer = connection.getresponse()
        if answer.status != 201:
            sys.exit(f"Azurite refused {path}: {answer.status} {answer.read()}")

    def blob(self, container, name, content, **headers):
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        self.put(f"{container}/{name}", content=content, headers={"x-ms-blob-type": "BlockBlob", **named})

    def fill(self):
        """Returns the content by container and name."""
        stored = {
            "photos": {
                "2026/may/one.jpg": b"\xff\xd8 one", "2026/may/two.jpg": hashlib.shake_256(b"two").digest(70_000),
                "größe & maß.txt": "größe".encode(), "empty": b"", "a": b"a blob", "a/below": b"beside a folder of its name",
                "100% sure #1+?.bin": b"odd", "trailing dot.": b"dot"},
            "$web": {"index.html": b"<!doctype html><title>frozen</title>"},
            "empty-one": {},
        }
        for container, blobs in {**stored, "cache-tmp": {"x": b"excluded"}}.items():
            self.put(container, "restype=container")
            for name, content in blobs.items():
                self.blob(container, name, content)
        self.blob("photos", "with properties", b"content", x_ms_blob_content_type="text/x-odd; charset=\"utf-8\"",
                  x_ms_blob_cache_control="max-age=60", x_ms_meta_author="me & you")
        stored["photos"]["with properties"] = b"content"
        return stored


class Tenant:
    """Tokens, Resource Manager, an account of files, and the receiver of alerts."""

    def __init__(self, blobs):
        self.blobs, self.snapshots, self.messages = blobs, [], []
        self.files = {
            "plan.txt": b"the plan", "folder/below/deep.bin": hashlib.shake_256(b"deep").digest(60_000),
            "größe & maß/日本語.txt": b"odd", "empty": b"", " leading space": b"space", "100% sure+#": b"signs"}
        self.directories = {"nothing here": None, **{
            "/".join(name.split("/")[:depth]): None for name in self.files for depth in range(1, name.count("/") + 1)}}
        self.number = {name: n + 1 for n, name in enumerate([*self.directories, *self.files])}
        tenant = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self):
                tenant.answer(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request):
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        url = urllib.parse.urlsplit(request.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        path = urllib.parse.unquote(url.path)
        if path == "/hook":
            self.messages.append(body.decode())
            status, headers, content = 200, {}, b""
        elif path.endswith("/token") or path.startswith("/subscriptions"):
            status, headers, content = 200, {"content-type": "application/json"}, json.dumps(self.manage(path)).encode()
        else:
            status, headers, content = self.share(request.command, path.split("/", 2)[2:], query)
        request.send_response_only(status)
        for name, value in {"x-ms-version": VERSION, "Date": formatdate(usegmt=True), **headers}.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)

    def manage(self, path):
        if path.endswith("/token"):
            return {"token_type": "Bearer", "expires_in": 3599, "access_token": "a token"}
        if path.strip("/") == "subscriptions":
            return {"value": [{"subscriptionId": "s1", "displayName": "Production", "state": "Enabled"}]}
        if path.endswith("/listKeys"):
            return {"keys": [{"keyName": "key1", "value": key_of(path.split("/")[-2]), "permissions": "FULL"}]}
        endpoints = {BLOBS: {"blob": self.blobs.endpoint()}, FILES: {"file": f"{self.url}/{FILES}/"}}
        above = "/subscriptions/s1/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/"
        return {"value": [{"id": above + name, "name": name, "kind": "StorageV2",
                           "properties": {"primaryEndpoints": endpoints[name]}} for name in endpoints]}

    def share(self, method, path, query):
        path = path[0] if path else ""
        share, _, inner = path.partition("/")
        component = query.get("comp")
        if not share:
            return 200, XML, self.list_shares()
        if component == "snapshot":
            self.snapshots.append(f"2026-01-01T00:00:{len(self.snapshots):02}.0000000Z")
            return 201, {"x-ms-snapshot": self.snapshots[-1], "ETag": '"0x1"', "Last-Modified": DATE}, b""
        if method == "DELETE":
            self.snapshots.remove(query["sharesnapshot"])
            return 202, {}, b""
        if component == "list":
            return 200, XML, self.list_directory(inner)
        if query.get("restype") in ("share", "directory"):
            return 200, {**self.facts(inner, "Directory"), "x-ms-enabled-protocols": "SMB", "x-ms-share-quota": "100"}, b""
        facts = self.facts(inner, "Archive")
        return 200, {**facts, "Content-Type": "application/octet-stream", "x-ms-type": "File"}, self.files[inner]

    def facts(self, path, attributes):
        return {"ETag": f'"0x{self.number.get(path, 0)}"', "Last-Modified": DATE, "x-ms-file-attributes": attributes,
                "x-ms-file-creation-time": STAMP, "x-ms-file-last-write-time": STAMP, "x-ms-file-change-time": STAMP,
                "x-ms-file-permission-key": "1*1", "x-ms-file-id": str(self.number.get(path, 0))}

    def list_shares(self):
        one = "<Properties><Last-Modified>{0}</Last-Modified><Etag>\"0x1\"</Etag><Quota>100</Quota>" \
              "<EnabledProtocols>SMB</EnabledProtocols></Properties><Metadata/>".format(DATE)
        known = "".join(f"<Share><Name>docs</Name><Snapshot>{id}</Snapshot>{one}</Share>" for id in self.snapshots)
        return document(f"<Shares>{known}<Share><Name>docs</Name>{one}</Share></Shares>")

    def list_directory(self, inner):
        entries = []
        for path in sorted([*self.directories, *self.files]):
            above, _, name = path.rpartition("/")
            if above != inner:
                continue
            kind = "File" if path in self.files else "Directory"
            length = f"<Content-Length>{len(self.files[path])}</Content-Length>" if kind == "File" else ""
            times = "".join(f"<{what}>{STAMP}</{what}>" for what in ("CreationTime", "LastAccessTime", "LastWriteTime",
                                                                   "ChangeTime"))
            entries.append(
                f"<{kind}><Name>{escape(name)}</Name><FileId>{self.number[path]}</FileId><Properties>{length}{times}"
                f"<Last-Modified>{DATE}</Last-Modified><Etag>\"0x{self.number[path]}\"</Etag></Properties>"
                f"<Attributes>{'Archive' if kind == 'File' else 'Directory'}</Attributes>"
                f"<PermissionKey>1*1</PermissionKey></{kind}>")
        return document(f"<Entries>{''.join(entries)}</Entries>")


XML = {"content-type": "application/xml"}


def document(inner):
    text = f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults>{inner}<NextMarker /></EnumerationResults>'
    return text.encode()
