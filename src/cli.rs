//! The command line: types only.

use std::path::PathBuf;

use crate::audit::{Level, Subset};
use crate::load::{Home, Mode};
use crate::plan::NameStyle;
use crate::restore::Existing;
use crate::staging::guard::ALL;
use crate::staging::retention::Keep;
use crate::transform::MaxRejects;
use crate::verify::source::Sample;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Exit statuses, shown at the end of every `--help`.
const EXIT_STATUSES: &str = "\
Exit status:
  0    done
  1    failed
  2    wrong arguments or pipeline file
  3    done, with rejects
  4    verification found differences, or doctor something to look at
  10   no such run
  11   locked by another process
  12   a staged file does not agree with its checksum or format version
  13   held: a person must decide (see --allow-empty and --allow-shrink of backup)
  15   done, but the result could not be written to standard output
  130  interrupted, can be resumed";

/// Moves document databases to PostgreSQL through checksummed Parquet files.
#[derive(Debug, Parser)]
#[command(name = "docferry", version, after_help = EXIT_STATUSES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// What is said on standard error while a command works.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Say nothing on standard error but errors.
    #[arg(long, short, global = true)]
    pub quiet: bool,

    /// Print the result, or the error, as one JSON document on standard output.
    #[arg(long, global = true)]
    pub json: bool,

    /// Take staging directories for good that belong to another user or that others can write to.
    #[arg(long, global = true, env = "DOCFERRY_TRUST_STAGING", value_parser = clap::builder::FalseyValueParser::new())]
    pub trust_staging: bool,

    /// Write metrics for Prometheus to this file when the command ended.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "DOCFERRY_METRICS",
        help_heading = "Unattended"
    )]
    pub metrics: Option<PathBuf>,

    /// Call this command of the shell when the command ended, with a report in JSON on its standard
    /// input and the exit status in DOCFERRY_EXIT.
    #[arg(
        long,
        global = true,
        value_name = "COMMAND",
        env = "DOCFERRY_NOTIFY",
        help_heading = "Unattended"
    )]
    pub notify: Option<String>,
}

