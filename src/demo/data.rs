//! The content of the throwaway server: roles, a shop, a forum, and a database with a name that needs quoting.

/// The database with the odd name.
pub(super) const ODD: &str = "Größe & \"Maß\"/2026";

/// Roles, databases and grants. To be run in the maintenance database.
pub(super) const SERVER: &str = r#"
CREATE ROLE shop_owner LOGIN;
CREATE ROLE reporting NOLOGIN;
CREATE ROLE alice LOGIN IN ROLE reporting;
CREATE ROLE forum LOGIN CONNECTION LIMIT 20;
CREATE DATABASE shop OWNER shop_owner;
REVOKE CONNECT ON DATABASE shop FROM PUBLIC;
GRANT CONNECT ON DATABASE shop TO reporting;
CREATE DATABASE forum OWNER forum;
CREATE DATABASE "Größe & ""Maß""/2026";
CREATE DATABASE scratch_test;
"#;

/// A shop of 10,000 customers and 100,000 orders.
pub(super) const SHOP: &str = r#"
SET ROLE shop_owner;
SELECT setseed(0.2026);
CREATE TYPE order_state AS ENUM ('new', 'paid', 'sent', 'returned');
CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    city text NOT NULL,
    since date NOT NULL
);
CREATE TABLE products (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title text NOT NULL,
    price numeric(8, 2) NOT NULL CHECK (price > 0)
);
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer bigint NOT NULL REFERENCES customers,
    product bigint NOT NULL REFERENCES products,
    quantity integer NOT NULL,
    total numeric(10, 2) NOT NULL,
    state order_state NOT NULL DEFAULT 'new',
    ordered timestamptz NOT NULL
);
INSERT INTO customers (name, email, city, since)
SELECT first || ' ' || last, lower(first) || '.' || lower(last) || '.' || n || '@example.org', city, date '2015-01-01' + (n % 4000)
FROM generate_series(1, 10000) n,
LATERAL (SELECT (ARRAY['Anna','Björn','Chloé','Dmitri','Elif','Farid','Greta','Hiro','Inês','Jürgen'])[1 + n % 10] AS first,
                (ARRAY['Adler','Brandt','Castro','Dubois','Ek','Fischer','García','Haas'])[1 + n / 10 % 8] AS last,
                (ARRAY['Aachen','Bern','Cádiz','Delft','Évora','Freiburg'])[1 + n / 80 % 6] AS city) x;
INSERT INTO products (title, price)
SELECT 'Article ' || n, round((1 + random() * 199)::numeric, 2) FROM generate_series(1, 500) n;
INSERT INTO orders (customer, product, quantity, total, state, ordered)
SELECT 1 + floor(random() * 10000), p.id, q, q * p.price,
       (ARRAY['new','paid','sent','sent','sent','returned'])[1 + floor(random() * 6)::int]::order_state,
       timestamptz '2026-01-01 00:00:00+00' + n * interval '4 minutes'
FROM (SELECT n, 1 + floor(random() * 500)::bigint AS product, 1 + floor(random() * 5)::int AS q
      FROM generate_series(1, 100000) n) o JOIN products p ON p.id = o.product ORDER BY n;
CREATE INDEX orders_by_customer ON orders (customer, ordered DESC);
CREATE VIEW revenue AS
SELECT date_trunc('month', ordered) AS month, sum(total) AS total FROM orders WHERE state <> 'returned' GROUP BY 1;
GRANT SELECT ON customers, orders, revenue TO reporting;
COMMENT ON TABLE orders IS 'one row an order';
"#;

/// A forum of 2,000 topics and 20,000 posts.
pub(super) const FORUM: &str = r#"
SET ROLE forum;
CREATE TABLE topics (id bigint PRIMARY KEY, title text NOT NULL);
CREATE TABLE posts (
    id bigint PRIMARY KEY,
    topic bigint NOT NULL REFERENCES topics,
    author text NOT NULL,
    body text NOT NULL,
    tags jsonb NOT NULL DEFAULT '[]'
);
INSERT INTO topics SELECT n, 'Question ' || n || ': how do I restore a table?' FROM generate_series(1, 2000) n;
INSERT INTO posts
SELECT n, 1 + n % 2000, 'user' || n % 300,
       'Post ' || n || E'\nTry it on a copy first. ' || repeat(md5(n::text) || ' ', 1 + n % 8), jsonb_build_array('t' || n % 9)
FROM generate_series(1, 20000) n;
CREATE INDEX posts_text ON posts USING gin (to_tsvector('simple', body));
"#;

/// Measurements, some of them in a table whose name needs quoting too.
pub(super) const ODD_TABLES: &str = r#"
CREATE TABLE "Maß" (id integer PRIMARY KEY, "Wert in °C" double precision, note text);
INSERT INTO "Maß" SELECT n, n / 7.0, 'line 1' || E'\n\\.\nline 3\t' || n FROM generate_series(1, 1000) n;
"#;

/// A database that appears between two backups.
pub(super) const NEWSLETTER: &str = r#"
CREATE TABLE subscribers (email text PRIMARY KEY, since date NOT NULL);
INSERT INTO subscribers SELECT 'reader' || n || '@example.org', date '2026-01-01' + n % 300 FROM generate_series(1, 2000) n;
"#;

/// A summary of the shop in one line, which is equal only if the content is.
pub(super) const SHOP_QUERY: &str = "SELECT (SELECT count(*) FROM customers) AS customers, (SELECT count(*) FROM orders) AS orders, \
     (SELECT sum(total) FROM orders) AS total, (SELECT max(ordered)::date FROM orders) AS last_order";
