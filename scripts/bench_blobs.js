// A blob service for measurements: as many small blobs as wanted, there at once, and as fast as one process can serve them.
// It checks nothing and stores nothing: names, contents and ETags follow from a blob's number. It also plays the token
// service and Resource Manager of a tenant with this one account.
// node bench_blobs.js ACCOUNT COUNT; prints its port; `GET /grow?by=N` adds blobs, `GET /sent` tells the bytes sent.
"use strict";
const crypto = require("crypto");
const http = require("http");

const account = process.argv[2];
let count = Number(process.argv[3]);
let sent = 0;
const PAGE = 5000;
const DATE = "Mon, 02 Nov 2026 10:00:00 GMT";
const noise = crypto.createHash("shake256", { outputLength: 1 << 26 }).update("blobs").digest();

const name = (n) => `${String(n).padStart(9, "0").replace(/(...)(....)(..)/, "$1/$2/photo $3")}.bin`;
const number = (path) => Number(path.replace(/[^0-9]/g, ""));
// Odd strides, so that neither length nor content repeats.
const length = (n) => 1024 + ((n * 2654435761) % 7168);
const content = (n) => {
  const start = (n * 40503) % (noise.length - 8192);
  return noise.subarray(start, start + length(n));
};
const digests = [];
const md5 = (n) => (digests[n] ??= crypto.createHash("md5").update(content(n)).digest("base64"));

function list(from) {
  const parts = ['<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>'];
  const end = Math.min(count, from + PAGE);
  for (let n = from; n < end; n++) {
    parts.push(`<Blob><Name>${name(n)}</Name><Properties><Creation-Time>${DATE}</Creation-Time><Last-Modified>${DATE}</Last-Modified>`
      + `<Etag>0x8D${n}</Etag><Content-Length>${length(n)}</Content-Length><Content-Type>image/jpeg</Content-Type>`
      + `<Content-MD5>${md5(n)}</Content-MD5><BlobType>BlockBlob</BlobType><AccessTier>Hot</AccessTier>`
      + "<AccessTierInferred>true</AccessTierInferred></Properties></Blob>");
  }
  parts.push(`</Blobs><NextMarker>${end < count ? end : ""}</NextMarker></EnumerationResults>`);
  return parts.join("");
}

function answer(path, query, base) {
  const resource = `/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/${account}`;
  if (path.endsWith("/token")) return { token_type: "Bearer", expires_in: 3600, access_token: "t" };
  if (path === "/subscriptions") return { value: [{ subscriptionId: "s", displayName: "S", state: "Enabled" }] };
  if (path.endsWith("/listKeys")) {
    return { keys: [{ keyName: "key1", value: Buffer.from("a key that nobody checks").toString("base64"), permissions: "FULL" }] };
  }
  if (path.endsWith("/storageAccounts")) {
    const primaryEndpoints = { blob: `${base}/${account}/` };
    return { value: [{ id: resource, name: account, kind: "StorageV2", properties: { primaryEndpoints } }] };
  }
  if (path === "/sent") return { sent };
  if (path === "/grow") {
    count += Number(query.get("by"));
    return { count };
  }
  return null;
}

const server = http.createServer((request, response) => {
  request.resume();
  const url = new URL(request.url, "http://local");
  const path = decodeURIComponent(url.pathname);
  const json = answer(path, url.searchParams, `http://127.0.0.1:${server.address().port}`);
  let body;
  const headers = { "x-ms-version": "2025-05-05" };
  if (json) {
    body = Buffer.from(JSON.stringify(json));
  } else if (url.searchParams.get("comp") === "list") {
    const containers = "<EnumerationResults><Containers><Container><Name>bench</Name><Properties><Etag>0x1</Etag>"
      + `<Last-Modified>${DATE}</Last-Modified></Properties></Container></Containers><NextMarker/></EnumerationResults>`;
    const blobs = url.searchParams.get("restype") === "container";
    body = Buffer.from(blobs ? list(Number(url.searchParams.get("marker") || 0)) : containers);
    headers["content-type"] = "application/xml";
  } else if (url.searchParams.get("restype") === "container") {
    body = Buffer.alloc(0);
    Object.assign(headers, { etag: '"0x1"', "last-modified": DATE });
  } else {
    const n = number(path.slice(path.indexOf("bench/")));
    body = content(n);
    Object.assign(headers, { etag: `"0x8D${n}"`, "last-modified": DATE, "x-ms-blob-type": "BlockBlob", "content-type": "image/jpeg" });
    headers["content-md5"] = md5(n);
    headers["x-ms-creation-time"] = DATE;
  }
  if (path !== "/sent") sent += body.length;
  response.writeHead(200, { ...headers, "content-length": body.length });
  response.end(request.method === "HEAD" ? undefined : body);
});
server.keepAliveTimeout = 60000;
for (let n = 0; n < count; n++) md5(n);
server.listen(0, "127.0.0.1", () => process.stdout.write(`${server.address().port}\n`));