/// Form of what is said while a command works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Progress bars on a terminal, lines elsewhere.
    Text,
    /// One JSON document a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Export, transform, load and verify, one after another, as a new run.
    #[command(after_help = format!("Examples:\n  docferry run pipelines/nextcrm.toml --source mongodb://localhost/nextcrm --target postgres://localhost/nextcrm\n  docferry run pipelines/nextcrm.toml --sample all --source mongodb://localhost/nextcrm --target postgres://localhost/nextcrm\n\n{EXIT_STATUSES}"))]
    Run(RunArguments),
    /// Draft a pipeline file from what a database holds.
    #[command(after_help = format!("Examples:\n  docferry plan mongodb://localhost/shop -o pipelines/shop.toml\n  docferry plan sqlite:shop.db --names snake -o pipelines/shop.toml\n  docferry plan mongodb://localhost/shop --diff pipelines/shop.toml\n  docferry plan --prisma prisma/schema.prisma -o pipelines/crm.toml\n\n{EXIT_STATUSES}"))]
    Plan(PlanArguments),
    /// Read a source into a new run of the staging directory.
    #[command(after_help = format!("Example:\n  docferry export pipelines/nextcrm.toml --source mongodb://localhost/nextcrm\n\n{EXIT_STATUSES}"))]
    Export(ExportArguments),
    /// Export on a schedule, and remove old runs by rules once that went well.
    #[command(after_help = format!("Examples:\n  docferry backup pipelines/nextcrm.toml --keep-daily 7 --keep-weekly 4 --keep-monthly 12\n  docferry backup pipelines/nextcrm.toml --since-last --by updatedAt --detect-deletes --metrics /var/lib/node_exporter/docferry.prom\n\n{EXIT_STATUSES}"))]
    Backup(Box<BackupArguments>),
    /// Remove old runs by rules.
    #[command(after_help = format!("Examples:\n  docferry prune pipelines/nextcrm.toml --keep-daily 7 --keep-monthly 12 --dry-run\n\n{EXIT_STATUSES}"))]
    Prune(PruneArguments),
    /// List the runs of a pipeline.
    #[command(after_help = format!("Example:\n  docferry runs pipelines/nextcrm.toml\n\n{EXIT_STATUSES}"))]
    Runs(RunsArguments),
    /// Turn the exported documents of a run into typed rows.
    #[command(after_help = format!("Example:\n  docferry transform pipelines/nextcrm.toml --run latest\n\n{EXIT_STATUSES}"))]
    Transform(TransformArguments),
    /// Count, list or show the records that were refused.
    #[command(after_help = format!("Examples:\n  docferry rejects pipelines/nextcrm.toml\n  docferry rejects pipelines/nextcrm.toml --table Tasks --rule enum --list\n  docferry rejects pipelines/nextcrm.toml --show 507f1f77bcf86cd799439011\n\n{EXIT_STATUSES}"))]
    Rejects(RejectsArguments),
    /// Load the rows of a run into PostgreSQL: tables, rows, keys, indexes, foreign keys.
    #[command(after_help = format!("Example:\n  docferry load pipelines/nextcrm.toml --target postgres://localhost/nextcrm\n  docferry load pipelines/nextcrm.toml --home existing --dry-run --target postgres://localhost/app\n\n{EXIT_STATUSES}"))]
    Load(LoadArguments),
    /// Undo a load: drop what it made, delete what it inserted, put back what it changed.
    #[command(after_help = format!("Example:\n  docferry rollback 20261121T081504Z --target postgres://localhost/nextcrm\n  docferry rollback nextcrm/latest --forget --target postgres://localhost/nextcrm\n\n{EXIT_STATUSES}"))]
    Rollback(RollbackArguments),
    /// Check a run: its manifests and the sizes of its files, or every hash, or every document and
    /// column.
    #[command(after_help = format!("Examples:\n  docferry audit nextcrm/latest\n  docferry audit latest --read-data\n  docferry audit latest --read-data-subset $(date +%-d)/31\n\n{EXIT_STATUSES}"))]
    Audit(AuditArguments),
    /// Show staged rows or exported documents.
    #[command(after_help = format!("Examples:\n  docferry show nextcrm/latest crm_Accounts --limit 5\n  docferry show latest crm_Leads --where 'status = NEW' --where 'createdAt >= 2024-01-01'\n  docferry show latest crm_Leads --id 507f1f77bcf86cd799439011\n\n{EXIT_STATUSES}"))]
    Show(ShowArguments),
    /// Write an export back as a database: into MongoDB, as a mongodump directory or archive, or
    /// rows of SQLite or PostgreSQL as a new SQLite file.
    #[command(after_help = format!("Examples:\n  docferry restore nextcrm/latest --to mongodb://localhost/nextcrm_back\n  docferry restore nextcrm/latest --to dump --gzip\n  docferry restore latest --collection crm_Leads --id 507f1f77bcf86cd799439011 --existing replace --to mongodb://localhost/nextcrm\n  docferry restore latest --collection crm_Leads --filter '{{\"status\": \"NEW\"}}' --to leads.archive.gz\n  docferry restore assessment-bot/latest --to sqlite:back.db\n  docferry export pipelines/assessment-bot.toml --source postgres://localhost/ielts && docferry restore latest --to sqlite:back.db\n\n{EXIT_STATUSES}"))]
    Restore(RestoreArguments),
    /// Try a restore: into a scratch database or folder, compared with what was staged, removed.
    #[command(after_help = format!("Examples:\n  docferry restore-check nextcrm/latest --scratch mongodb://localhost\n  docferry restore-check nextcrm/latest --scratch postgres://localhost/postgres\n  docferry restore-check nextcrm/latest --scratch /var/tmp\n\n{EXIT_STATUSES}"))]
    RestoreCheck(RestoreCheckArguments),
    /// Dump what was loaded beside its run, with PostgreSQL's pg_dump.
    #[command(after_help = format!("Example:\n  docferry dump nextcrm/latest --target postgres://localhost/nextcrm\n\n{EXIT_STATUSES}"))]
    Dump(DumpArguments),
    /// Tell of one document every row, link, reject and finding that it led to; of one row its
    /// document, and the field and rule of each column.
    #[command(after_help = format!("Examples:\n  docferry trace pipelines/nextcrm.toml Users 507f1f77bcf86cd799439011\n  docferry trace pipelines/nextcrm.toml Invoices 0174876e-8000-7100-b000-000000000000 --target postgres://localhost/nextcrm\n\n{EXIT_STATUSES}"))]
    Trace(TraceArguments),
    /// Prove that PostgreSQL holds what was staged: counts, every row and column, references.
    #[command(after_help = format!("Examples:\n  docferry verify pipelines/nextcrm.toml --target postgres://localhost/nextcrm\n  docferry verify pipelines/nextcrm.toml --target postgres://localhost/nextcrm --source mongodb://localhost/nextcrm --sample all\n\n{EXIT_STATUSES}"))]
    Verify(VerifyArguments),
    /// Look at both ends before a run, with a cure for what would end it; without a pipeline file,
    /// or with --health, at a database in use: connections, transactions, indexes, sequences, slow
    /// statements and the pipeline's own queries.
    #[command(after_help = format!("Examples:\n  docferry doctor pipelines/nextcrm.toml --source mongodb://localhost/nextcrm --target postgres://localhost/nextcrm\n  docferry doctor --target postgres://localhost/nextcrm\n  docferry doctor pipelines/nextcrm.toml --health --target postgres://localhost/nextcrm --metrics /var/lib/node_exporter/doctor.prom\n\n{EXIT_STATUSES}"))]
    Doctor(DoctorArguments),
    /// Print the SQL that makes the target tables.
    #[command(after_help = format!("Example:\n  docferry ddl pipelines/nextcrm.toml > schema.sql\n\n{EXIT_STATUSES}"))]
    Ddl(PipelineArgument),
    /// Check a pipeline file without reading any data.
    #[command(after_help = format!("Example:\n  docferry check pipelines/nextcrm.toml\n\n{EXIT_STATUSES}"))]
    Check(PipelineArgument),
    /// Print the JSON Schema of pipeline files, for editors that complete and check them.
    #[command(after_help = format!("Example:\n  docferry schema > pipelines/schema.json\n\nThe first line of a pipeline file tells editors where it is:\n  #:schema schema.json\n\n{EXIT_STATUSES}"))]
    Schema,
    /// Make up a database that fits a pipeline file, with flaws that are listed.
    #[command(after_help = format!("Examples:\n  docferry generate pipelines/nextcrm.toml --to mongodb://localhost/nextcrm --planted planted.json\n  docferry generate pipelines/nextcrm.toml --documents 1000000 --seed 7 --sound --to dump/nextcrm\n\n{EXIT_STATUSES}"))]
    Generate(GenerateArguments),
    /// Convert between ObjectIds and the UUIDs made from them.
    #[command(after_help = format!("Example:\n  docferry id 507f1f77bcf86cd799439011\n\n{EXIT_STATUSES}"))]
    Id(IdArguments),
}

