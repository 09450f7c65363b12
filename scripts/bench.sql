-- Fills the current database with varied rows; :rows orders, four times as many events, half as many posts.
SELECT setseed(0.42);
-- Words of one to four syllables; how often a word occurs falls with its rank, as in any language.
CREATE TABLE words AS
  SELECT i AS id, string_agg((ARRAY['ka','to','re','mi','sa','lu','ne','vi','do','ra','ten','kol','mar','sin','pe','ja','har','es','un','ti'])
                             [1 + (random() * 19.99)::int % 20], '') AS word
  FROM generate_series(1, 4000) i, generate_series(1, 1 + (i > 15)::int + (i > 250)::int + i % 2) GROUP BY i;
CREATE TABLE sentences AS
  SELECT i AS id, initcap(split_part(string_agg(w.word, ' ' ORDER BY random()), ' ', 1)) || ' ' || string_agg(w.word, ' ' ORDER BY random()) || '.' AS text
  FROM (SELECT i, exp(random() * ln(4000))::int AS id FROM generate_series(1, 60000) i, generate_series(1, 14)) p
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
         jsonb_build_object('sku', 'SKU-' || i * 48271::bigint % 50000, 'quantity', 1 + i % 7, 'price', (random() * 100)::numeric(8, 2),
                            'note', s.text, 'flags', jsonb_build_array(i % 2 = 0, i % 3 = 0)) AS details
  FROM generate_series(1, :rows) i JOIN sentences s ON s.id = i * 15485863::bigint % 60000 + 1;
ALTER TABLE orders ADD PRIMARY KEY (id);
CREATE TABLE events AS
  SELECT i AS id, timestamptz '2024-01-01 00:00:00+00' + i * interval '0.731 seconds' AS at, i * 13::bigint % 1000 AS account,
         (ARRAY['info', 'info', 'info', 'warning', 'error'])[1 + i * 31::bigint % 5] AS level,
         format((ARRAY['GET /api/v2/orders/%s HTTP/1.1 200 %s "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0" from 10.%s.%s.7',
                       'account %s changed quota from %s to %s after review %s',
                       'job send-reminders finished: %s mails, %s bounced, %s ms, worker %s',
                       'payment %s of %s cents accepted by gateway eu-west-%s, reference %s'])[1 + i * 7::bigint % 4],
                i * 7919::bigint % 1000000, (random() * 9000)::int, i % 251, (random() * 255)::int) AS message,
         ARRAY[i % 17, i % 101, i % 1009] AS tags, round((random() * 100)::numeric, 2) AS score
  FROM generate_series(1, :rows * 4) i;
ALTER TABLE events ADD PRIMARY KEY (id);
CREATE TABLE posts AS
  SELECT i AS id, i % 3001 AS topic, a.text || ' ' || b.text || E'\n\n' || c.text AS body
  FROM generate_series(1, :rows / 2) i JOIN sentences a ON a.id = i * 86028121::bigint % 60000 + 1
  JOIN sentences b ON b.id = i * 122949823::bigint % 60000 + 1 JOIN sentences c ON c.id = i * 32452843::bigint % 60000 + 1;
ALTER TABLE posts ADD PRIMARY KEY (id);
CREATE TABLE files AS
  SELECT i AS id, sha256(i::text::bytea) || sha256((-i)::text::bytea) || sha256((i * 3)::text::bytea) AS content
  FROM generate_series(1, :rows / 8) i;
ALTER TABLE files ADD PRIMARY KEY (id);
ANALYZE;
