//! What the tests share: the program, folders, servers.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use mongodb::bson::{Document, RawDocumentBuf};
use tokio_postgres::{Client, NoTls};

/// The program.
pub(crate) fn docferry() -> Command {
    let mut command = Command::cargo_bin("docferry").unwrap();
    command.env_remove("MONGODB_URI").env_remove("DATABASE_URL");
    command
}

/// The address of a server, or a visible skip; a failure where servers are required.
pub(crate) fn server(variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok();
    if address.is_none() {
        assert!(std::env::var_os("DOCFERRY_TEST_REQUIRE").is_none(), "{variable} is not set");
        eprintln!("skipped: {variable} is not set");
    }
    address
}

/// The same server with a database in the URI.
pub(crate) fn with_database(uri: &str, database: &str) -> String {
    uri.replacen("/?", &format!("/{database}?"), 1)
}

/// Writes a collection as mongodump would.
pub(crate) fn write_dump(folder: &Path, collection: &str, documents: &[Document]) {
    std::fs::create_dir_all(folder).unwrap();
    let bytes: Vec<u8> = documents
        .iter()
        .flat_map(|document| RawDocumentBuf::try_from(document).unwrap().into_bytes())
        .collect();
    std::fs::write(folder.join(format!("{collection}.bson")), bytes).unwrap();
}

/// A file of the project.
pub(crate) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Connects to a new database of this name.
pub(crate) async fn fresh_database(server: &str, name: &str) -> (Client, String) {
    let connect = |address: String| async move {
        let (client, connection) = tokio_postgres::connect(&address, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    };
    let admin = connect(server.to_owned()).await;
    admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let address = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    (connect(address.clone()).await, address)
}

/// The folder of real files, or a visible skip.
pub(crate) fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCFERRY_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: DOCFERRY_TEST_DATA is not set");
    }
    folder
}
