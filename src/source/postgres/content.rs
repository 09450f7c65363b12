//! User data in a database: a restore must not mix with it, and a backup must not skip it.

use serde::Deserialize;

use super::psql::Psql;
use crate::error::Result;

/// The first few user objects of a database. Extensions from the template, or that an administrator created, do not count,
/// nor do their members, directly or as internal dependents (`i`) such as the row type of a table. Sequences of columns,
/// indexes and the like do not count on their own.
const CONTENT: &str = "SELECT what FROM ( \
      SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' \
                WHEN 'f' THEN 'foreign table' ELSE 'table' END \
             || ' ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS what, c.oid, 'pg_class'::regclass AS class \
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
      UNION ALL SELECT 'function ' || p.oid::regprocedure, p.oid, 'pg_proc'::regclass \
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
      UNION ALL SELECT 'type ' || t.oid::regtype, t.oid, 'pg_type'::regclass \
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
      UNION ALL SELECT 'schema ' || quote_ident(s.nspname), s.oid, 'pg_namespace'::regclass FROM pg_namespace s \
        WHERE s.nspname !~ '^pg_' AND s.nspname NOT IN ('information_schema', 'public') \
          AND NOT EXISTS (SELECT FROM pg_extension e WHERE e.extnamespace = s.oid) \
      UNION ALL SELECT 'large object ' || oid, oid, 'pg_largeobject'::regclass FROM pg_largeobject_metadata \
    ) found \
    WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = found.class AND d.objid = found.oid \
        AND (d.refclassid <> d.classid OR d.refobjid <> d.objid) \
        AND (d.deptype IN ('e', 'i') \
             OR (d.deptype = 'a' AND d.classid = 'pg_class'::regclass AND d.refclassid = d.classid AND d.refobjsubid <> 0))) \
    ORDER BY what LIMIT 5";

/// Tables of extensions with user rows, such as the jobs of pg_cron, and the condition for these rows.
const OF_EXTENSIONS: &str = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, x.condition \
    FROM pg_catalog.pg_extension e CROSS JOIN LATERAL unnest(e.extconfig, e.extcondition) AS x(oid, condition) \
    JOIN pg_catalog.pg_class c ON c.oid = x.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'r'";

#[derive(Deserialize)]
struct There {
    there: bool,
}

/// The first few user objects in the database of this session.
pub(super) fn found(session: &mut Psql) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Content {
        what: String,
    }
    Ok(session.query::<Content>(CONTENT)?.into_iter().map(|content| content.what).collect())
}

/// Whether the database of this session contains user data, including rows in marked tables of extensions.
pub(super) fn is_there(session: &mut Psql) -> Result<bool> {
    #[derive(Deserialize)]
    struct Marked {
        name: String,
        condition: String,
    }
    if !found(session)?.is_empty() {
        return Ok(true);
    }
    for Marked { name, condition } in session.query(OF_EXTENSIONS)? {
        let query = format!("SELECT EXISTS (SELECT FROM {name} {condition}) AS there");
        match session.query_one::<There>(&query) {
            Ok(rows) if !rows.there => {}
            Ok(_) => return Ok(true),
            // An unreadable table may contain data: the backup reports the missing privilege.
            Err(_) if session.is_alive() => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