/// A pipeline file.
#[derive(Clone, Debug, Args)]
pub struct PipelineArgument {
    /// Pipeline file.
    #[arg(value_name = "PIPELINE")]
    pub pipeline: PathBuf,
}

/// Where runs are staged.
#[derive(Clone, Debug, Args)]
pub struct StagingArguments {
    /// Staging directory.
    #[arg(long, default_value = "staging", env = "DOCFERRY_STAGING", value_name = "DIR")]
    pub staging: PathBuf,

    /// Threads; the number of processors when not given.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// What is read.
#[derive(Clone, Debug, Args)]
pub struct SourceArguments {
    /// A MongoDB URI with its database, `sqlite:FILE`, a mongodump directory or archive
    /// (`FILE#DATABASE` of one with several databases), a .bson file, files of JSON, or the
    /// `postgres://` URI of a database that this pipeline filled.
    #[arg(long, env = "MONGODB_URI", hide_env_values = true)]
    pub source: Option<String>,

    /// File with the address of the source in its first line, readable by its owner alone.
    #[arg(long, value_name = "FILE")]
    pub source_file: Option<PathBuf>,

    /// Database to read, of an archive or a dump with several, or in place of the one that a MongoDB
    /// URI names.
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
}

/// Where rows go.
#[derive(Clone, Debug, Args)]
pub struct TargetAddress {
    /// PostgreSQL database: a `postgres://` URI. What it leaves out is taken from PGHOST, PGPORT,
    /// PGUSER, PGDATABASE, PGPASSWORD, PGSSLMODE, PGSSLROOTCERT and ~/.pgpass.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub target: Option<String>,

