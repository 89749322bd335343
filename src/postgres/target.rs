//! Where a load goes.

use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgresError;

/// How often a connection is tried.
const TRIES: u32 = 3;

/// A database.
#[derive(Clone, Debug)]
pub struct Target {
    config: Config,
}

impl Target {
    /// Reads `postgres://…` or `key=value` text; a missing password is taken from PGPASSWORD.
    pub fn parse(text: &str) -> Result<Self, PostgresError> {
        let mut config: Config = text.parse().map_err(PostgresError::Address)?;
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        config.application_name("docferry");
        config.connect_timeout(Duration::from_secs(10));
        // Without row_security a policy that would hide rows is an error, never a smaller table.
        config.options("-c timezone=UTC -c client_min_messages=warning -c row_security=off");
        Ok(Self { config })
    }

    /// Host, port and database; nothing secret.
    pub fn display(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        format!("{host}:{port}/{}", self.config.get_dbname().unwrap_or_default())
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
