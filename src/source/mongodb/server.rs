//! The connection: what the server is, and commands that are sent again after errors that may pass.

use std::time::Duration;

use mongodb::bson::{Binary, Document, RawDocumentBuf, Timestamp, doc, spec::BinarySubtype};
use mongodb::error::ErrorKind;
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};

use super::collection::ListedCollection;
use crate::interrupt::unless_interrupted;
use crate::redact::{AddressFault, check, without_credentials};
use crate::source::error::{NAMESPACE_NOT_FOUND, PAUSES, UUID_MISMATCH, code};
use crate::source::{SourceError, may_pass};

/// How often a connection is tried.
const TRIES: u32 = 2;
/// How long the driver looks for a usable server in one try.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries of one command. An election takes about 12 seconds.
const COMMAND_TRIES: usize = 7;
/// The number of no collection: its answer shows whether the server takes numbers.
const NO_COLLECTION: [u8; 16] = *b"docferry.nothing";

/// How a collection is told from others that may get its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// By its number alone; takes the privilege `useUUID`.
    Number,
    /// By its name, which the server compares with the number; since version 6.
    Checked,
    /// By its name: what is behind it is seen by listing the collections again.
    Name,
}

/// A connected server.
#[derive(Clone, Debug)]
pub struct Server {
    address: String,
    database: Database,
    /// Server version, where it says one.
    pub version: Option<String>,
    /// The cluster time to read at; none on a standalone server.
    pub cluster_time: Option<Timestamp>,
    identity: Identity,
    /// Whether it compares numbers with names.
    pub(super) checks: bool,
}

/// The moment of an answer, by the server's own clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The cluster's; none on a standalone server.
    pub cluster_time: Option<Timestamp>,
    /// Milliseconds since 1970, where the server says it.
    pub local_time: Option<i64>,
}

impl Moment {
    fn of(hello: &Document) -> Option<Self> {
        // Only members of a replica set, and routers, can read at a cluster time.
        let clustered = hello.contains_key("setName")
            || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
        Some(Self {
            cluster_time: match hello.get_timestamp("operationTime") {
                Ok(time) if clustered => Some(time),
                Err(_) if clustered => return None,
                _ => None,
            },
            local_time: hello.get_datetime("localTime").ok().map(|time| time.timestamp_millis()),
        })
    }
}

/// What a URI says. The driver quotes what it does not understand, which may be a secret.
pub async fn read_uri(uri: &str) -> Result<ClientOptions, SourceError> {
    check(uri).map_err(|fault| SourceError::unreadable(uri, fault))?;
    ClientOptions::parse(uri).await.map_err(|cause| match cause.kind.as_ref() {
        ErrorKind::DnsResolve { .. } | ErrorKind::Io(_) => SourceError::Server {
            action: "read the URI".to_owned(),
            address: without_credentials(uri),
            tries: 1,
            cause,
        },
        _ => SourceError::unreadable(uri, AddressFault::of(&cause, uri)),
    })
}

impl Server {
    /// Connects, and asks the server what it is. The URI names the database.
    pub async fn connect(uri: &str) -> Result<Self, SourceError> {
        Self::connect_to(uri, None).await
    }

    /// The same, with a database for where the URI names none.
    pub async fn connect_to(uri: &str, otherwise: Option<&str>) -> Result<Self, SourceError> {
        let address = without_credentials(uri);
        let fail = |action: &str, tries, cause| SourceError::Server {
            action: action.to_owned(),
            address: address.clone(),
            tries,
            cause,
        };
        let mut options = read_uri(uri).await?;
        options.app_name.get_or_insert_with(|| "docferry".to_owned());
        options.server_selection_timeout.get_or_insert(SELECTION_TIMEOUT);
        let client =
            Client::with_options(options).map_err(|source| fail("use the URI", 1, source))?;
        let otherwise = otherwise.map(|name| client.database(name));
        let Some(database) = client.default_database().or(otherwise) else {
            return Err(SourceError::Address {
                address,
                detail: "the URI names no database".to_owned(),
            });
        };
        let mut tries = 1;
        let hello = loop {
            match unless_interrupted(database.run_command(doc! {"hello": 1})).await {
                None => return Err(SourceError::Interrupted),
                Some(Ok(hello)) => break hello,
                Some(Err(_)) if tries < TRIES => tries += 1,
                Some(Err(source)) => return Err(fail("connect", tries, source)),
            }
        };
        let mut server = Self {
            address,
            database,
            version: None,
            cluster_time: None,
            identity: Identity::Name,
            checks: false,
        };
        let build = server.answer("ask for the version", &doc! {"buildInfo": 1}).await?;
        server.version = build.get_str("version").ok().map(str::to_owned);
        let moment = Moment::of(&hello);
        server.cluster_time =
            moment.ok_or_else(|| server.unreadable("connect", "operationTime"))?.cluster_time;
        server.find_identity().await?;
        Ok(server)
    }

