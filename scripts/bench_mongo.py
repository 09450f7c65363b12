"""Part `mongodb` of scripts/bench --quick: a restore and a drill, beside mongorestore, or beside a plain client without it."""
import json, pathlib, random, shutil, socket, struct, sys, time

import bench_drill
from bench_ratios import Missing, alternate, progress, seconds
from bench_servers import MongoDb

COLLECTIONS = ("articles", "comments", "drafts", "notes")
INDEXES = [{"v": 2, "key": {"_id": 1}, "name": "_id_"}, {"v": 2, "key": {"owner": 1}, "name": "owner_1"},
           {"v": 2, "key": {"title": 1, "score": -1}, "name": "title_1_score_-1"}]
# Documents of one message of the plain client: as many as MongoDB's own tools send.
BATCH = 1000


def bson(document):
    """A document as bytes; the few types that are used."""
    body = b"".join(element(str(key), value) for key, value in document.items())
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def element(name, value):
    if isinstance(value, bool):
        kind, data = 8, bytes([value])
    elif value is None:
        kind, data = 10, b""
    elif isinstance(value, int):
        kind, data = (16, struct.pack("<i", value)) if -2**31 <= value < 2**31 else (18, struct.pack("<q", value))
    elif isinstance(value, float):
        kind, data = 1, struct.pack("<d", value)
    elif isinstance(value, str):
        text = value.encode() + b"\0"
        kind, data = 2, struct.pack("<i", len(text)) + text
    elif isinstance(value, bytes):
        kind, data = 5, struct.pack("<iB", len(value), 0) + value
    elif isinstance(value, dict):
        kind, data = 3, bson(value)
    else:
        kind, data = 4, bson(dict(enumerate(value)))
    return bytes([kind]) + name.encode() + b"\0" + data


class Client:
    """Sends one command after the other and waits for each answer."""

    def __init__(self, port):
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def command(self, document, name="", documents=b""):
        """`documents` are the value of the field `name`, which is too long for the command itself."""
        body = struct.pack("<I", 0) + b"\0" + bson(document)
        if documents:
            body += b"\1" + struct.pack("<i", 5 + len(name) + len(documents)) + name.encode() + b"\0" + documents
        self.connection.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, 2013) + body)
        answer = self.receive(4)
        answer += self.receive(struct.unpack("<i", answer)[0] - 4)
        if b"\x01ok\0" + struct.pack("<d", 1.0) not in answer or b"writeErrors" in answer:
            sys.exit(f"the MongoDB server refused {document}: {answer[:2000]}")

    def receive(self, count):
        data = b""
        while len(data) < count:
            part = self.connection.recv(count - len(data))
            if not part:
                sys.exit("the MongoDB server closed the connection")
            data += part
        return data

    def load(self, folder, database):
        """What mongorestore does, without its workers: the documents of each collection, then its indexes."""
        for file in sorted(folder.glob("*.bson")):
            data, end = file.read_bytes(), 0
            while end < len(data):
                start, count = end, 0
                while end < len(data) and count < BATCH:
                    end, count = end + struct.unpack_from("<i", data, end)[0], count + 1
                self.command({"insert": file.stem, "ordered": False, "$db": database}, "documents", data[start:end])
            self.command({"createIndexes": file.stem, "indexes": INDEXES[1:], "$db": database})

    def drop(self, database):
        self.command({"dropDatabase": 1, "$db": database})


def write(folder, megabytes):
    """A dump in mongodump's layout: documents of about 1 KB, and two indexes besides that of `_id`."""
    random.seed(2026)
    words = ["".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=random.randint(3, 9))) for _ in range(5000)]
    # Drawing words for each document would take longer than what is measured.
    texts = [" ".join(random.choices(words, k=128)) for _ in range(5000)]
    folder.mkdir(parents=True)
    size = 0
    for name in COLLECTIONS:
        with open(folder / f"{name}.bson", "wb") as file:
            for number in range(int(megabytes * 1000 / len(COLLECTIONS))):
                size += file.write(bson({
                    "_id": number, "owner": random.randrange(1 << 30), "title": " ".join(random.choices(words, k=6)),
                    "score": random.random(), "body": random.choice(texts)}))
        (folder / f"{name}.metadata.json").write_text(json.dumps({"indexes": INDEXES, "collectionName": name, "type": "collection"}))
    return size


def mongodb(run, ratios):
    if not pathlib.Path(run.options.mongo or "").is_file():
        raise Missing(f"there is no server {run.options.mongo}")
    server = MongoDb(run.folder, run.options.mongo)
    try:
        measured(run, ratios, server)
    finally:
        server.stop()
        for name in ("mongodb", "documents"):
            shutil.rmtree(run.folder / name, ignore_errors=True)


def measured(run, ratios, server):
    client, folder = Client(server.port), run.folder / "documents" / "bench"
    size = f"{write(folder, run.options.mongo_size) / 1e6:.0f} MB"
    progress(f"filling a MongoDB server with {size}")
    client.load(folder, "bench")
    uri_file = run.folder / "mongodb-uri"
    uri_file.write_text(server.uri)
    uri_file.chmod(0o600)
    run.init("ours", f'kind = "mongodb"\nuri_file = "{uri_file}"\ndatabases = ["bench"]\n')
    ours = f"{run.program} --config {run.folder}/ours.toml"
    seconds(f"{ours} backup", run.env)

    def into(way):
        client.drop("copy")
        wall = way()
        client.drop("copy")
        return wall

    def plain():
        begin = time.monotonic()
        Client(server.port).load(folder, "copy")
        return time.monotonic() - begin

    tools = pathlib.Path(run.options.mongo_tools or "/nowhere")
    restore = f"{tools}/mongorestore --quiet --uri {server.uri} --nsFrom 'bench.*' --nsTo 'copy.*' {folder.parent}"
    if (tools / "mongorestore").exists():
        one = "--numParallelCollections 1 --numInsertionWorkersPerCollection 1"
        others = {"`mongorestore`, one worker": lambda: seconds(f"{restore} {one}", run.env),
                  "`mongorestore -j 4`": lambda: seconds(f"{restore} -j 4", run.env)}
    else:
        others = {"a plain client, one insert of 1000 documents after the other (there is no `mongorestore`)": plain}
    ways = {**{name: lambda way=way: into(way) for name, way in others.items()},
            "restore": lambda: into(lambda: seconds(f"{ours} restore bench/bench --into copy", run.env)),
            "drill": lambda: bench_drill.drill(run, "bench/bench", f'mongod = "{run.options.mongo}"\n')[0][1]}
    walls = alternate(run.options.rounds, ways)
    for what in ("restore", "drill"):
        ratios.row(f"MongoDB `{what}`, {size} in {len(COLLECTIONS)} collections, 2 indexes each", walls[what],
                   {name: walls[name] for name in others}, "first figures")
