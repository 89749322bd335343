//! Where files are: `staging/<pipeline>/<run>/…`.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::StagingError;
use super::folders::Folders;
pub use super::folders::folder_name;
use super::json_file::sync_directory;
use super::manifest::MANIFEST;
use super::own_files;
use super::run_id;
use crate::progress::Stage;

/// Name of the link to the newest run whose export is finished.
pub const LATEST: &str = "latest";

/// File name of a part.
pub fn part_name(index: usize) -> String {
    format!("part-{index:05}.parquet")
}

/// The directory of one run.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
    pipeline: String,
    run: String,
    /// A stage whose folder is made anew beside the one that others read.
    preparing: Option<Stage>,
    /// Whether the export is read as it is with all that it adds to.
    whole: bool,
    /// Folders of the stage that is at work.
    folders: Arc<OnceLock<Folders>>,
}

impl RunDirectory {
    fn at(path: PathBuf, pipeline: String, run: String) -> Self {
        let folders = Arc::default();
        Self { path, pipeline, run, preparing: None, whole: false, folders }
    }

    /// Makes the directory of a new run. Its id is that of this second, or the one after the
    /// greatest id ever used of this pipeline.
    pub fn create(staging: &Path, pipeline: &str) -> Result<Self, StagingError> {
        let parent = staging.join(folder_name(pipeline));
        create_folder(&parent)?;
        own_files::check_pipeline(&parent)?;
        let run = run_id::take(&parent)?;
        let path = parent.join(&run);
        DirBuilder::new().mode(0o700).create(&path).map_err(io("create", &path))?;
        Ok(Self::at(path, pipeline.to_owned(), run))
    }

    /// Points `latest` to this run, unless it names a newer one that is there.
    pub fn become_latest(&self) -> Result<(), StagingError> {
        let parent = self.path.parent().unwrap_or(&self.path);
        let link = parent.join(LATEST);
        let newer = |latest: &PathBuf| latest.as_os_str() > self.run.as_str();
        if fs::read_link(&link).is_ok_and(|latest| newer(&latest) && parent.join(latest).exists()) {
            return Ok(());
        }
        let temporary = parent.join(format!(".{LATEST}-{}", self.run));
        let _ = fs::remove_file(&temporary);
        std::os::unix::fs::symlink(&self.run, &temporary).map_err(io("create", &temporary))?;
        fs::rename(&temporary, &link).map_err(io("replace", &link))
    }

    /// Finds a run by its id, or the newest finished one by `latest`.
    pub fn open(staging: &Path, pipeline: &str, run: &str) -> Result<Self, StagingError> {
        let missing = || StagingError::NoSuchRun {
            staging: staging.to_owned(),
            pipeline: pipeline.to_owned(),
            run: run.to_owned(),
        };
        if run.contains('/') || run.starts_with('.') {
            return Err(missing());
        }
        let named = staging.join(folder_name(pipeline)).join(run);
        let path = match fs::canonicalize(&named) {
            // The link is lost where a staging directory is copied without links.
            Err(_) if run == LATEST => {
                let last = super::retention::last_good(staging, pipeline, None)?;
                return last.map(|(run, _)| run).ok_or_else(missing);
            }
            found => found.map_err(|_| missing())?,
        };
        if !path.join("run.json").is_file() {
            return Err(missing());
        }
        // The link to the newest run leads to its neighbour, nothing else is a link.
        let folder =
            fs::canonicalize(staging.join(folder_name(pipeline))).map_err(|_| missing())?;
        if path.parent() != Some(&folder) || (run != LATEST && named.is_symlink()) {
            return Err(StagingError::NoFile { path: named, kind: "a symbolic link" });
        }
        own_files::check_pipeline(&staging.join(folder_name(pipeline)))?;
        own_files::check_run(&path)?;
        let run = path.file_name().and_then(|name| name.to_str()).ok_or_else(missing)?.to_owned();
        Ok(Self::at(path, pipeline.to_owned(), run))
    }

    /// Finds a run without knowing its pipeline: by the path of its folder, by `pipeline/run`, or
    /// by its id or `latest` where only one pipeline has it.
    pub fn find(staging: &Path, text: &str) -> Result<Self, StagingError> {
        let path = Path::new(text);
        if path.join("run.json").is_file() {
            let path = fs::canonicalize(path).map_err(io("find", path))?;
            let name = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
            if let (Some(run), Some(pipeline)) = (name(&path), path.parent().and_then(name)) {
                own_files::check_run(&path)?;
                return Ok(Self::at(path, pipeline, run));
            }
        }
        let missing = |pipeline: &str| StagingError::NoSuchRun {
            staging: staging.to_owned(),
            pipeline: pipeline.to_owned(),
            run: text.to_owned(),
        };
        if let Some((pipeline, run)) = text.split_once('/') {
            return Self::open(staging, pipeline, run);
        }
        let entries = fs::read_dir(staging).map_err(|_| missing("any name"))?;
        let mut found: Vec<Self> = entries
            .flatten()
            .filter_map(|entry| {
                let opened = Self::open(staging, entry.file_name().to_str()?, text);
                match opened {
                    Err(StagingError::NoSuchRun { .. }) => None,
                    opened => Some(opened),
                }
            })
            .collect::<Result<_, _>>()?;
        match (found.pop(), found.is_empty()) {
            (Some(run), true) => Ok(run),
            (None, _) => Err(missing("any name")),
            (Some(last), false) => {
                let mut pipelines: Vec<String> =
                    found.into_iter().chain([last]).map(|run| run.pipeline).collect();
                pipelines.sort();
                Err(StagingError::SeveralRuns { run: text.to_owned(), pipelines })
            }
        }
    }

