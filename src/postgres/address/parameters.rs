//! What each parameter of an address means.

use crate::conninfo::PARAMETERS;
use crate::redact::AddressFault;

use super::fault;

/// Meaning of a parameter.
pub(super) enum Meaning {
    /// One of libpq.
    Parameter,
    /// Another way to say one of libpq, and the value there; none where it says nothing.
    Same(&'static str, fn(&str) -> Option<String>),
    /// Prisma's word for a server's certificate that is looked at, if it is `strict`.
    Strict,
    /// Prisma's schema.
    Schema,
    /// For a client of an application; nothing of it concerns docferry.
    Client,
}

/// Parameters of the clients of Prisma, node-postgres, SQLAlchemy, asyncpg, pgx, Rails, Django,
/// and of hosts of databases.
const CLIENTS: [&str; 30] = [
    "connection_limit",
    "pool_timeout",
    "socket_timeout",
    "single_use_connections",
    "pgbouncer",
    "statement_cache_size",
    "sslidentity",
    "prepared_statement_cache_size",
    "prepared_statement_name_func",
    "async_fallback",
    "uselibpqcompat",
    "binary",
    "max",
    "idleTimeoutMillis",
    "connectionTimeoutMillis",
    "default_query_exec_mode",
    "statement_cache_capacity",
    "description_cache_capacity",
    "pool_max_conns",
    "pool_min_conns",
    "pool_max_conn_lifetime",
    "pool_max_conn_idle_time",
    "pool",
    "pool_mode",
    "prepared_statements",
    "encoding",
    "checkout_timeout",
    "reaping_frequency",
    "conn_max_age",
    "supa",
];

/// The meaning of a parameter; none where it is not known.
pub(super) fn meaning(name: &str) -> Option<Meaning> {
    Some(match name {
        // The names that others have for it.
        "ssl" => Meaning::Same("sslmode", |value| match value {
            "true" | "1" | "on" => Some("require".to_owned()),
            "false" | "0" | "off" => Some("disable".to_owned()),
            // Those that asyncpg takes, and mistakes, which are refused later.
            "no-verify" => Some("require".to_owned()),
            mode => Some(mode.to_owned()),
        }),
        "requiressl" => {
            Meaning::Same("sslmode", |value| (value == "1").then(|| "require".to_owned()))
        }
        "sslaccept" => Meaning::Strict,
        "keepalives_retries" => Meaning::Same("keepalives_count", |value| Some(value.to_owned())),
        "database" | "dbName" => Meaning::Same("dbname", |value| Some(value.to_owned())),
        "schema" => Meaning::Schema,
        name if CLIENTS.contains(&name) => Meaning::Client,
        name if PARAMETERS.contains(&name) => Meaning::Parameter,
        _ => return None,
    })
}

/// The error for a parameter that is not known. It does not show its name: an `&` in a password
/// may have made it one.
pub(super) fn unknown(name: &str) -> AddressFault {
    const LIKE: f64 = 0.85;
    let like = |known: &&&str| strsim::jaro_winkler(known, name) > LIKE;
    match PARAMETERS.iter().find(like) {
        Some(known) => fault(format!("it has an option that is not known; `{known}` is like it")),
        None => fault("it has an option that is not known"),
    }
}

/// Parameters of libpq and the variables that stand for them (PostgreSQL manual, "Environment
/// Variables").
pub(super) fn variables() -> impl Iterator<Item = (&'static str, &'static str)> {
    [
        ("host", "PGHOST"),
        ("hostaddr", "PGHOSTADDR"),
        ("port", "PGPORT"),
        ("dbname", "PGDATABASE"),
        ("user", "PGUSER"),
        ("password", "PGPASSWORD"),
        ("passfile", "PGPASSFILE"),
        ("require_auth", "PGREQUIREAUTH"),
        ("channel_binding", "PGCHANNELBINDING"),
        ("options", "PGOPTIONS"),
        ("application_name", "PGAPPNAME"),
        ("sslmode", "PGSSLMODE"),
        ("sslnegotiation", "PGSSLNEGOTIATION"),
        ("sslcert", "PGSSLCERT"),
        ("sslkey", "PGSSLKEY"),
        ("sslcertmode", "PGSSLCERTMODE"),
        ("sslrootcert", "PGSSLROOTCERT"),
        ("sslcrl", "PGSSLCRL"),
        ("sslcrldir", "PGSSLCRLDIR"),
        ("sslsni", "PGSSLSNI"),
        ("requirepeer", "PGREQUIREPEER"),
        ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
        ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
        ("min_protocol_version", "PGMINPROTOCOLVERSION"),
        ("max_protocol_version", "PGMAXPROTOCOLVERSION"),
        ("gssencmode", "PGGSSENCMODE"),
        ("connect_timeout", "PGCONNECT_TIMEOUT"),
        ("target_session_attrs", "PGTARGETSESSIONATTRS"),
        ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    ]
    .into_iter()
}

/// Refuses a value that libpq refuses, and one that docferry cannot keep to.
pub(super) fn check(name: &str, value: &str) -> Result<(), AddressFault> {
    let one_of = |known: &[&str]| {
        if known.contains(&value) {
            return Ok(());
        }
        Err(fault(format!("`{name}` is one of {}", known.join(", "))))
    };
    let not_kept = |why: &str| Err(fault(format!("`{name}` cannot be kept to: {why}")));
    match name {
        "sslmode" => one_of(&["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]),
        "channel_binding" => one_of(&["disable", "prefer", "require"]),
        "sslnegotiation" => one_of(&["postgres", "direct"]),
        "load_balance_hosts" => one_of(&["disable", "random"]),
        "target_session_attrs" => {
            one_of(&["any", "read-write", "read-only", "primary", "standby", "prefer-standby"])
        }
        "keepalives" | "sslsni" => one_of(&["0", "1"]),
        "sslcertmode" if value == "require" => {
            not_kept("whether the server asks for a certificate is not known")
        }
        "sslcertmode" => one_of(&["disable", "allow"]),
        "ssl_min_protocol_version" => one_of(&["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]),
        // Older ones are not there any more.
        "ssl_max_protocol_version" => one_of(&["TLSv1.2", "TLSv1.3"]),
        "gssencmode" if value == "require" => {
            not_kept("there is no encryption by GSSAPI; use TLS, as sslmode says")
        }
        "gssencmode" => one_of(&["disable", "prefer"]),
        "min_protocol_version" if value != "3.0" => not_kept("version 3.0 is spoken"),
        "requirepeer" => not_kept("the account of the server is not looked at"),
        "require_auth" => not_kept("the server chooses how it asks who connects"),
        "replication" if !matches!(value, "0" | "false" | "off" | "no") => {
            not_kept("docferry reads and writes tables")
        }
        "scram_client_key" | "scram_server_key" => not_kept("write the password"),
        "connect_timeout"
        | "keepalives_idle"
        | "keepalives_interval"
        | "keepalives_count"
        | "tcp_user_timeout" => match value.trim().parse::<i32>() {
            Ok(_) => Ok(()),
            Err(_) => Err(fault(format!("`{name}` is no whole number"))),
        },
        _ => Ok(()),
    }
}
