-- Fills the current database with varied rows; :rows orders and twice as many events. About 1.5 KB of dump for each order.
SELECT setseed(0.42);
CREATE TABLE words AS
  SELECT i AS id, string_agg(chr(97 + (random() * 25)::int), '') AS word
  FROM generate_series(1, 4000) i, generate_series(1, 3 + i % 8) GROUP BY i;
CREATE TABLE sentences AS
  SELECT i AS id, initcap(string_agg(w.word, ' ' ORDER BY random())) || '.' AS text
  FROM (SELECT i, (random() * random() * 3999)::int + 1 AS id FROM generate_series(1, 60000) i, generate_series(1, 14)) p
  JOIN words w USING (id) GROUP BY i;
ALTER TABLE sentences ADD PRIMARY KEY (id);
ANALYZE;
CREATE TABLE customers AS
  SELECT i AS id, initcap(a.word) || ' ' || initcap(b.word) AS name, a.word || '.' || b.word || i || '@' || c.word || '.example' AS email,
         timestamp '2015-01-01' + random() * interval '10 years' AS created, (random() * 10000)::numeric(12, 2) AS credit,
         gen_random_uuid() AS token
  FROM generate_series(1, :rows / 4) i
  JOIN words a ON a.id = i * 7919::bigint % 4000 + 1 JOIN words b ON b.id = i * 104729::bigint % 4000 + 1
  JOIN words c ON c.id = i * 1299709::bigint % 4000 + 1;
ALTER TABLE customers ADD PRIMARY KEY (id);
CREATE TABLE orders AS
  SELECT i AS id, i * 31::bigint % (:rows / 4) + 1 AS customer, timestamp '2020-01-01' + i * interval '17 seconds' AS placed,
         (random() * 900)::numeric(10, 2) AS total, (ARRAY['new', 'paid', 'sent', 'returned'])[1 + i % 4] AS status,
         jsonb_build_object('sku', md5(i::text), 'quantity', 1 + i % 7, 'price', (random() * 100)::numeric(8, 2),
                            'note', s.text, 'flags', jsonb_build_array(i % 2 = 0, i % 3 = 0)) AS details
  FROM generate_series(1, :rows) i JOIN sentences s ON s.id = i * 15485863::bigint % 60000 + 1;
ALTER TABLE orders ADD PRIMARY KEY (id);
CREATE TABLE events AS
  SELECT i AS id, clock_timestamp() AS at, i * 13::bigint % 1000 AS kind, a.text || ' ' || b.text || ' ' || (random() * 1e9)::bigint || ' ' || c.text AS body,
         ARRAY[i % 17, i % 101, i % 1009] AS tags, random() AS score
  FROM generate_series(1, :rows * 2) i JOIN sentences a ON a.id = i * 86028121::bigint % 60000 + 1
  JOIN sentences b ON b.id = i * 122949823::bigint % 60000 + 1 JOIN sentences c ON c.id = i * 32452843::bigint % 60000 + 1;
ALTER TABLE events ADD PRIMARY KEY (id);
CREATE TABLE files AS
  SELECT i AS id, sha256(i::text::bytea) || sha256((-i)::text::bytea) || sha256((i * 3)::text::bytea) AS content
  FROM generate_series(1, :rows / 2) i;
ALTER TABLE files ADD PRIMARY KEY (id);
ANALYZE;
