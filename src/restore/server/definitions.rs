//! Collections, indexes and views as the server takes them. A definition that it refuses costs that
//! index or view alone; what it does not know of a definition is left out and named.

use std::collections::BTreeMap;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::error::{Error, ErrorKind};

use super::{Target, code};
use crate::restore::definitions::{Index, left_out};
use crate::restore::{Refused, RestoreError};
use crate::source::{describe, may_pass};

/// Says that a server older than 4.2 does not know this field of a command.
const IGNORE: &str = "ignoreUnknownIndexOptions";

impl Target {
    /// Makes a collection. Options that the server does not know are left out, one after another as
    /// it names them.
    pub(super) async fn create(
        &self,
        name: &str,
        mut command: Document,
    ) -> Result<(), RestoreError> {
        const NAMESPACE_EXISTS: i32 = 48;
        let action = format!("make the collection {name}");
        loop {
            let raw = raw(name, "options", &command)?;
            match self.raw(&action, &raw).await {
                Ok(_) => return Ok(()),
                // Made by an earlier attempt, or there before and added to.
                Err(error) if code(&error) == Some(NAMESPACE_EXISTS) => return Ok(()),
                Err(error) => {
                    let Some(option) = unknown_option(&error, &command) else {
                        return Err(self.failed(&action)(error));
                    };
                    command.remove(&option);
                    self.note_change(name, &left_out(&[option])).await;
                }
            }
        }
    }

    /// Makes the indexes of a collection and says how many there are.
    pub(super) async fn make_indexes(
        &self,
        name: &str,
        indexes: &[Index],
    ) -> Result<usize, RestoreError> {
        if indexes.is_empty() {
            return Ok(0);
        }
        let action = format!("make the indexes of {name}");
        let all: Vec<&Index> = indexes.iter().collect();
        let mut made = Vec::new();
        match self.create_indexes(name, &action, &all).await? {
            Ok(()) => made = all,
            // One of them is refused, and none was made: which one shows by itself.
            Err(_) => {
                for index in all {
                    match self.create_indexes(name, &action, &[index]).await? {
                        Ok(()) => made.push(index),
                        Err(error) => self.refuse(name, "index", index.name(), &error).await,
                    }
                }
            }
        }
        let found = self.server.indexes_of(name).await?;
        let found: BTreeMap<&str, &Document> =
            found.iter().filter_map(|index| Some((index.get_str("name").ok()?, index))).collect();
        for index in &made {
            let mut changes = index.changes.clone();
            let forgotten = found.get(index.name()).map(|found| index.forgotten(found));
            if let Some(forgotten) = forgotten.filter(|forgotten| !forgotten.is_empty()) {
                changes.insert(0, left_out(&forgotten));
            }
            for change in changes {
                self.note_change(&format!("{name}, index {}", index.name()), &change).await;
            }
        }
        Ok(made.len())
    }

    /// Makes indexes; the inner error is a refusal by the server.
    async fn create_indexes(
        &self,
        name: &str,
        action: &str,
        indexes: &[&Index],
    ) -> Result<Result<(), Error>, RestoreError> {
        let all: Vec<Document> = indexes.iter().map(|index| index.definition.clone()).collect();
        let command = doc! {"createIndexes": name, "indexes": all, IGNORE: true};
        let mut answer = self.raw(action, &raw(name, "an index", &command)?).await;
        let before_4_2 = |error: &Error| describe(error).contains(IGNORE);
        if answer.as_ref().is_err_and(before_4_2) {
            let known: Vec<Document> = indexes.iter().map(|index| index.known()).collect();
            let command = doc! {"createIndexes": name, "indexes": known};
            answer = self.raw(action, &raw(name, "an index", &command)?).await;
        }
        match answer {
            Ok(_) => Ok(Ok(())),
            Err(error) if is_refusal(&error) => Ok(Err(error)),
            Err(error) => Err(self.failed(action)(error)),
        }
    }

    /// Makes a view and says whether there is one then.
    pub(super) async fn make_view(
        &self,
        name: &str,
        command: &Document,
    ) -> Result<bool, RestoreError> {
        let action = format!("make the view {name}");
        match self.raw(&action, &raw(name, "options", command)?).await {
            Ok(_) => Ok(true),
            Err(error) if is_refusal(&error) => {
                self.refuse(name, "view", name, &error).await;
                Ok(false)
            }
            Err(error) => Err(self.failed(&action)(error)),
        }
    }

    async fn refuse(&self, collection: &str, kind: &'static str, name: &str, error: &Error) {
        self.refused.lock().await.push(Refused {
            collection: collection.to_owned(),
            kind,
            name: name.to_owned(),
            detail: describe(error),
        });
    }

    async fn note_change(&self, of: &str, change: &str) {
        self.changes.lock().await.push(format!("{of}: {change}"));
    }
}

fn raw(
    collection: &str,
    what: &'static str,
    command: &Document,
) -> Result<RawDocumentBuf, RestoreError> {
    RawDocumentBuf::try_from(command).map_err(|error| RestoreError::Definition {
        what,
        collection: collection.to_owned(),
        detail: error.to_string(),
    })
}

/// The server understood and said no, and would say so again.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(_)) && !may_pass(error)
}

/// The option of a command that a server says it does not know.
fn unknown_option(error: &Error, command: &Document) -> Option<String> {
    const UNKNOWN_FIELD: i32 = 40_415;
    const INVALID_OPTIONS: i32 = 72;
    let ErrorKind::Command(answer) = error.kind.as_ref() else { return None };
    let unknown = answer.code == UNKNOWN_FIELD
        || (answer.code == INVALID_OPTIONS && answer.message.contains("not a valid"));
    let options = command.keys().filter(|key| *key != "create");
    let named = |key: &&String| {
        let message = &answer.message;
        message.contains(&format!("'create.{key}'")) || message.contains(&format!("'{key}'"))
    };
    options.filter(|_| unknown).find(named).cloned()
}
