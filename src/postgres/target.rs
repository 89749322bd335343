//! Where a load goes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts, SslMode, SslNegotiation};

use super::PostgresError;
use super::address::{Address, Host, Process};
use super::tls::{self, Way};
use crate::redact::without_credentials;

/// The name of docferry's sessions, by which it knows them: an address does not change it.
const APPLICATION: &str = "docferry";

/// A database.
#[derive(Clone, Debug)]
pub struct Target {
    pub(super) address: Address,
    /// Set once a session was found to be one of its own.
    pub(super) settled: Arc<OnceCell<()>>,
}

impl Target {
    /// Reads `postgres://…` or `key=value` text as libpq does, with its service files, variables
    /// and password file. Options of other programs' addresses are in [`Target::ignored`].
    pub fn parse(text: &str) -> Result<Self, PostgresError> {
        let address = Address::resolve(text, &Process)?;
        Ok(Self { address, settled: Arc::default() })
    }

    /// Options of the address that are for other programs, and have no effect.
    pub fn ignored(&self) -> &[String] {
        &self.address.ignored
    }

    /// Refuses an address that names another schema than the one that is worked on.
    pub fn check_schema(&self, schema: &str) -> Result<(), PostgresError> {
        match &self.address.schema {
            Some(stated) if stated != schema => Err(PostgresError::OtherSchema {
                stated: stated.clone(),
                schema: schema.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Another database of the same server.
    #[must_use]
    pub fn with_database(&self, name: &str) -> Self {
        let address = self.address.with_database(name);
        Self { address, settled: Arc::default() }
    }

    /// The database.
    pub fn database(&self) -> &str {
        self.address.database()
    }

    /// `sslmode`.
    pub(super) fn mode(&self) -> &str {
        self.address.get("sslmode").unwrap_or("prefer")
    }

    /// The variables by which PostgreSQL's own programs reach the same database. They hold the
    /// password: an environment, unlike arguments, is readable by its owner alone.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = self.address.variables();
        let stated = |name: &str, variables: &[(&str, String)]| {
            variables.iter().any(|(known, _)| *known == name)
        };
        variables.retain(|(name, _)| *name != "PGAPPNAME");
        variables.push(("PGAPPNAME", APPLICATION.to_owned()));
        if !stated("PGHOST", &variables) {
            let names: Vec<&str> =
                self.address.hosts.iter().map(|host| host.name.as_str()).collect();
            variables.push(("PGHOST", names.join(",")));
        }
        // Here the system's authorities are trusted where no file is named; older libraries do not
        // know the word for them either.
        variables.retain(|(name, value)| *name != "PGSSLROOTCERT" || value != tls::SYSTEM);
        let strict = self.mode() == "verify-full" && !stated("PGSSLROOTCERT", &variables);
        if strict && let Some(file) = tls::system_file() {
            variables.push(("PGSSLROOTCERT", file.display().to_string()));
        }
        variables
    }

    /// Hosts, ports and database; nothing secret.
    pub fn display(&self) -> String {
        let hosts: Vec<String> =
            self.address.hosts.iter().map(|host| format!("{}:{}", host.name, host.port)).collect();
        format!("{}/{}", hosts.join(","), without_credentials(self.database()))
    }

    pub(super) fn display_of(&self, host: &Host) -> String {
        format!("{}:{}/{}", host.name, host.port, without_credentials(self.database()))
    }

    /// What the driver is told.
    pub(super) fn config(&self, host: &Host, way: Way) -> Config {
        let address = &self.address;
        let mut config = Config::new();
        config.application_name(APPLICATION).user(address.user()).dbname(address.database());
        match host.socket() {
            Some(folder) => config.host_path(folder),
            None => config.host(&host.name),
        };
        if let Some(ip) = host.address {
            config.hostaddr(ip);
        }
        config.port(host.port);
        if let Some(password) = address.password(host) {
            config.password(password);
        }
        // `client_encoding` is the driver's own: it reads UTF-8.
        if let Some(options) = address.get("options") {
            config.options(options);
        }
        config.ssl_mode(match way {
            Way::Plain => SslMode::Disable,
            Way::Preferred => SslMode::Prefer,
            Way::Encrypted => SslMode::Require,
        });
        if address.get("sslnegotiation") == Some("direct") && way == Way::Encrypted {
            config.ssl_negotiation(SslNegotiation::Direct);
        }
        match address.get("channel_binding") {
            Some("disable") => config.channel_binding(ChannelBinding::Disable),
            Some("require") => config.channel_binding(ChannelBinding::Require),
            _ => &mut config,
        };
        if address.get("load_balance_hosts") == Some("random") {
            config.load_balance_hosts(LoadBalanceHosts::Random);
        }
        config.keepalives(address.switch("keepalives").unwrap_or(true));
        let seconds = |name: &str| address.number(name).filter(|count| *count > 0);
        if let Some(idle) = seconds("keepalives_idle") {
            config.keepalives_idle(Duration::from_secs(idle));
        }
        if let Some(interval) = seconds("keepalives_interval") {
            config.keepalives_interval(Duration::from_secs(interval));
        }
        if let Some(count) = seconds("keepalives_count") {
            config.keepalives_retries(u32::try_from(count).unwrap_or(u32::MAX));
        }
        if let Some(milliseconds) = seconds("tcp_user_timeout") {
            config.tcp_user_timeout(Duration::from_millis(milliseconds));
        }
        config
    }
}
