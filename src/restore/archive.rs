//! A mongodump archive: the collections one after another in one file. Its layout is described
//! where it is read, in `source::archive`.

use std::io::Write;
use std::path::Path;

use mongodb::bson::{RawDocumentBuf, rawdoc};

use super::dump::{WriteError, each_document, write_file};
use super::{RestoreError, RestoreOptions, RestoreReport, metadata, new_file, notes, views};
use crate::progress::Progress;
use crate::source::archive::{Checksum, MAGIC};
use crate::staging::chain::Chain;

/// Version of the archive format.
const FORMAT: &str = "0.1";
/// Ends the prelude, and each block.
const TERMINATOR: [u8; 4] = [0xff; 4];

/// Writes the file under a temporary name, and gives it its own when it is whole.
pub(super) fn restore(
    chain: &Chain,
    path: &Path,
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<RestoreReport, RestoreError> {
    let gzip = path.extension().is_some_and(|extension| extension == "gz");
    new_file(path, |temporary| {
        let mut report = RestoreReport::default();
        write_file(temporary, gzip, |output| write(chain, output, options, progress, &mut report))
            .map_err(|error| error.of(path))?;
        options.selection.check_found(report)
    })
}

fn write(
    chain: &Chain,
    output: &mut dyn Write,
    options: &RestoreOptions,
    progress: &dyn Progress,
    report: &mut RestoreReport,
) -> Result<(), WriteError> {
    let manifest = chain.newest();
    let database = manifest.source.database.as_str();
    let version = manifest.source.server_version.as_deref().unwrap_or_default();
    output.write_all(&MAGIC.to_le_bytes())?;
    document(
        output,
        &rawdoc! {
            "concurrent_collections": 1, "version": FORMAT, "server_version": version,
            "tool_version": concat!("docferry ", env!("CARGO_PKG_VERSION")),
        },
    )?;
    let selected = options.selected(manifest, progress);
    let selected_views = || views(manifest).filter(|view| options.selection.has(&view.name));
    for collection in &selected {
        let (name, kind) = (collection.name.as_str(), collection.kind.as_str());
        let text = options.metadata(collection);
        let size = i32::try_from(collection.document_bytes).unwrap_or(i32::MAX);
        document(
            output,
            &rawdoc! {"db": database, "collection": name, "metadata": text, "size": size, "type": kind},
        )?;
    }
    for view in selected_views() {
        let name = view.name.as_str();
        let text = metadata(name, "view", &view.options, &[], None);
        document(
            output,
            &rawdoc! {"db": database, "collection": name, "metadata": text, "size": 0, "type": "view"},
        )?;
    }
    output.write_all(&TERMINATOR)?;
    for collection in selected {
        let name = collection.name.as_str();
        let mut checksum = Checksum::default();
        document(output, &header(database, name, false, 0))?;
        let rows = each_document(chain, collection, options, progress, |document| {
            checksum.update(document);
            Ok(output.write_all(document)?)
        })?;
        output.write_all(&TERMINATOR)?;
        document(output, &header(database, name, true, checksum.finish().cast_signed()))?;
        output.write_all(&TERMINATOR)?;
        report.tables.push(options.restored(collection, rows));
        report.notes.extend(notes(collection, true));
    }
    // A view has no documents, but its end is told all the same.
    for view in selected_views() {
        document(output, &header(database, &view.name, true, 0))?;
        output.write_all(&TERMINATOR)?;
        report.views.push(view.name.clone());
    }
    Ok(())
}

fn header(database: &str, collection: &str, end: bool, checksum: i64) -> RawDocumentBuf {
    rawdoc! {"db": database, "collection": collection, "EOF": end, "CRC": checksum}
}

fn document(output: &mut dyn Write, document: &RawDocumentBuf) -> Result<(), WriteError> {
    Ok(output.write_all(document.as_bytes())?)
}
