//! Policies of row-level security that keep tenants apart.

use std::collections::HashMap;

use tokio_postgres::Client;

use super::check::{Tables, failed};
use super::difference::Findings;
use super::scratch::Scratch;
use crate::postgres::PostgresError;
use crate::postgres::ddl::TENANT_POLICY;
use crate::verify::VerifyError;

const POLICIES: &str = "
SELECT c.relname::text, p.polname::text, p.polpermissive, p.polcmd::text,
       p.polroles = '{0}'::oid[],
       pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = ANY ($2) ORDER BY 1, 2";

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    name: String,
    permissive: bool,
    /// Whether it is for all commands and roles.
    for_all: bool,
    using: Option<String>,
    with_check: Option<String>,
}

impl Policy {
    fn shown(&self) -> String {
        let kind = if self.permissive { "permissive" } else { "restrictive" };
        let reach = if self.for_all { "" } else { ", for some commands or roles only" };
        let none = || "nothing".to_owned();
        format!(
            "{kind}{reach}, using {}, with check {}",
            self.using.clone().unwrap_or_else(none),
            self.with_check.clone().unwrap_or_else(none)
        )
    }
}

/// Policies by table.
pub(super) type Policies = HashMap<String, Vec<Policy>>;

/// Reads the policies of some tables of a schema.
pub(super) async fn read(
    client: &Client,
    schema: &str,
    tables: &[String],
) -> Result<Policies, PostgresError> {
    let rows = client.query(POLICIES, &[&schema, &tables]).await.map_err(failed("policies"))?;
    let mut policies = Policies::new();
    for row in rows {
        policies.entry(row.get(0)).or_default().push(Policy {
            name: row.get(1),
            permissive: row.get(2),
            for_all: row.get::<_, &str>(3) == "*" && row.get(4),
            using: row.get(5),
            with_check: row.get(6),
        });
    }
    Ok(policies)
}

/// Compares the policies of tables that belong to tenants. Another permissive policy lets rows
/// through that this one hides.
pub(super) async fn check(
    client: &Client,
    tables: &Tables<'_>,
    scratch: &Scratch,
    findings: &mut Findings,
) -> Result<(), VerifyError> {
    let tenants = tables.own.iter().filter(|definition| definition.tenant.is_some());
    let names: Vec<String> = tenants.map(|definition| definition.name.clone()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let found = read(client, tables.schema, &names).await?;
    for table in &names {
        findings.count();
        let policies = found.get(table).map(Vec::as_slice).unwrap_or_default();
        let own = policies.iter().find(|policy| policy.name == TENANT_POLICY);
        let expected = scratch.policy(table);
        let object = format!("policy {TENANT_POLICY}");
        let shown = || {
            expected
                .map_or("a policy that shows each tenant its own rows".to_owned(), Policy::shown)
        };
        match (own, expected) {
            (None, _) => findings.differs(table, object, shown(), None),
            (Some(own), Some(expected)) if own != expected => {
                findings.differs(table, object, shown(), own.shown());
            }
            (Some(own), None) if !own.permissive || !own.for_all => {
                findings.differs(table, object, shown(), own.shown());
            }
            _ => {}
        }
        for other in policies.iter().filter(|other| other.permissive && other.name != TENANT_POLICY)
        {
            findings.differs(
                table,
                format!("policy {}", other.name),
                "no other permissive policy",
                other.shown(),
            );
        }
    }
    Ok(())
}