    /// File with the address of the target in its first line, readable by its owner alone.
    #[arg(long, value_name = "FILE")]
    pub target_file: Option<PathBuf>,
}

/// Arguments of `doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArguments {
    /// Pipeline file.
    #[arg(value_name = "PIPELINE")]
    pub pipeline: Option<PathBuf>,

    /// Source of the run.
    #[command(flatten)]
    pub source: SourceArguments,

    /// Target of the run, or the database to look at.
    #[command(flatten)]
    pub target: TargetAddress,

    /// Staging directory.
    #[arg(long, default_value = "staging", env = "DOCFERRY_STAGING", value_name = "DIR")]
    pub staging: PathBuf,

    /// Way of the load.
    #[command(flatten)]
    pub way: LoadWay,

    /// Connections that the load will use.
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub connections: usize,

    /// Look at the target as a database in use, and run the pipeline's own queries.
    #[arg(long)]
    pub health: bool,

    /// Milliseconds on the average from which a statement is slow.
    #[arg(long, default_value_t = 100.0, value_name = "MS")]
    pub slow: f64,
}

/// Arguments of `export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArguments {
    /// Pipeline file.
    #[command(flatten)]
    pub pipeline: PipelineArgument,

    /// Where the runs are.
    #[command(flatten)]
    pub staging: StagingArguments,

    /// What is read.
    #[command(flatten)]
    pub source: SourceArguments,

    /// Do not read at one snapshot of a replica set.
    #[arg(long)]
    pub no_snapshot: bool,

    /// Take a source without collections or documents as what it is meant to be. Else its run is
    /// held, and the status is 13.
    #[arg(long)]
    pub allow_empty: bool,

    /// Go on with a run that was stopped, or accept one that is held: its id. Without an id the
    /// newest run of this source that is not finished.
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = "latest")]
    pub resume: Option<String>,

    /// BSON mebibytes of a part.
    #[arg(long, default_value_t = 16, value_name = "MIB", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub part_mib: u16,
}

/// Which runs are kept. Times are those of the clock when the run began, in UTC.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Retention")]
pub struct KeepArguments {
    /// Keep the newest so many runs.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub keep_last: u32,

    /// Keep the newest run of each of the last so many hours that have one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub keep_hourly: u32,

    /// Keep the newest run of each of the last so many days that have one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub keep_daily: u32,

    /// Keep the newest run of each of the last so many weeks, from Monday, that have one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub keep_weekly: u32,

    /// Keep the newest run of each of the last so many months that have one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub keep_monthly: u32,

    /// Keep the newest run of each of the last so many years that have one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub keep_yearly: u32,
}

