//! The part of a manifest that is specific to PostgreSQL.

use serde::{Deserialize, Serialize};

use super::archive::{Block, TocEntry, routes};
use crate::{
    source::{
        kind::Kind,
        manifest::{self, Partitioned, TableName},
    },
    stream::digest::Digest128,
};

/// PostgreSQL's part of a manifest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Detail {
    /// The database itself; absent in `@globals`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
    /// Installed extensions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<Extension>,
    /// Sequences and their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sequences: Vec<Sequence>,
    /// Large objects.
    #[serde(default)]
    pub large_objects: LargeObjectCount,
    /// Digest of all definitions together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_digest: Option<Digest128>,
    /// Digest of each definition, so that a difference can be named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schema_objects: Vec<SchemaObject>,
    /// Roles, in `@globals`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// The role that `initdb` created, in `@globals`: memberships may name it as grantor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_role: Option<String>,
    /// Are the roles' passwords in `@globals`?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_passwords: Option<bool>,
    /// Partitions whose rows were digested without regard to the order of their columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_column: Vec<TableName>,
    /// Partitioned tables, and tables from which others inherit, with their partitions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitioned: Vec<Partitioned>,
    /// Settings of the server that the target of a restore needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_settings: Vec<ServerSetting>,
    /// Where the data of each entry is in the dump; absent in older manifests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Block>,
}

impl manifest::Detail for Detail {
    fn kind(&self) -> &'static dyn Kind {
        &super::kind::KIND
    }

    fn boxed(&self) -> Box<dyn manifest::Detail> {
        Box::new(self.clone())
    }

    fn forget(&mut self, is_omitted: &dyn Fn(&str, &str, &str) -> bool) {
        self.schema_objects.retain(|object| !is_omitted(&object.kind, &object.schema, &object.name));
    }

    fn partitioned(&self) -> &[Partitioned] {
        &self.partitioned
    }

    fn content(&self, visit: &mut dyn FnMut(&dyn erased_serde::Serialize)) {
        visit(&self.schema_digest);
        visit(&self.sequences);
        visit(&self.large_objects);
        visit(&self.roles);
    }
}

/// The tables of a dump whose rows are digested independently of the column order, because they are loaded through a table
/// with another column order.
pub(super) fn by_column(toc: &[TocEntry]) -> Vec<TableName> {
    let routes = routes(toc).into_iter().filter(|routed| routed.by_column);
    routes.map(|routed| TableName { schema: routed.schema, name: routed.name }).collect()
}

/// A setting of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSetting {
    /// Name of the parameter.
    pub name: String,
    /// Its value, for the few parameters whose values are recorded: others may be secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// The properties needed to create a database like the original.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Owner.
    pub owner: String,
    /// Encoding.
    pub encoding: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// Provider of the locale: `c` libc, `i` ICU, `b` built-in; absent before version 15.
    #[serde(default)]
    pub locale_provider: Option<String>,
    /// Locale for ICU or the built-in provider.
    #[serde(default)]
    pub locale: Option<String>,
    /// ICU rules.
    #[serde(default)]
    pub icu_rules: Option<String>,
    /// Limit of connections; -1 for none.
    pub connection_limit: i64,
    /// The default tablespace of its objects; absent in older manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablespace: Option<String>,
    /// Comment.
    #[serde(default)]
    pub comment: Option<String>,
    /// Settings by `ALTER DATABASE … SET` and `ALTER ROLE … IN DATABASE … SET`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
    /// Privileges on the database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// Are the privileges the ones every new database has?
    #[serde(default)]
    pub default_grants: bool,
}

/// A setting of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Only for this role.
    #[serde(default)]
    pub role: Option<String>,
    /// Name of the parameter.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A privilege on a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The grantee; absent for PUBLIC.
    #[serde(default)]
    pub grantee: Option<String>,
    /// `CONNECT`, `CREATE` or `TEMPORARY`.
    pub privilege: String,
    /// May the grantee pass it on?
    pub grantable: bool,
}

/// An installed extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
}

/// A sequence and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Last value.
    pub value: i64,
    /// Was that value handed out?
    pub is_called: bool,
}

/// Large objects of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargeObjectCount {
    /// How many.
    pub count: u64,
    /// Bytes of all together.
    pub bytes: u64,
    /// Digest of numbers and contents.
    pub digest: Digest128,
}

/// A definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaObject {
    /// Its kind as `pg_dump` names it: `TABLE`, `INDEX`, `ACL`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Schema.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub schema: String,
    /// Name.
    pub name: String,
    /// Digest of definition, owner and tablespace.
    pub digest: Digest128,
}

/// A role of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Name.
    pub name: String,
    /// May log in.
    pub login: bool,
    /// Superuser.
    pub superuser: bool,
    /// May create databases.
    pub create_db: bool,
    /// May create roles.
    pub create_role: bool,
    /// Uses the privileges of the roles it is a member of.
    pub inherit: bool,
    /// May replicate.
    pub replication: bool,
    /// Bypasses row-level security.
    pub bypass_rls: bool,
    /// Roles it is a member of.
    #[serde(default)]
    pub member_of: Vec<String>,
    /// The same with the options of each membership; absent in older manifests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memberships: Vec<Membership>,
}

/// The membership of a role in another one, with its options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The role it is a member of.
    pub role: String,
    /// May it make others members?
    pub admin: bool,
    /// Does it use the role's privileges without `SET ROLE`? Absent before version 16, where that is a property of the
    /// member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherit: Option<bool>,
    /// May it `SET ROLE` to it? Absent before version 16, where every member may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<bool>,
    /// Who made it a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grantor: Option<String>,
}
