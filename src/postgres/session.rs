//! Opening sessions of a database.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::Host;
use super::tls::{self, Way};
use super::{PostgresError, Target, quote_identifier};
use crate::interrupt::unless_interrupted;

/// How often a connection is tried.
const TRIES: u32 = 3;
/// How long a session may take to open unless the address says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);
/// The search path of every session. A temporary table never stands for one of the catalogue.
pub const SEARCH_PATH: &str = "SET search_path = pg_catalog, pg_temp";
/// Settings of every session. They are made after it has opened, since poolers refuse or lose those
/// of a startup message.
///
/// Without row_security a policy that would hide rows is an error, never a smaller table.
const SETTINGS: &str =
    "SET timezone = 'UTC'; SET client_min_messages = warning; SET row_security = off";
/// Settings that not every version has. A server sees within a second that its client was killed,
/// also in the middle of an index. Roles and databases have limits for their applications, which
/// would end a long index; one that the address itself states holds.
const SETTINGS_IF_THERE: &str = "SELECT pg_catalog.set_config(name, \
     CASE name WHEN 'client_connection_check_interval' THEN '1s' ELSE '0' END, false) \
     FROM pg_catalog.pg_settings WHERE name = 'client_connection_check_interval' \
     OR source <> 'client' AND name IN ('statement_timeout', 'lock_timeout', \
     'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')";

impl Target {
    /// How long the server may take until a session is open: as the address says, as libpq has it
    /// for each host; ten seconds otherwise.
    fn patience(&self) -> Duration {
        let stated = self.address.number("connect_timeout").filter(|seconds| *seconds > 0);
        stated.map_or(PATIENCE, Duration::from_secs)
    }

    /// Opens a session. All that docferry says in it is found in `pg_catalog` alone, whoever may
    /// make objects in other schemas.
    pub async fn connect(&self) -> Result<Client, PostgresError> {
        let client = self.open().await?;
        self.settled.get_or_try_init(|| self.check_session(&client)).await?;
        let settings = format!("{SETTINGS_IF_THERE}; {SEARCH_PATH}; {SETTINGS}");
        client.batch_execute(&settings).await.map_err(|source| PostgresError::Statement {
            action: "settle the session".to_owned(),
            source,
        })?;
        Ok(client)
    }

    /// Opens a session of one of the hosts, in their order.
    async fn open(&self) -> Result<Client, PostgresError> {
        let mut hosts = self.address.hosts.clone();
        if self.address.get("load_balance_hosts") == Some("random") {
            let random = RandomState::new();
            hosts.sort_by_cached_key(|host| random.hash_one((&host.name, host.address, host.port)));
        }
        let wanted = self.address.get("target_session_attrs").unwrap_or("any");
        let mut tries = 1;
        loop {
            let mut failure = None;
            // `prefer-standby` takes any host when none is a standby.
            let rounds: &[&str] =
                if wanted == "prefer-standby" { &["standby", "any"] } else { &[wanted] };
            for wanted in rounds {
                for host in &hosts {
                    match self.host(host, wanted, tries).await {
                        Ok(client) => return Ok(client),
                        Err(error @ PostgresError::Interrupted { .. }) => return Err(error),
                        // Where a server refuses, those after it are not asked: they are to be the
                        // same to a client.
                        Err(error) if refuses(&error) => return Err(error),
                        Err(error) => failure = Some(error),
                    }
                }
            }
            let failure = failure.expect("an address has a host");
            if tries == TRIES || !matches!(failure, PostgresError::Connect { .. }) {
                return Err(failure);
            }
            let pause = tokio::time::sleep(Duration::from_millis(250 << tries));
            if unless_interrupted(pause).await.is_none() {
                return Err(PostgresError::Interrupted { address: self.display() });
            }
            tries += 1;
        }
    }

    /// Opens a session of a host that is what is wanted.
    async fn host(&self, host: &Host, wanted: &str, tries: u32) -> Result<Client, PostgresError> {
        let address = || self.display_of(host);
        let mut failure: Option<tokio_postgres::Error> = None;
        for way in tls::ways(self.mode(), host.socket().is_some()) {
            let attempt = tokio::time::timeout(self.patience(), self.attempt(host, *way));
            let Some(answer) = unless_interrupted(attempt).await else {
                return Err(PostgresError::Interrupted { address: address() });
            };
            let Ok(opened) = answer else {
                let seconds = self.patience().as_secs();
                return Err(PostgresError::NoAnswer { address: address(), seconds });
            };
            match opened? {
                Ok(client) if is_what_is_wanted(&client, wanted).await? => return Ok(client),
                Ok(_) => {
                    let wanted = wanted.to_owned();
                    return Err(PostgresError::OtherHost { address: address(), wanted });
                }
                Err(source) => {
                    let code = source.code().cloned();
                    // A server that has no place for this way may have one for the next: what says
                    // so is pg_hba.conf. A wrong password stays wrong.
                    let next = match &code {
                        None => true,
                        Some(code) => *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                    };
                    // What a server says is told rather than what happened before.
                    if failure.is_none() || code.is_some() {
                        failure = Some(source);
                    }
                    if !next {
                        break;
                    }
                }
            }
        }
        let source = failure.expect("every mode has a way");
        Err(PostgresError::Connect { address: address(), tries, source })
    }