impl KeepArguments {
    /// The rules.
    pub fn rules(&self) -> Keep {
        Keep {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
        }
    }
}

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub struct BackupArguments {
    /// Those of the export.
    #[command(flatten)]
    pub export: ExportArguments,

    /// Take it as meant that collections are gone or lost more than half of their documents since
    /// the last good run: all, or those named. Else the run is held, and the status is 13.
    #[arg(
        long,
        value_name = "COLLECTION",
        num_args = 0..=1,
        require_equals = true,
        value_delimiter = ',',
        default_missing_value = ALL
    )]
    pub allow_shrink: Vec<String>,

    /// What is kept; everything without a rule.
    #[command(flatten)]
    pub keep: KeepArguments,

    /// What is taken.
    #[command(flatten)]
    pub since: SinceArguments,
}

/// What of a source a backup takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Incremental")]
pub struct SinceArguments {
    /// Take only what changed since the last good run, and name that run as the base. A full export
    /// is made where there is no such run, or it came from elsewhere, or its base is gone.
    #[arg(long)]
    pub since_last: bool,

    /// Field that the application sets to the time of each change of a document: a date, a timestamp
    /// or an ObjectId; `changed` in [backup] of the pipeline file when not given. Where it holds
    /// anything else all documents are read and compared.
    #[arg(long, value_name = "FIELD")]
    pub by: Option<String>,

    /// Compare the `_id`s and the field of source and base: finds what was deleted, and what is new
    /// or put back with an old time.
    #[arg(long, requires = "since_last")]
    pub detect_deletes: bool,

    /// Take documents once more from so many seconds before the last mark on.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub overlap: u32,

    /// Make a full export after so many that only add.
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub full_after: u32,
}

/// Arguments of `prune`.
#[derive(Debug, Args)]
pub struct PruneArguments {
    /// Whose runs.
    #[command(flatten)]
    pub of: RunsArguments,

    /// What is kept.
    #[command(flatten)]
    pub keep: KeepArguments,

    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `runs`.
#[derive(Debug, Args)]
pub struct RunsArguments {
    /// Pipeline file.
    #[command(flatten)]
    pub pipeline: PipelineArgument,

