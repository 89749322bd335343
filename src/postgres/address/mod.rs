//! An address of PostgreSQL with all that it leaves out, as libpq resolves it: the text, then the
//! service that it names, then the variables of the environment, then the defaults (PostgreSQL
//! manual, "Database Connection Control Functions").

mod hosts;
mod parameters;
mod password_file;
mod service;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub(super) use self::hosts::Host;
use self::parameters::{Meaning, meaning, variables};
use super::PostgresError;
use super::tls::SYSTEM;
use crate::conninfo::{Pairs, is_uri, pairs, uri};
use crate::redact::{AddressFault, check};

/// Where values that an address leaves out come from.
pub(super) trait Surroundings {
    /// A variable of the environment that is set to something.
    fn variable(&self, name: &str) -> Option<String>;

    /// The name of the account that runs docferry.
    fn account(&self) -> Option<String>;

    /// The home folder.
    fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").map(PathBuf::from)
    }

    /// A file of libpq's folder in the home folder, where there is one.
    fn own_file(&self, name: &str) -> Option<PathBuf> {
        let path = self.home()?.join(".postgresql").join(name);
        path.is_file().then_some(path)
    }
}

/// The environment of the process.
pub(super) struct Process;

impl Surroundings for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    fn account(&self) -> Option<String> {
        whoami::username().ok()
    }
}

/// An address, resolved.
#[derive(Clone, Debug, Default)]
pub(super) struct Address {
    /// Values of libpq's parameters that are stated somewhere.
    values: BTreeMap<String, String>,
    /// In the order in which they are tried; at least one.
    pub(super) hosts: Vec<Host>,
    /// The schema that Prisma's `schema` names.
    pub(super) schema: Option<String>,
    /// Parameters of clients of applications that mean nothing here, in their order.
    pub(super) ignored: Vec<String>,
}

impl Address {
    pub(super) fn resolve(
        text: &str,
        surroundings: &dyn Surroundings,
    ) -> Result<Self, PostgresError> {
        Self::read(text, surroundings).map_err(PostgresError::Address)
    }

    fn read(text: &str, surroundings: &dyn Surroundings) -> Result<Self, AddressFault> {
        let text = unquoted(text.trim());
        check(text)?;
        let stated = if text.contains("://") && is_uri(text) {
            uri(text).map_err(fault)?
        } else {
            pairs(text).ok_or_else(|| {
                fault("it is neither a URI nor text of `key=value` pairs, with values in single quotes where they hold spaces")
            })?
        };
        let mut address = Self::default();
        address.state(stated)?;
        let service = address.values.get("service").cloned();
        if let Some(name) = service.or_else(|| surroundings.variable("PGSERVICE")) {
            let stated = address.values.get("servicefile").map(PathBuf::from);
            for (key, value) in service::parameters(&name, stated, surroundings)? {
                address.fill(&key, value)?;
            }
        }
        for (key, variable) in variables() {
            if let Some(value) = surroundings.variable(variable) {
                address.fill(key, value)?;
            }
        }
        address.add_defaults(surroundings);
        address.check()?;
        let [names, addresses, ports] = ["host", "hostaddr", "port"].map(|name| address.get(name));
        address.hosts = hosts::hosts(names, addresses, ports)?;
        Ok(address)
    }

    /// Takes what the text says.
    fn state(&mut self, pairs: Pairs) -> Result<(), AddressFault> {
        let mut strict = false;
        for (key, value) in pairs {
            match meaning(&key) {
                Some(Meaning::Parameter) => {
                    self.values.insert(key, value);
                }
                Some(Meaning::Same(name, value_of)) => {
                    if let Some(value) = value_of(&value) {
                        self.values.insert(name.to_owned(), value);
                    }
                }
                Some(Meaning::Strict) if value == "strict" => strict = true,
                Some(Meaning::Strict | Meaning::Client) => {
                    if !self.ignored.contains(&key) {
                        self.ignored.push(key);
                    }
                }
                Some(Meaning::Schema) => self.schema = Some(value).filter(|name| !name.is_empty()),
                None => return Err(parameters::unknown(&key)),
            }
        }
        if strict && self.get("sslmode") != Some("disable") {
            self.values.insert("sslmode".to_owned(), "verify-full".to_owned());
        }
        // An empty value is none, as the documentation of most parameters has it.
        self.values.retain(|_, value| !value.is_empty());
        Ok(())
    }

    /// Takes a value of a parameter that is not stated so far.
    fn fill(&mut self, key: &str, value: String) -> Result<(), AddressFault> {
        match meaning(key) {
            Some(Meaning::Parameter) => {
                self.values.entry(key.to_owned()).or_insert(value);
                Ok(())
            }
            _ => Err(parameters::unknown(key)),
        }
    }

