"""Adds many packs to a repository in a directory, for measurements of what their number costs.

bench_packs.py REPOSITORY RESTIC COUNT, with RESTIC_PASSWORD_FILE. The packs have the length that the index states and no
content: they take no space, no snapshot needs them, and what reads them fails. Listing them, and comparing them with the
index, costs as much as with real ones.
"""
import base64, hashlib, json, os, pathlib, subprocess, sys

# Of one pack: four chunks of 1 MiB, as in a repository with packs of 4 MiB.
BLOBS, LENGTH = 4, 1 << 20
# What restic's format adds to encrypted data, and needs for each blob in the header of a pack.
OVERHEAD, ENTRY = 32, 37
# Packs that one index file lists: restic begins another one after 50,000 blobs.
OF_ONE_FILE = 12_500


def openssl(cipher, key, data, *more):
    command = ["openssl", "enc", f"-{cipher}", "-K", key.hex(), "-nopad", *more]
    return subprocess.run(command, input=data, check=True, capture_output=True).stdout


def mac(keys, nonce, data):
    """Poly1305-AES, as restic's format wants it."""
    r, k = (base64.b64decode(keys["mac"][name]) for name in ("r", "k"))
    factor = int.from_bytes(r, "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for start in range(0, len(data), 16):
        total = (total + int.from_bytes(data[start:start + 16] + b"\1", "little")) * factor % ((1 << 130) - 5)
    total += int.from_bytes(openssl("aes-128-ecb", k, nonce), "little")
    return (total % (1 << 128)).to_bytes(16, "little")


def encrypted(keys, data):
    nonce = os.urandom(16)
    sealed = openssl("aes-256-ctr", base64.b64decode(keys["encrypt"]), data, "-iv", nonce.hex())
    return nonce + sealed + mac(keys, nonce, sealed)


def main():
    repository, restic, count = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    found = subprocess.run([restic, "-r", repository, "--no-cache", "cat", "masterkey"], check=True, stdout=subprocess.PIPE).stdout
    keys = json.loads(found)
    packs = []
    for number in range(count):
        name = hashlib.sha256(f"pack {number}".encode()).hexdigest()
        blobs = [{"id": hashlib.sha256(f"blob {number} {part}".encode()).hexdigest(), "type": "data",
                  "offset": part * LENGTH, "length": LENGTH} for part in range(BLOBS)]
        packs.append({"id": name, "blobs": blobs})
        folder = repository / "data" / name[:2]
        folder.mkdir(exist_ok=True)
        with open(folder / name, "wb") as file:
            file.truncate(BLOBS * (LENGTH + ENTRY) + OVERHEAD + 4)
    for start in range(0, count, OF_ONE_FILE):
        data = encrypted(keys, json.dumps({"packs": packs[start:start + OF_ONE_FILE]}).encode())
        (repository / "index" / hashlib.sha256(data).hexdigest()).write_bytes(data)


if __name__ == "__main__":
    main()
