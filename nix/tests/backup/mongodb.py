"""What the test of MongoDB puts into a server on this machine, and reads from it."""

import datetime
import json
import sys
import time

from bson import Binary, Decimal128, ObjectId, json_util
from pymongo import MongoClient


def fill(server):
    """Makes the replica set, and two databases."""
    admin = server["admin"]
    if "setName" not in admin.command("hello"):
        members = [{"_id": 0, "host": "mongodb:27017"}]
        admin.command("replSetInitiate", {"_id": "tik", "members": members})
    while not admin.command("hello").get("isWritablePrimary"):
        time.sleep(0.2)
    orders = server["shop"]["orders"]
    orders.insert_many(
        {
            "_id": ObjectId(f"{n:024x}"),
            "at": datetime.datetime(2026, 1, 1) + datetime.timedelta(minutes=n),
            "price": Decimal128(f"{n}.50"),
            "name": f"Größe {n}",
            "picture": Binary(bytes([n % 256]) * 20),
        }
        for n in range(2000)
    )
    orders.create_index([("name", 1), ("at", -1)], unique=True, name="by name")
    add(server, "wiki")


def add(server, database):
    """A database with one document."""
    server[database]["pages"].insert_one({"title": "Start"})


def show(server, database):
    """All that counts as the content of a database."""
    for name in sorted(server[database].list_collection_names()):
        collection = server[database][name]
        for index, options in sorted(collection.index_information().items()):
            print(name, index, json.dumps([options["key"], options.get("unique", False)]))
        for document in collection.find().sort("_id"):
            print(name, json_util.dumps(document, sort_keys=True))


if __name__ == "__main__":
    connection = MongoClient("mongodb://127.0.0.1:27017", directConnection=True)
    {"fill": fill, "add": add, "show": show}[sys.argv[1]](connection, *sys.argv[2:])