    fn add_defaults(&mut self, surroundings: &dyn Surroundings) {
        if self.get("user").is_none()
            && let Some(account) = surroundings.account()
        {
            self.values.insert("user".to_owned(), account);
        }
        if self.get("dbname").is_none()
            && let Some(user) = self.get("user").map(str::to_owned)
        {
            self.values.insert("dbname".to_owned(), user);
        }
        for (key, name) in [
            ("sslrootcert", "root.crt"),
            ("sslcrl", "root.crl"),
            ("sslcert", "postgresql.crt"),
            ("sslkey", "postgresql.key"),
        ] {
            if self.get(key).is_none()
                && let Some(path) = surroundings.own_file(name)
            {
                self.values.insert(key.to_owned(), path.display().to_string());
            }
        }
        // The authorities of the system vouch for names only.
        if self.get("sslrootcert") == Some(SYSTEM) && self.get("sslmode").is_none() {
            self.values.insert("sslmode".to_owned(), "verify-full".to_owned());
        }
        if self.get("passfile").is_none()
            && let Some(home) = surroundings.home()
        {
            self.values.insert("passfile".to_owned(), home.join(".pgpass").display().to_string());
        }
    }

    /// Refuses values that docferry would have to pass over although they keep something safe, and
    /// those that mean nothing.
    fn check(&self) -> Result<(), AddressFault> {
        for (key, value) in &self.values {
            parameters::check(key, value)?;
        }
        if self.get("sslrootcert") == Some(SYSTEM) && self.get("sslmode") != Some("verify-full") {
            return Err(fault("`sslrootcert=system` goes with `sslmode=verify-full` only"));
        }
        Ok(())
    }

    /// A value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A file that a parameter names.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// A number of seconds, or another count.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.trim().parse::<i64>().ok()?.try_into().ok()
    }

    /// Whether a switch is on; none where it is not stated.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| value != "0")
    }

    /// Database.
    pub(super) fn database(&self) -> &str {
        self.get("dbname").unwrap_or_default()
    }

    /// Role.
    pub(super) fn user(&self) -> &str {
        self.get("user").unwrap_or_default()
    }

    /// The password for a host.
    pub(super) fn password(&self, host: &Host) -> Option<String> {
        self.get("password").map(str::to_owned).or_else(|| {
            let path = self.path("passfile")?;
            let port = host.port.to_string();
            // The socket of the machine's own server goes by this name in the file.
            let name = if hosts::is_default_socket(&host.name) { "localhost" } else { &host.name };
            password_file::password(&path, [name, &port, self.database(), self.user()])
        })
    }

    /// The same server's other database.
    pub(super) fn with_database(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.values.insert("dbname".to_owned(), name.to_owned());
        other
    }

    /// The variables by which libpq's own programs read the same address, as far as it is stated.
    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        let known = variables().filter(|(key, _)| !matches!(*key, "service" | "servicefile"));
        known.filter_map(|(key, variable)| Some((variable, self.get(key)?.to_owned()))).collect()
    }
}

fn fault(detail: impl Into<String>) -> AddressFault {
    AddressFault::Malformed(detail.into())
}

