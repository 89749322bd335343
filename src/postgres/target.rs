//! Where a load goes.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgresError;
use super::environment::{Tls, password, split, variable_of};
use crate::redact::{AddressFault, check, without_credentials};

/// How often a connection is tried.
const TRIES: u32 = 3;

/// A database.
#[derive(Clone, Debug)]
pub struct Target {
    config: Config,
    tls: Tls,
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
        let target = Self { config: config.clone(), tls };
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
        config.connect_timeout(Duration::from_secs(10));
        // Without row_security a policy that would hide rows is an error, never a smaller table.
        config.options("-c timezone=UTC -c client_min_messages=warning -c row_security=off");
        Ok(Self { config, ..target })
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

    /// Opens a session.
    pub async fn connect(&self) -> Result<Client, PostgresError> {
        let mut tries = 1;
        loop {
            match self.attempt().await? {
                Ok(client) => {
                    // So that a server sees within a second that its client was killed, also in
                    // the middle of an index. Older ones than 14 do not have it, nor need it.
                    let _ =
                        client.batch_execute("SET client_connection_check_interval = '1s'").await;
                    return Ok(client);
                }
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
            tokio::time::sleep(Duration::from_millis(250 << tries)).await;
            tries += 1;
        }
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
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
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