    /// Another run of the same pipeline, in the same folder.
    pub fn beside(&self, run: &str) -> Result<Self, StagingError> {
        let missing = || StagingError::NoSuchRun {
            staging: self.path.parent().unwrap_or(&self.path).to_owned(),
            pipeline: self.pipeline.clone(),
            run: run.to_owned(),
        };
        let path = self.path.parent().map(|parent| parent.join(run)).ok_or_else(missing)?;
        if run.contains('/') || run.starts_with('.') || !path.join("run.json").is_file() {
            return Err(missing());
        }
        own_files::check_run(&path)?;
        Ok(Self::at(path, self.pipeline.clone(), run.to_owned()))
    }

    /// The run as it will be when a stage is done again: its files are in `<stage>.next`, so that
    /// those of the last time stay until `publish`.
    #[must_use]
    pub fn preparing(&self, stage: Stage) -> Self {
        Self { preparing: Some(stage), folders: Arc::default(), ..self.clone() }
    }

    /// The run with the export that was put together out of an incremental one and all that it adds
    /// to, in `export.whole`.
    #[must_use]
    pub fn whole(&self) -> Self {
        Self { whole: true, folders: Arc::default(), ..self.clone() }
    }

    /// The same where such an export was put together, else the run as it is.
    #[must_use]
    pub fn whole_if_any(&self) -> Self {
        let whole = self.whole();
        let manifest = whole.stage_directory(Stage::Export).join(MANIFEST);
        if manifest.exists() { whole } else { self.clone() }
    }

    /// Puts the folder of a stage that was prepared in the place of the last one.
    pub fn publish(&self, stage: Stage) -> Result<(), StagingError> {
        let [next, current, previous] = self.generations(stage);
        if current.exists() {
            fs::rename(&current, &previous).map_err(io("rename", &current))?;
        }
        fs::rename(&next, &current).map_err(io("rename", &next))?;
        sync_directory(&self.path)?;
        if previous.exists() {
            fs::remove_dir_all(&previous).map_err(io("remove", &previous))?;
        }
        Ok(())
    }

    /// Removes what was prepared.
    pub fn abandon(&self, stage: Stage) -> Result<(), StagingError> {
        let [next, ..] = self.generations(stage);
        if next.exists() {
            fs::remove_dir_all(&next).map_err(io("remove", &next))?;
        }
        Ok(())
    }

    /// Ends a `publish` that was cut off: there is one current folder afterwards, or none.
    pub fn recover(&self, stage: Stage) -> Result<(), StagingError> {
        let [_, current, previous] = self.generations(stage);
        match (current.exists(), previous.exists()) {
            (true, true) => fs::remove_dir_all(&previous).map_err(io("remove", &previous)),
            (false, true) => fs::rename(&previous, &current).map_err(io("rename", &previous)),
            _ => Ok(()),
        }
    }

    fn generations(&self, stage: Stage) -> [PathBuf; 3] {
        ["next", "", "previous"].map(|generation| {
            let suffix = if generation.is_empty() { "" } else { "." };
            self.path.join(format!("{stage}{suffix}{generation}"))
        })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the pipeline.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// Run id.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The file that a manifest's relative path names. Manifests with paths that leave the run are
    /// not read; such a path names no file.
    pub fn resolve(&self, relative: &str) -> PathBuf {
        if !own_files::is_inside(relative) {
            return own_files::nowhere(&self.path);
        }
        let elsewhere = [Stage::Export, Stage::Transform].into_iter().find_map(|stage| {
            let rest = relative.strip_prefix(&format!("{stage}/"))?;
            Some(self.stage_directory(stage).join(rest))
        });
        elsewhere.unwrap_or_else(|| self.path.join(relative))
    }

    /// `export`, `transform`: the directory of a stage's parts.
    pub fn stage_directory(&self, stage: Stage) -> PathBuf {
        if self.preparing == Some(stage) {
            return self.path.join(format!("{stage}.next"));
        }
        if self.whole && stage == Stage::Export {
            return self.path.join("export.whole");
        }
        self.path.join(stage.to_string())
    }

    /// Names all collections or tables of the stage that is at work, before it writes the first
    /// part: folders of names that a file system might take for one get digests. Holds for all
    /// clones of this value.
    pub fn name_folders(&self, names: impl IntoIterator<Item = String>) {
        let _ = self.folders.set(Folders::new(names));
    }

    /// Folder of a collection or table, relative to the run.
    pub fn part_folder(&self, stage: Stage, name: &str) -> String {
        format!("{stage}/{}", self.folders.get_or_init(Folders::default).of(name))
    }

    /// Path of a part of a table's map of old and new keys, relative to the run.
    pub fn ids_path(&self, table: &str, index: usize) -> String {
        let folder = self.folders.get_or_init(Folders::default).of_ids(table);
        format!("{}/{folder}/{}", Stage::Transform, part_name(index))
    }

    /// Path of a part relative to the run.
    pub fn part_path(&self, stage: Stage, name: &str, index: usize) -> String {
        format!("{}/{}", self.part_folder(stage, name), part_name(index))
    }
}

/// Makes a folder that only its owner can look into, and those above it that are missing.
pub(crate) fn create_folder(path: &Path) -> Result<(), StagingError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io("create", path))
}

/// Makes a file, or empties it, that only its owner can read.
pub(crate) fn create_file(path: &Path) -> Result<File, StagingError> {
    own_files::create_own(path).map_err(io("create", path))
}

/// For `map_err`: an operating system error with its file.
pub(crate) fn io<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> StagingError + 'a {
    move |source| StagingError::Io { action, path: path.to_owned(), source }
}