/// A text without the quotes that stay around it in files of variables that no shell reads.
fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
        if let Some(inner) = inner.filter(|inner| is_uri(inner)) {
            return inner;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// Variables of a test, and a home folder.
    struct Test(BTreeMap<&'static str, String>);

    impl Surroundings for Test {
        fn variable(&self, name: &str) -> Option<String> {
            self.0.get(name).cloned()
        }

        fn account(&self) -> Option<String> {
            Some("me".to_owned())
        }
    }

    fn test(variables: &[(&'static str, &str)]) -> Test {
        Test(variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
    }

    /// Hosts, role and database of an address, then what else it states.
    fn shown(address: &Address) -> String {
        let hosts: Vec<String> =
            address.hosts.iter().map(|host| format!("{}:{}", host.name, host.port)).collect();
        let mut text = format!("{}@{}/{}", address.user(), hosts.join(","), address.database());
        let named = ["user", "dbname", "host", "hostaddr", "port", "passfile"];
        for (key, value) in address.values.iter().filter(|(key, _)| !named.contains(&key.as_str()))
        {
            let _ = write!(text, " {key}={value}");
        }
        if let Some(schema) = &address.schema {
            let _ = write!(text, " schema:{schema}");
        }
        if !address.ignored.is_empty() {
            let _ = write!(text, " ignored:{}", address.ignored.join(","));
        }
        text
    }

    #[test]
    fn what_an_address_leaves_out_is_filled_in() {
        let variables = test(&[
            ("PGHOST", "env"),
            ("PGPORT", "1"),
            ("PGUSER", "u"),
            ("PGDATABASE", "d"),
            ("PGSSLMODE", "disable"),
        ]);
        let none = test(&[]);
        for (text, surroundings, expected) in [
            ("", &variables, "u@env:1/d sslmode=disable"),
            ("postgres://h", &variables, "u@h:1/d sslmode=disable"),
            ("postgres://a@h:2/x?sslmode=require", &variables, "a@h:2/x sslmode=require"),
            ("host=h", &none, "me@h:5432/me"),
            ("postgres://a@h", &none, "a@h:5432/a"),
            ("postgres://h1,h2:3/d", &none, "me@h1:5432,h2:3/d"),
            ("host=h1,h2 port=7 dbname=d", &none, "me@h1:7,h2:7/d"),
            (
                "postgresql://u:p@h/d?schema=app&connection_limit=5&pgbouncer=true&pool_timeout=0",
                &none,
                "u@h:5432/d password=p schema:app ignored:connection_limit,pgbouncer,pool_timeout",
            ),
            (
                "postgresql://u@h/d?sslmode=require&channel_binding=require",
                &none,
                "u@h:5432/d channel_binding=require sslmode=require",
            ),
            (
                "postgresql://u@h/d?ssl=true&sslaccept=accept_invalid_certs",
                &none,
                "u@h:5432/d sslmode=require ignored:sslaccept",
            ),
            ("postgresql://u@h/d?sslaccept=strict", &none, "u@h:5432/d sslmode=verify-full"),
            (
                "postgresql://u@h/d?sslaccept=strict&sslmode=require",
                &none,
                "u@h:5432/d sslmode=verify-full",
            ),
            (
                "postgresql+asyncpg://u@h/d?prepared_statement_cache_size=0",
                &none,
                "u@h:5432/d ignored:prepared_statement_cache_size",
            ),
            ("\"postgresql://u@h/d\"", &none, "u@h:5432/d"),
            (
                "host=h password='a?b' sslmode=verify-full user=u dbname=d",
                &none,
                "u@h:5432/d password=a?b sslmode=verify-full",
            ),
            ("host=h user='' dbname=''", &none, "me@h:5432/me"),
            ("hostaddr=10.0.0.1,10.0.0.2 host=a,b", &none, "me@a:5432,b:5432/me"),
            (
                "postgres://u@h/d?gssencmode=prefer&krbsrvname=x",
                &none,
                "u@h:5432/d gssencmode=prefer krbsrvname=x",
            ),
        ] {
            assert_eq!(shown(&Address::read(text, surroundings).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let none = test(&[]);
        for (text, expected) in [
            ("postgres://h/d?requirepeer=postgres", "requirepeer"),
            ("postgres://h/d?require_auth=scram-sha-256", "require_auth"),
            ("postgres://h/d?gssencmode=require", "gssencmode"),
            ("postgres://h/d?sslmode=on", "sslmode"),
            ("postgres://h/d?sslmode=prefer&sslrootcert=system", "verify-full"),
            ("postgres://h/d?target_session_attrs=writable", "target_session_attrs"),
            ("postgres://h/d?connect_timeout=soon", "connect_timeout"),
            ("postgres://h/d?port=0", "port"),
            ("postgres://h/d?ssl_max_protocol_version=TLSv1.1", "ssl_max_protocol_version"),
            ("postgres://a,b:1,2/d?port=1,2", "port"),
            ("host=a,b hostaddr=1.1.1.1", "hostaddr"),
            ("hostaddr=name", "hostaddr"),
            ("postgres://h/d?sslmod=require", "`sslmode`"),
            ("postgres://h/d?secret=x", "option that is not known"),
            ("host=h service=nowhere", "service"),
            ("mysql://h/d", ""),
            ("postgres://u:p@ss@h/d", ""),
        ] {
            let error = Address::read(text, &none).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn services_come_before_variables_and_after_the_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("services.conf");
        std::fs::write(
            &file,
            "# services\n[other]\nhost=no\n\n[shop]\nhost=db.example\nport=6000\n  user=owner  \n\
             password=it is=secret\n[shop2]\nhost=no\n",
        )
        .unwrap();
        let file = file.display().to_string();
        let surroundings = test(&[
            ("PGSERVICEFILE", &file),
            ("PGPORT", "1"),
            ("PGDATABASE", "d"),
            ("PGHOST", "env"),
        ]);
        let address = Address::read("service=shop user=me", &surroundings).unwrap();
        assert_eq!(shown(&address), "me@db.example:6000/d password=it is=secret service=shop");
        let error = Address::read("service=none", &surroundings).unwrap_err().to_string();
        assert!(error.contains("no section [none]"), "{error}");
        std::fs::write(&file, "[shop]\nhost=h\nnonsense\n").unwrap();
        let error = Address::read("service=shop", &surroundings).unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
        let stated = Address::read(&format!("service=shop servicefile='{file}'"), &test(&[]));
        assert!(stated.unwrap_err().to_string().contains("line 3"));
    }

    #[test]
    fn each_host_has_the_password_of_its_own() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwords");
        std::fs::write(&file, "a:5432:d:u:first\nb:1:d:u:second\nlocalhost:*:*:u:local\n").unwrap();
        let text = format!(
            "host=a,b,/run,/tmp port=5432,1,2,3 user=u dbname=d passfile='{}'",
            file.display()
        );
        let address = Address::read(&text, &test(&[])).unwrap();
        let passwords = |address: &Address| {
            address.hosts.iter().map(|host| address.password(host)).collect::<Vec<_>>()
        };
        let some = |text: &str| Some(text.to_owned());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(passwords(&address), [some("first"), some("second"), None, some("local")]);
        // Others may not read it.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(passwords(&address), [None, None, None, None]);
    }
}
