//! Where a load goes.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::OnceCell;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::environment::{Tls, password, split, variable_of};
use super::{PostgresError, quote_identifier};
use crate::interrupt::unless_interrupted;
use crate::redact::{AddressFault, check, without_credentials};

/// How often a connection is tried.
const TRIES: u32 = 3;
/// How long a session may take to open unless the address says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);
/// Settings of every session. Without row_security a policy that would hide rows is an error,
/// never a smaller table.
const OPTIONS: &str = "-c timezone=UTC -c client_min_messages=warning -c row_security=off";
/// The search path of every session. A temporary table never stands for one of the catalogue.
pub const SEARCH_PATH: &str = "SET search_path = pg_catalog, pg_temp";

/// A database.
#[derive(Clone, Debug)]
pub struct Target {
    config: Config,
    tls: Tls,
    /// Set once a session was found to be one of its own.
    settled: Arc<OnceCell<()>>,
}

/// Where a database is.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Host, or the folder of its socket.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Role.
    pub user: String,
}

impl Target {
    /// Reads `postgres://…` or `key=value` text. What it leaves out is taken from the variables
    /// and the password file of PostgreSQL's own tools.
    pub fn parse(text: &str) -> Result<Self, PostgresError> {
        check(text).map_err(PostgresError::Address)?;
        let (text, tls) = split(text);
        let parsed: Result<Config, _> = text.parse();
        let mut config =
            parsed.map_err(|error| PostgresError::Address(AddressFault::of(&error, &text)))?;
        if config.get_hosts().is_empty() {
            config.host(variable_of("PGHOST").unwrap_or_else(|| "localhost".to_owned()));
        }
        if config.get_ports().is_empty()
            && let Some(port) = variable_of("PGPORT").and_then(|port| port.parse().ok())
        {
            config.port(port);
        }
        if config.get_user().is_none()
            && let Some(user) = variable_of("PGUSER")
        {
            config.user(user);
        }
        if config.get_dbname().is_none()
            && let Some(database) = variable_of("PGDATABASE")
        {
            config.dbname(database);
        }
        let target = Self { config: config.clone(), tls, settled: Arc::default() };
        let parts = target.parts();
        if config.get_password().is_none() {
            let [host, database, user] = [&parts.host, &parts.database, &parts.user];
            let found =
                variable_of("PGPASSWORD").or_else(|| password(host, parts.port, database, user));
            if let Some(password) = found {
                config.password(password);
            }
        }
        config.application_name("docferry");
        let own = config.get_options().map(str::to_owned).or_else(|| variable_of("PGOPTIONS"));
        // Of two values of a setting the last one holds.
        config.options(format!("{} {OPTIONS}", own.unwrap_or_default()).trim_start());
        Ok(Self { config, ..target })
    }

    /// How long the server may take until a session is open: as the address says, as libpq has it
    /// for each host; ten seconds otherwise.
    fn patience(&self) -> Duration {
        let stated = self.config.get_connect_timeout().copied();
        stated.filter(|stated| !stated.is_zero()).unwrap_or(PATIENCE)
    }

    /// What another program needs to connect to the same database, besides the password.
    pub fn parts(&self) -> Parts {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        let user = self.config.get_user().map(str::to_owned).or_else(|| variable_of("USER"));
        let user = user.unwrap_or_default();
        Parts {
            host,
            port: self.config.get_ports().first().copied().unwrap_or(5432),
            database: self.config.get_dbname().unwrap_or(&user).to_owned(),
            user,
        }
    }

    /// Another database of the same server.
    #[must_use]
    pub fn with_database(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.config.dbname(name);
        other.settled = Arc::default();
        other
    }

    /// The variables by which PostgreSQL's own programs reach the same database. They hold the
    /// password: an environment, unlike arguments, is readable by its owner alone.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let Parts { host, port, database, user } = self.parts();
        let mut variables = vec![
            ("PGHOST", host),
            ("PGPORT", port.to_string()),
            ("PGDATABASE", database),
            ("PGUSER", user),
            ("PGAPPNAME", "docferry".to_owned()),
        ];
        if let Some(password) = self.config.get_password() {
            variables.push(("PGPASSWORD", String::from_utf8_lossy(password).into_owned()));
        }
        let mode = match self.config.get_ssl_mode() {
            SslMode::Disable => "disable",
            SslMode::Require if self.tls.root.is_some() => "verify-full",
            SslMode::Require => "require",
            _ => "prefer",
        };
        variables.push(("PGSSLMODE", mode.to_owned()));
        if let Some(root) = &self.tls.root {
            variables.push(("PGSSLROOTCERT", root.display().to_string()));
        }
        variables
    }

    /// Host, port and database; nothing secret.
    pub fn display(&self) -> String {
        let Parts { host, port, database, .. } = self.parts();
        format!("{host}:{port}/{}", without_credentials(&database))
    }

    /// Opens a session. All that docferry says in it is found in `pg_catalog` alone, whoever may
    /// make objects in other schemas.
    pub async fn connect(&self) -> Result<Client, PostgresError> {
        let client = self.open().await?;
        self.settled.get_or_try_init(|| self.check_session(&client)).await?;
        let failed = |source| PostgresError::Statement {
            action: "choose the search path".to_owned(),
            source,
        };
        client.batch_execute(SEARCH_PATH).await.map_err(failed)?;
        // So that a server sees within a second that its client was killed, also in the middle of
        // an index. Older ones than 14 do not have it, nor need it.
        let _ = client.batch_execute("SET client_connection_check_interval = '1s'").await;
        Ok(client)
    }

    async fn open(&self) -> Result<Client, PostgresError> {
        let mut tries = 1;
        loop {
            let attempt = tokio::time::timeout(self.patience(), self.attempt());
            let Some(answer) = unless_interrupted(attempt).await else {
                return Err(PostgresError::Interrupted { address: self.display() });
            };
            let Ok(opened) = answer else {
                let (address, seconds) = (self.display(), self.patience().as_secs());
                return Err(PostgresError::NoAnswer { address, seconds });
            };
            match opened? {
                Ok(client) => return Ok(client),
                Err(source) => {
                    // A refusal by the server itself will not change.
                    let refused = source.as_db_error().is_some_and(|answer| {
                        answer.code() != &tokio_postgres::error::SqlState::CANNOT_CONNECT_NOW
                    });
                    if tries == TRIES || refused {
                        return Err(PostgresError::Connect {
                            address: self.display(),
                            tries,
                            source,
                        });
                    }
                }
            }
            let pause = tokio::time::sleep(Duration::from_millis(250 << tries));
            if unless_interrupted(pause).await.is_none() {
                return Err(PostgresError::Interrupted { address: self.display() });
            }
            tries += 1;
        }
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

    async fn attempt(&self) -> Result<Result<Client, tokio_postgres::Error>, PostgresError> {
        if self.config.get_ssl_mode() == SslMode::Disable {
            return Ok(self.config.connect(NoTls).await.map(|(client, connection)| {
                tokio::spawn(connection);
                client
            }));
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = &self.tls.root {
            let failed = |error: rustls::pki_types::pem::Error| {
                PostgresError::Tls(format!("{}: {error}", path.display()))
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
                let added = roots.add(certificate.map_err(failed)?);
                added
                    .map_err(|error| PostgresError::Tls(format!("{}: {error}", path.display())))?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| PostgresError::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connected = self.config.connect(MakeRustlsConnect::new(config)).await;
        Ok(connected.map(|(client, connection)| {
            tokio::spawn(connection);
            client
        }))
    }
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
