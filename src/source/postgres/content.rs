//! Whether a database that is usually empty holds something of its users.

use serde::Deserialize;

use super::psql::Psql;
use crate::error::Result;

/// Tables, views, sequences, functions, types of their own and large objects, but those of extensions.
const OBJECTS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
            ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't' \
            AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
                WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype IN ('e', 'i'))) \
        OR EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
            WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
                WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype IN ('e', 'i'))) \
        OR EXISTS (SELECT FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
            WHERE t.typtype IN ('d', 'e', 'r', 'b') AND t.typelem = 0 AND n.nspname !~ '^pg_' \
            AND n.nspname <> 'information_schema' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
                WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'e')) \
        OR EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata) AS there";

/// Tables of extensions whose rows are the users', such as the jobs of pg_cron; and which rows.
const OF_EXTENSIONS: &str = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, x.condition \
    FROM pg_catalog.pg_extension e CROSS JOIN LATERAL unnest(e.extconfig, e.extcondition) AS x(oid, condition) \
    JOIN pg_catalog.pg_class c ON c.oid = x.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'r'";

#[derive(Deserialize)]
struct There {
    there: bool,
}

/// Whether there is something in the database of this session.
pub(super) fn is_there(session: &mut Psql) -> Result<bool> {
    #[derive(Deserialize)]
    struct Marked {
        name: String,
        condition: String,
    }
    let objects: There = session.query_one(OBJECTS)?;
    if objects.there {
        return Ok(true);
    }
    for Marked { name, condition } in session.query(OF_EXTENSIONS)? {
        let query = format!("SELECT EXISTS (SELECT FROM {name} {condition}) AS there");
        match session.query_one::<There>(&query) {
            Ok(rows) if !rows.there => {}
            Ok(_) => return Ok(true),
            // What may not be looked at may hold something: its backup says so.
            Err(_) if session.is_alive() => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