    /// Staging directory.
    #[arg(long, default_value = "staging", env = "DOCFERRY_STAGING", value_name = "DIR")]
    pub staging: PathBuf,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArguments {
    /// A MongoDB URI with its database, `sqlite:FILE`, a mongodump directory or archive
    /// (`FILE#DATABASE` of one with several databases), a .bson file, or files of JSON. With
    /// --prisma it may be left out.
    #[arg(env = "MONGODB_URI", hide_env_values = true)]
    pub source: Option<String>,

    /// File with the address of the source in its first line, readable by its owner alone.
    #[arg(long, value_name = "FILE")]
    pub source_file: Option<PathBuf>,

    /// Database to read, of an archive or a dump with several, or in place of the one that a MongoDB
    /// URI names.
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,

    /// Draft from a Prisma schema (provider mongodb): the tables that Prisma Migrate makes for
    /// PostgreSQL. A source is compared with it.
    #[arg(long, value_name = "SCHEMA", conflicts_with = "diff")]
    pub prisma: Option<PathBuf>,

    /// File to write; standard output when not given.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Overwrite the file.
    #[arg(long)]
    pub force: bool,

    /// Draft nothing: show what changed since this pipeline file was written, and end with status 4
    /// if anything did.
    #[arg(long, value_name = "PIPELINE", conflicts_with_all = ["output", "force"])]
    pub diff: Option<PathBuf>,

    /// Documents of each collection to look at; all, up to 5,000,000, when not given. A column is
    /// required, or a key unique, only where all were looked at.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub sample: Option<u64>,

    /// How tables and columns are named.
    #[arg(long, value_enum, default_value_t = NameStyle::Keep)]
    pub names: NameStyle,

    /// Threads; the number of processors when not given.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Arguments of `transform`.
#[derive(Debug, Args)]
pub struct TransformArguments {
    /// Pipeline file.
    #[command(flatten)]
    pub pipeline: PipelineArgument,

    /// Where the runs are.
    #[command(flatten)]
    pub staging: StagingArguments,

    /// Run to work on: its id, or `latest`.
    #[arg(long, default_value = "latest")]
    pub run: String,

    /// End early when more records than this are refused: a number, or a percentage of the documents.
    #[arg(long, value_name = "N|P%")]
    pub max_rejects: Option<MaxRejects>,

    /// Take only the records that were refused, after the pipeline file was corrected, and add
    /// what becomes of them; `load` adds it to the tables.
    #[arg(long)]
    pub retry_rejects: bool,
}

/// Arguments of `rejects`.
#[derive(Debug, Args)]
pub struct RejectsArguments {
    /// Pipeline file.
    #[command(flatten)]
    pub pipeline: PipelineArgument,

    /// Where the runs are.
    #[command(flatten)]
    pub staging: StagingArguments,

    /// Run to look at: its id, or `latest`.
    #[arg(long, default_value = "latest")]
    pub run: String,

    /// Only those of this table.
    #[arg(long)]
    pub table: Option<String>,

    /// Only those that broke this rule.
    #[arg(long)]
    pub rule: Option<String>,

    /// List so many of them, one a line.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "100")]
    pub list: Option<usize>,

    /// Show those of one document, with the document.
    #[arg(long, value_name = "ID")]
    pub show: Option<String>,
}

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub struct GenerateArguments {
    /// Pipeline file.
    #[command(flatten)]
    pub pipeline: PipelineArgument,

    /// A MongoDB URI with its database, `sqlite:FILE`, or a folder that becomes a mongodump
    /// directory.
    #[arg(long)]
    pub to: String,

    /// Sound documents, over all collections.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub documents: u64,

    /// The same seed gives the same bytes.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,

    /// Plant no flaws.
    #[arg(long)]
    pub sound: bool,

    /// Write the list of flaws, and what must become of each, to this file.
    #[arg(long, value_name = "FILE")]
    pub planted: Option<PathBuf>,
}

/// Arguments of `id`.
#[derive(Debug, Args)]
pub struct IdArguments {
    /// ObjectIds (24 hexadecimal digits), UUIDs made from them, or other `_id`s as Extended JSON.
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
}

/// How a load meets what is there.
#[derive(Clone, Copy, Debug, Args)]
pub struct LoadWay {
    /// Who makes the tables.
    #[arg(long, value_enum, default_value_t = Home::Create)]
    pub home: Home,

    /// What becomes of rows that are there already.
    #[arg(long, value_enum, default_value_t = Mode::Insert)]
    pub mode: Mode,
}

/// Arguments of `load`.
#[derive(Debug, Args)]
pub struct LoadArguments {
    /// Those it shares with `verify`.
    #[command(flatten)]
    pub target: TargetArguments,

    /// Home and mode.
    #[command(flatten)]
    pub way: LoadWay,

    /// Connect and compare, print each statement with the rows it concerns, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub struct RollbackArguments {
    /// Run to undo: its id, `PIPELINE/ID`, or what was loaded last: of a pipeline by
    /// `PIPELINE/latest`, by `latest` where only one pipeline was loaded.
    #[arg(value_name = "RUN")]
    pub run: String,

    /// Where the rows are.
    #[command(flatten)]
    pub address: TargetAddress,

    /// Undo it although rows were changed after the load.
    #[arg(long)]
    pub force: bool,

    /// Undo nothing: keep the load, and drop the earlier rows that it kept for a rollback. It cannot
    /// be undone any more.
    #[arg(long, conflicts_with = "force")]
    pub forget: bool,

    /// Say what would be dropped, deleted and put back, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// A run that is named without its pipeline file.
#[derive(Debug, Args)]
pub struct RunArgument {
    /// Run: its id, `PIPELINE/ID`, `PIPELINE/latest`, `latest` where the staging directory has one
    /// pipeline, or the path of its folder.
    #[arg(value_name = "RUN")]
    pub run: String,

    /// Staging directory.
    #[arg(long, default_value = "staging", env = "DOCFERRY_STAGING", value_name = "DIR")]
    pub staging: PathBuf,
}

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub struct AuditArguments {
    /// Which run.
    #[command(flatten)]
    pub run: RunArgument,

    /// Check the hash of every file as well.
    #[arg(long)]
    pub hashes: bool,

    /// Read everything as well: decode every document, look at every column, write report.html.
    #[arg(long, conflicts_with = "hashes")]
    pub read_data: bool,

    /// Read a part of the data: of 30 days each reads another thirtieth with 1/30, 2/30, …
    #[arg(long, value_name = "N/M", conflicts_with_all = ["hashes", "read_data"])]
    pub read_data_subset: Option<Subset>,
}

impl AuditArguments {
    /// How deep it goes.
    pub fn level(&self) -> Level {
        match self.read_data_subset {
            Some(subset) => Level::Subset(subset),
            None if self.read_data => Level::Data,
            None if self.hashes => Level::Hashes,
            None => Level::Files,
        }
    }
}

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// Which run.
    #[command(flatten)]
    pub run: RunArgument,

    /// Table, or collection.
    #[arg(value_name = "TABLE|COLLECTION")]
    pub name: String,

    /// Only rows of which this holds: `COLUMN = VALUE`, with =, !=, <, <=, >, >=, `~` for text that
    /// holds another, or `COLUMN is null`. Several must all hold.
    #[arg(long = "where", value_name = "CONDITION")]
    pub conditions: Vec<String>,

    /// Rows or documents to show.
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub limit: usize,

    /// Show documents of the collection and not rows of the table of this name.
    #[arg(long)]
    pub documents: bool,

    /// Show the document with this `_id`, as canonical Extended JSON.
    #[arg(long, value_name = "ID", conflicts_with = "conditions")]
    pub id: Option<String>,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// Which run.
    #[command(flatten)]
    pub run: RunArgument,

    /// A MongoDB URI, a folder in which a mongodump directory is made, `FILE.archive[.gz]`, or
    /// `sqlite:FILE`. A URI without a database means the one that was exported.
    #[arg(long)]
    pub to: String,

    /// Only this collection or view; may be given more than once.
    #[arg(long = "collection", value_name = "NAME")]
    pub collections: Vec<String>,

    /// Only the document with this `_id`, as the `_id` column of the exported parts has it; may be
    /// given more than once.
    #[arg(long = "id", value_name = "ID")]
    pub ids: Vec<String>,

    /// Only documents that fit this query, in Extended JSON.
    #[arg(long, value_name = "QUERY")]
    pub filter: Option<String>,

    /// What becomes of collections of a server that hold documents already.
    #[arg(long, value_enum, default_value_t = Existing::Refuse)]
    pub existing: Existing,

    /// Make no indexes but those of `_id`: a TTL index deletes what is past its time.
    #[arg(long)]
    pub no_indexes: bool,

    /// Gzip the files of a mongodump directory.
    #[arg(long)]
    pub gzip: bool,

    /// Inserts at the same time; the number of processors when not given.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Arguments of `dump`.
#[derive(Debug, Args)]
pub struct DumpArguments {
    /// Which run.
    #[command(flatten)]
    pub run: RunArgument,

    /// Where its rows are.
    #[command(flatten)]
    pub address: TargetAddress,

    /// Schema; the one that the run was loaded into when not given.
    #[arg(long)]
    pub schema: Option<String>,
}

/// Arguments of `restore-check`.
#[derive(Debug, Args)]
pub struct RestoreCheckArguments {
    /// Which run.
    #[command(flatten)]
    pub run: RunArgument,

    /// Where it is tried: a MongoDB URI or a folder for the export, a `postgres://` URI for the dump
    /// of the run, or for its staged rows where it has no dump. A new database is made there and
    /// dropped. `@FILE` takes the address from a file.
    #[arg(long, value_name = "ADDRESS|DIR")]
    pub scratch: String,

    /// Inserts and readers at the same time; the number of processors when not given.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Arguments of `load` and `verify`.
#[derive(Debug, Args)]
pub struct TargetArguments {
    /// Pipeline file.
    #[command(flatten)]
    pub pipeline: PipelineArgument,

    /// Where the runs are.
    #[command(flatten)]
    pub staging: StagingArguments,

    /// Run to load: its id, or `latest`.
    #[arg(long, default_value = "latest")]
    pub run: String,

    /// Where the rows are.
    #[command(flatten)]
    pub address: TargetAddress,

    /// Connections that load at the same time.
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub connections: usize,
}

/// Arguments of `trace`.
#[derive(Debug, Args)]
pub struct TraceArguments {
    /// Pipeline file.
    #[command(flatten)]
    pub pipeline: PipelineArgument,

    /// A collection, or a table.
    #[arg(value_name = "NAME")]
    pub name: String,

    /// The `_id` of a document, or the key of a row: several columns are joined with ", ".
    #[arg(value_name = "ID")]
    pub id: String,

    /// Staging directory.
    #[arg(long, default_value = "staging", env = "DOCFERRY_STAGING", value_name = "DIR")]
    pub staging: PathBuf,

    /// Run to look at: its id, or `latest`.
    #[arg(long, default_value = "latest")]
    pub run: String,

    /// What PostgreSQL holds is shown as well.
    #[command(flatten)]
    pub address: TargetAddress,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// Those it shares with `load`.
    #[command(flatten)]
    pub target: TargetArguments,

    /// Read every exported document again, apart from the transform, and compare it leaf by leaf
    /// with the rows in PostgreSQL.
    #[arg(long, env = "DOCFERRY_DOCUMENTS")]
    pub documents: bool,

    /// What the run was exported from. It is read again where it is named, and compared with the
    /// export.
    #[command(flatten, next_help_heading = "Source, read again where it is named")]
    pub source: SourceArguments,

    /// How it is read again.
    #[command(flatten)]
    pub again: AgainArguments,
}

/// How a source is read again.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Source, read again where it is named")]
pub struct AgainArguments {
    /// Documents of each collection of a MongoDB server that are compared with the exported ones,
    /// drawn at random at the source and from the export; `all` compares every one.
    #[arg(long, value_name = "N|all", default_value_t = Sample::default())]
    pub sample: Sample,

    /// Do not read the source again: no counts and no documents of it are compared with the export.
    #[arg(long)]
    pub no_source: bool,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Those of the export.
    #[command(flatten)]
    pub export: ExportArguments,

    /// Where the rows are.
    #[command(flatten)]
    pub address: TargetAddress,

    /// Connections that load at the same time.
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub connections: usize,

    /// End early when more records than this are refused: a number, or a percentage of the documents.
    #[arg(long, value_name = "N|P%")]
    pub max_rejects: Option<MaxRejects>,

    /// Home and mode of the load.
    #[command(flatten)]
    pub way: LoadWay,

    /// Prove the rows against the staged ones only: do not read the exported documents again.
    #[arg(long)]
    pub no_documents: bool,

    /// How the source is read again.
    #[command(flatten)]
    pub again: AgainArguments,
}

impl RunArguments {
    /// Those of the transform of the new run.
    pub fn transform(&self, run: &str) -> TransformArguments {
        TransformArguments {
            pipeline: self.export.pipeline.clone(),
            staging: self.export.staging.clone(),
            run: run.to_owned(),
            max_rejects: self.max_rejects,
            retry_rejects: false,
        }
    }

    /// Those of its load.
    pub fn load(&self, run: &str) -> LoadArguments {
        LoadArguments { target: self.target(run), way: self.way, dry_run: false }
    }

    /// Those of its verification.
    pub fn verify(&self, run: &str) -> VerifyArguments {
        VerifyArguments {
            target: self.target(run),
            documents: !self.no_documents,
            source: self.export.source.clone(),
            again: self.again,
        }
    }

    fn target(&self, run: &str) -> TargetArguments {
        TargetArguments {
            pipeline: self.export.pipeline.clone(),
            staging: self.export.staging.clone(),
            run: run.to_owned(),
            address: self.address.clone(),
            connections: self.connections,
        }
    }
}