    /// Finds out how this user can tell collections apart at this server, by asking for one that
    /// is not there.
    async fn find_identity(&mut self) -> Result<(), SourceError> {
        let number = Binary { subtype: BinarySubtype::Uuid, bytes: NO_COLLECTION.to_vec() };
        let takes = self.refusal(&doc! {"listIndexes": number.clone()}).await?;
        let compares = self
            .refusal(&doc! {
                "aggregate": "docferry.nothing", "collectionUUID": number,
                "pipeline": [], "cursor": {},
            })
            .await?;
        self.checks = compares == Some(UUID_MISMATCH);
        self.identity = if takes == Some(NAMESPACE_NOT_FOUND) {
            Identity::Number
        } else if self.checks {
            Identity::Checked
        } else {
            Identity::Name
        };
        Ok(())
    }

    /// The code with which the server refuses a command; none when it does not.
    async fn refusal(&self, command: &Document) -> Result<Option<i32>, SourceError> {
        match self.answer("ask how collections can be read", command).await {
            Ok(_) => Ok(None),
            Err(SourceError::Server { cause, .. }) if code(&cause).is_some() => Ok(code(&cause)),
            Err(error) => Err(error),
        }
    }

    /// How collections are told apart.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// How this collection is told from others.
    pub fn identity_of(&self, listed: &ListedCollection) -> Identity {
        if listed.number().is_some() { self.identity } else { Identity::Name }
    }

    /// The server's clocks.
    pub async fn moment(&self) -> Result<Moment, SourceError> {
        let action = "ask for the time";
        let hello = self.answer(action, &doc! {"hello": 1}).await?;
        Moment::of(&hello).ok_or_else(|| self.unreadable(action, "operationTime"))
    }

    /// The driver's handle of the database.
    pub fn handle(&self) -> &Database {
        &self.database
    }

    /// Name of the database.
    pub fn database(&self) -> &str {
        self.database.name()
    }

    /// The address without credentials.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn failed(
        &self,
        action: impl Into<String>,
    ) -> impl FnOnce(mongodb::error::Error) -> SourceError {
        let address = self.address.clone();
        let action = action.into();
        move |cause| SourceError::Server { action, address, tries: 1, cause }
    }

    /// An answer that lacks what it must have.
    pub(super) fn unreadable(&self, action: &str, lacks: &'static str) -> SourceError {
        SourceError::Answer { action: action.to_owned(), address: self.address.clone(), lacks }
    }

    /// A collection that is no longer what was listed.
    pub(crate) fn gone(&self, listed: &ListedCollection, detail: String) -> SourceError {
        let (address, collection) = (self.address.clone(), listed.name.clone());
        SourceError::Gone { address, collection, detail }
    }

    /// The answer to a command, which is sent again after errors that may pass.
    pub(super) async fn answer(
        &self,
        action: &str,
        command: &Document,
    ) -> Result<Document, SourceError> {
        let mut tries = Tries::default();
        loop {
            match self.database.run_command(command.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(cause) => tries.after(self, action, cause).await?,
            }
        }
    }

    /// The whole answer to a command that answers with a cursor.
    pub(super) async fn entries(
        &self,
        action: &str,
        command: &Document,
    ) -> Result<Vec<Document>, SourceError> {
        let mut tries = Tries::default();
        loop {
            match self.try_entries(command).await {
                Ok(entries) => break entries,
                Err(cause) => tries.after(self, action, cause).await?,
            }
        }
        .iter()
        .map(|entry| {
            Document::try_from(entry.as_ref()).map_err(|error| self.failed(action)(error.into()))
        })
        .collect()
    }

    pub(super) async fn try_entries(
        &self,
        command: &Document,
    ) -> Result<Vec<RawDocumentBuf>, mongodb::error::Error> {
        let mut cursor = self.database.run_cursor_command(command.clone()).await?;
        let mut entries = Vec::new();
        while cursor.advance().await? {
            entries.push(cursor.current().to_owned());
        }
        Ok(entries)
    }
}

/// How often a command failed.
#[derive(Default)]
pub(super) struct Tries(usize);

impl Tries {
    /// Waits where the command is worth to be sent again; else the error.
    pub(super) async fn after(
        &mut self,
        server: &Server,
        action: &str,
        cause: mongodb::error::Error,
    ) -> Result<(), SourceError> {
        self.0 += 1;
        match PAUSES.get(self.0 - 1) {
            Some(pause) if self.0 < COMMAND_TRIES && may_pass(&cause) => {
                tokio::time::sleep(Duration::from_millis(*pause)).await;
                Ok(())
            }
            _ => Err(SourceError::Server {
                action: action.to_owned(),
                address: server.address().to_owned(),
                tries: u32::try_from(self.0).unwrap_or(u32::MAX),
                cause,
            }),
        }
    }
}