    async fn attempt(
        &self,
        host: &Host,
        way: Way,
    ) -> Result<Result<Client, tokio_postgres::Error>, PostgresError> {
        let config = self.config(host, way);
        if way == Way::Plain {
            return Ok(config.connect(NoTls).await.map(|(client, connection)| {
                tokio::spawn(connection);
                client
            }));
        }
        let tls = MakeRustlsConnect::new(tls::client(&self.address, self.mode())?);
        Ok(config.connect(tls).await.map(|(client, connection)| {
            tokio::spawn(connection);
            client
        }))
    }

    /// Makes sure that a session is one: a pooler that hands each transaction to another session
    /// of the server would lose docferry's locks and settings, and leave them to others.
    ///
    /// The statements leave nothing behind in a pool.
    async fn check_session(&self, client: &Client) -> Result<(), PostgresError> {
        let pooled = || PostgresError::Pooled { address: self.display() };
        let first = backend(client).await?;
        // A setting that only this session may see.
        let mark = format!("{}.{first}", std::process::id());
        let set = format!("SET docferry.session = '{mark}'");
        client.batch_execute(&set).await.map_err(looking)?;
        let other = self.open().await.ok();
        let mut shared = false;
        for _ in 0..3 {
            if let Some(other) = &other {
                // Two sessions that are the same one of the server.
                shared |= backend(other).await? == first || marked(other).await? == mark;
            }
            shared |= backend(client).await? != first || marked(client).await? != mark;
        }
        for client in other.iter().chain([client]) {
            client.batch_execute("RESET docferry.session").await.map_err(looking)?;
        }
        if shared { Err(pooled()) } else { Ok(()) }
    }
}

/// Whether a server itself said no, which will not change; one that starts or stops says so, too.
fn refuses(failure: &PostgresError) -> bool {
    let PostgresError::Connect { source, .. } = failure else { return false };
    source.code().is_some_and(|code| *code != SqlState::CANNOT_CONNECT_NOW)
}

/// Whether a server is of the kind that `target_session_attrs` names.
async fn is_what_is_wanted(client: &Client, wanted: &str) -> Result<bool, PostgresError> {
    let sql = match wanted {
        "read-write" => "SELECT pg_catalog.current_setting('transaction_read_only') = 'off'",
        "read-only" => "SELECT pg_catalog.current_setting('transaction_read_only') = 'on'",
        "primary" => "SELECT NOT pg_catalog.pg_is_in_recovery()",
        "standby" => "SELECT pg_catalog.pg_is_in_recovery()",
        _ => return Ok(true),
    };
    Ok(answer(client, sql).await? == "t")
}

/// The statement by which SQL of a pipeline file finds what it names, until the transaction ends:
/// what PostgreSQL has itself, then the target schema, then `public` unless everyone may make
/// objects there. [`SEARCH_PATH`] ends it earlier.
pub async fn path_for_own_sql(client: &Client, schema: &str) -> Result<String, PostgresError> {
    let row = client
        .query_one(
            "SELECT count(*) > 0 FROM pg_namespace WHERE nspname = 'public' \
             AND NOT has_schema_privilege('public', oid, 'CREATE')",
            &[],
        )
        .await
        .map_err(looking)?;
    let public = if row.get(0) { ", public" } else { "" };
    let schema = quote_identifier(schema);
    Ok(format!("SET search_path = pg_catalog, {schema}{public}, pg_temp"))
}

fn looking(source: tokio_postgres::Error) -> PostgresError {
    PostgresError::Statement { action: "look at the session".to_owned(), source }
}

/// A text that the server answers, without a prepared statement: poolers may lose these.
async fn answer(client: &Client, sql: &str) -> Result<String, PostgresError> {
    let messages = client.simple_query(sql).await.map_err(looking)?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(row.unwrap_or_default().to_owned())
}

/// The process of the server that answers.
async fn backend(client: &Client) -> Result<String, PostgresError> {
    answer(client, "SELECT pg_catalog.pg_backend_pid()").await
}

async fn marked(client: &Client) -> Result<String, PostgresError> {
    answer(client, "SELECT pg_catalog.current_setting('docferry.session', true)").await
}
