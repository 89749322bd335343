//! Stages that are killed, servers that go away, disks that are full: the end is the same as if
//! nothing had happened.
//!
//! `scripts/test` runs a short form, `scripts/soak` a long one: `DOCFERRY_TEST_KILLS` says how often
//! each stage is killed, `DOCFERRY_TEST_SEED` at which points.

use std::collections::BTreeMap;
use std::fs;
use std::future::IntoFuture;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use mongodb::bson::{Document, doc};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::runtime::Runtime;
use tokio_postgres::Client;

use crate::support::{
    Spare, failpoint, fresh_database, project, server, shown, state, with_database,
};

fn setting(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn docferry() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("docferry"));
    command.env_remove("MONGODB_URI").env_remove("DATABASE_URL").stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    command
}

/// Well, or well with rejects.
#[track_caller]
fn assert_done(output: &Output) {
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", shown(output));
}

/// Bytes that a process has read and written.
pub(crate) fn bytes_moved(child: &Child) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/io", child.id())).ok()?;
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    Some(number("rchar:")? + number("wchar:")?)
}

/// Runs a command to its end; how far the measure came.
pub(crate) fn measured(
    mut command: Command,
    mut measure: impl FnMut(&Child) -> Option<u64>,
) -> (Output, u64) {
    let mut child = command.spawn().unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = measure(&child).unwrap_or(0).max(most);
        std::thread::yield_now();
    }
    (child.wait_with_output().unwrap(), most)
}

/// Kills a command once the measure reaches a point; whether it was still there.
pub(crate) fn killed_at(
    mut command: Command,
    point: u64,
    mut measure: impl FnMut(&Child) -> Option<u64>,
) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if measure(&child).is_some_and(|moved| moved >= point) {
            child.kill().unwrap();
            return child.wait().unwrap().code().is_none();
        }
        std::thread::yield_now();
    }
}

/// Files of a run that must be the same however it came to its end.
fn files(run: &Path) -> BTreeMap<String, String> {
    let names = [
        "export/SHA256SUMS",
        "transform/SHA256SUMS",
        "transform/manifest.json",
        "rejects/export.jsonl",
        "rejects/transform.jsonl",
        "findings/transform.jsonl",
    ];
    names
        .iter()
        .map(|name| {
            let mut text = fs::read_to_string(run.join(name)).unwrap_or_default();
            if name.ends_with("SHA256SUMS") {
                // Manifests name their run.
                let lines = text.lines().filter(|line| !line.ends_with("manifest.json"));
                text = lines.collect::<Vec<_>>().join("\n");
            }
            if *name == "transform/manifest.json" {
                // The export manifest names its run and its moment.
                let mut value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                value["export_sha256"] = serde_json::Value::Null;
                value["input_sha256"] = serde_json::Value::Null;
                text = value.to_string();
            }
            ((*name).to_owned(), text)
        })
        .collect()
}

#[track_caller]
fn assert_same_files(left: &BTreeMap<String, String>, right: &BTreeMap<String, String>) {
    let differing: Vec<&String> = left
        .iter()
        .filter(|(name, text)| right.get(*name) != Some(text))
        .map(|(name, _)| name)
        .collect();
    assert!(differing.is_empty(), "{differing:?} differ");
}

struct Trial {
    folder: tempfile::TempDir,
    pipeline: PathBuf,
    source: String,
    runtime: Runtime,
    server: String,
}

impl Trial {
    fn new(source: impl FnOnce(&Path) -> String, server: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = source(folder.path());
        let pipeline = project("pipelines/nextcrm.toml");
        let documents = setting("DOCFERRY_TEST_DOCUMENTS", 2000).to_string();
        let output = docferry()
            .arg("generate")
            .arg(&pipeline)
            .args(["--to", &source, "--documents", &documents, "--seed", "3"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        Self { folder, pipeline, source, runtime: Runtime::new().unwrap(), server }
    }

    fn command(&self, stage: &str, staging: &str, more: &[&str]) -> Command {
        let mut command = docferry();
        command.arg(stage).arg(&self.pipeline).args(more);
        command.arg("--staging").arg(self.folder.path().join(staging));
        command
    }

    /// An export, or one that goes on where there is something to go on from.
    fn export(&self, staging: &str) -> Command {
        let begun = self.run(staging).join("export/journal.jsonl").exists()
            || self.run(staging).join("export/manifest.json").exists();
        let resume: &[&str] = if begun { &["--resume"] } else { &[] };
        let source = ["--part-mib", "1", "--source", &self.source];
        self.command("export", staging, &[&source, resume].concat())
    }

    fn run(&self, staging: &str) -> PathBuf {
        self.folder.path().join(staging).join("nextcrm/latest")
    }

    fn database(&self, name: &str) -> (Client, String) {
        self.runtime.block_on(fresh_database(&self.server, name))
    }

    /// How much of a load is in the database.
    fn loaded(&self, client: &Client) -> u64 {
        let sql = "SELECT (SELECT count(*) FROM docferry.loaded_parts) \
                   + (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace) \
                   + (SELECT count(*) FROM pg_constraint WHERE connamespace = 'public'::regnamespace)";
        let row = self.runtime.block_on(client.query_one(sql, &[]));
        row.map_or(0, |row| u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
    }
}

/// Kills every stage at seeded points, and goes on each time.
fn kill_every_stage(name: &str, trial: &Trial) {
    let kills = setting("DOCFERRY_TEST_KILLS", 2);
    let mut random = ChaCha8Rng::seed_from_u64(setting("DOCFERRY_TEST_SEED", 1));
    // Neither at the very beginning, before anything is there, nor after the end.
    let mut point = |whole: u64| whole * (5 + random.next_u64() % 90) / 100;

    let (output, export_bytes) = measured(trial.export("whole"), bytes_moved);
    assert_done(&output);
    let (output, transform_bytes) = measured(trial.command("transform", "whole", &[]), bytes_moved);
    assert_done(&output);
    let expected = files(&trial.run("whole"));
    let (client, address) = trial.database(&format!("docferry_fault_{name}"));
    let target = ["--target", address.as_str()];
    let (output, load_steps) =
        measured(trial.command("load", "whole", &target), |_| Some(trial.loaded(&client)));
    assert_done(&output);
    let expected_state = state(&address);
    let (output, verify_bytes) = measured(trial.command("verify", "whole", &target), bytes_moved);
    assert_done(&output);

    let mut hits: BTreeMap<&str, u64> = BTreeMap::new();
    let mut hit =
        |stage: &'static str, killed: bool| *hits.entry(stage).or_default() += u64::from(killed);
    for kill in 0..kills {
        let staging = format!("killed-{kill}");
        hit("export", killed_at(trial.export(&staging), point(export_bytes), bytes_moved));
        assert_done(&trial.export(&staging).output().unwrap());
        let transform = || trial.command("transform", &staging, &[]);
        hit("transform", killed_at(transform(), point(transform_bytes), bytes_moved));
        assert_done(&transform().output().unwrap());
        assert_same_files(&expected, &files(&trial.run(&staging)));

        let (client, address) = trial.database(&format!("docferry_fault_{name}_killed"));
        let target = ["--target", address.as_str()];
        let load = || trial.command("load", &staging, &target);
        let steps = |_: &Child| Some(trial.loaded(&client));
        hit("load", killed_at(load(), point(load_steps), steps));
        assert_done(&load().output().unwrap());
        assert!(state(&address) == expected_state, "the database differs after kill {kill}");
        let verify = || trial.command("verify", &staging, &target);
        hit("verify", killed_at(verify(), point(verify_bytes), bytes_moved));
        assert_done(&verify().output().unwrap());
        fs::remove_dir_all(trial.folder.path().join(&staging)).unwrap();
    }
    for (stage, hits) in hits {
        eprintln!(
            "{name}: {stage} killed at {hits} of {kills} points, and ended as if it had not been"
        );
        assert!(hits > 0, "{stage} was never killed");
    }
}

/// A database of this name with nothing in it.
fn empty(mongodb: &str, database: &str) -> String {
    let dropped = async {
        let client = mongodb::Client::with_uri_str(mongodb).await?;
        client.database(database).drop().await
    };
    Runtime::new().unwrap().block_on(dropped).unwrap();
    with_database(mongodb, database)
}

#[test]
fn killed_stages_end_as_undisturbed_ones_from_a_dump() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let dump = |folder: &Path| folder.join("dump/nextcrm").to_str().unwrap().to_owned();
    kill_every_stage("dump", &Trial::new(dump, server));
}

#[test]
fn killed_stages_end_as_undisturbed_ones_from_a_server() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let Some(mongodb) = crate::support::server("DOCFERRY_TEST_MONGODB") else { return };
    let uri = empty(&mongodb, "docferry_faults");
    kill_every_stage("live", &Trial::new(|_| uri, server));
}

#[test]
fn an_export_outlives_lost_connections_cursors_and_primaries() {
    let Some(mongodb) = server("DOCFERRY_TEST_MONGODB") else { return };
    let _turn = failpoint();
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(mongodb::Client::with_uri_str(&mongodb)).unwrap();
    let database = client.database("docferry_failpoints");
    let documents: Vec<Document> =
        (0..22_000).map(|number| doc! {"_id": number, "text": "x".repeat(40)}).collect();
    runtime.block_on(async {
        database.drop().await.unwrap();
        database.collection::<Document>("numbers").insert_many(&documents).await.unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let pipeline = folder.path().join("numbers.toml");
    let text = "version = 1\nname = \"numbers\"\n[tables.numbers.columns]\n\
                id = { from = \"_id\", type = \"integer\", key = true }\ntext = { type = \"text\" }\n";
    fs::write(&pipeline, text).unwrap();
    // Connections that break, a cursor that is gone, a primary that steps down, a node that stops.
    let faults = [
        doc! {"failCommands": ["getMore"], "closeConnection": true},
        doc! {"failCommands": ["find"], "closeConnection": true},
        doc! {"failCommands": ["getMore"], "errorCode": 43},
        doc! {"failCommands": ["getMore"], "errorCode": 11602},
        doc! {"failCommands": ["find", "getMore"], "errorCode": 189},
        doc! {"failCommands": ["find", "getMore"], "errorCode": 91},
    ];
    let mut sums = Vec::new();
    for (number, fault) in faults.into_iter().enumerate() {
        let name = format!("docferry-fault-{number}");
        let mut data = fault.clone();
        data.insert("appName", &name);
        let point = doc! {"configureFailPoint": "failCommand", "mode": {"times": 2}, "data": data};
        runtime.block_on(client.database("admin").run_command(point).into_future()).unwrap();
        let source = format!("{}&appName={name}", with_database(&mongodb, "docferry_failpoints"));
        let staging = folder.path().join(format!("staging-{number}"));
        let output = docferry()
            .arg("export")
            .arg(&pipeline)
            .args(["--part-mib", "1", "--source", &source, "--staging"])
            .arg(&staging)
            .output()
            .unwrap();
        assert!(output.status.success(), "{fault}: {}", shown(&output));
        assert!(shown(&output).contains("trying again"), "{fault}: {}", shown(&output));
        let sum = fs::read_to_string(staging.join("numbers/latest/export/SHA256SUMS")).unwrap();
        let manifest =
            fs::read_to_string(staging.join("numbers/latest/export/manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["collections"][0]["documents"], 22_000, "{fault}");
        assert_eq!(manifest["snapshot"]["kind"], "cluster_time", "{fault}");
        let ids: Vec<String> = exported_ids(&staging.join("numbers/latest"));
        assert!(
            ids.iter().enumerate().all(|(at, id)| *id == format!("{{\"$numberInt\":\"{at}\"}}"))
        );
        sums.push(sum);
    }
    let off = doc! {"configureFailPoint": "failCommand", "mode": "off"};
    runtime.block_on(client.database("admin").run_command(off).into_future()).unwrap();
    assert_eq!(sums.len(), 6);
}

#[test]
fn an_export_outlives_an_election() {
    let Some(mongodb) = server("DOCFERRY_TEST_MONGODB") else { return };
    if std::env::var_os("DOCFERRY_TEST_SOAK").is_none() {
        eprintln!("skipped: other tests use the same server; scripts/soak does it");
        return;
    }
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(mongodb::Client::with_uri_str(&mongodb)).unwrap();
    let uri = empty(&mongodb, "docferry_election");
    let trial = Trial::new(|_| uri, String::new());
    assert_done(&trial.export("whole").output().unwrap());
    for number in 0..5 {
        let staging = format!("election-{number}");
        let mut export = trial.export(&staging).spawn().unwrap();
        while bytes_moved(&export).is_some_and(|moved| moved < 200_000 * number)
            && export.try_wait().unwrap().is_none()
        {
            std::thread::yield_now();
        }
        let step_down = doc! {"replSetStepDown": 1, "secondaryCatchUpPeriodSecs": 0, "force": true};
        let admin = client.database("admin");
        runtime.block_on(admin.run_command(step_down).into_future()).unwrap();
        let output = export.wait_with_output().unwrap();
        assert_done(&output);
        assert_same_files(&files(&trial.run("whole")), &files(&trial.run(&staging)));
        // The next one begins with a primary.
        let ping = doc! {"insert": "pings", "documents": [{}]};
        while runtime
            .block_on(client.database("docferry_pings").run_command(ping.clone()).into_future())
            .is_err()
        {}
    }
    eprintln!("election: 5 exports ended as if there had been none");
}

fn exported_ids(run: &Path) -> Vec<String> {
    let staging = run.parent().unwrap().parent().unwrap();
    let run = docferry::staging::layout::RunDirectory::open(staging, "numbers", "latest").unwrap();
    let manifest = docferry::staging::manifest::ExportManifest::read(&run).unwrap();
    let mut ids = Vec::new();
    for part in &manifest.collections[0].parts {
        for batch in docferry::staging::exported::documents(&run, &part.file).unwrap() {
            let batch = batch.unwrap();
            ids.extend((0..batch.len()).map(|at| batch.id(at).to_owned()));
        }
    }
    ids
}

#[test]
fn a_load_goes_on_after_its_server_was_stopped_and_started_again() {
    // Where servers are required the scripts can start one more.
    if server("DOCFERRY_TEST_POSTGRES").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (spare, server) = Spare::new(folder.path());
    let dump = |folder: &Path| folder.join("dump/nextcrm").to_str().unwrap().to_owned();
    let trial = Trial::new(dump, server);
    assert_done(&trial.export("one").output().unwrap());
    assert_done(&trial.command("transform", "one", &[]).output().unwrap());
    let (client, address) = trial.database("docferry_whole");
    let (output, steps) = measured(trial.command("load", "one", &["--target", &address]), |_| {
        Some(trial.loaded(&client))
    });
    assert_done(&output);
    let expected = state(&address);
    for share in [10, 60] {
        let (client, address) = trial.database("docferry_stopped");
        let mut load = trial.command("load", "one", &["--target", &address]).spawn().unwrap();
        while trial.loaded(&client) < steps * share / 100 && load.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let running = load.try_wait().unwrap().is_none();
        spare.command("stop-postgres");
        spare.command("start-postgres");
        let output = load.wait_with_output().unwrap();
        assert_done(&output);
        assert!(running, "the load was over before its server was stopped");
        assert!(shown(&output).contains("trying again"), "{}", shown(&output));
        assert!(state(&address) == expected, "the database differs");
    }
}

#[test]
fn a_full_disk_stops_each_stage_and_loses_nothing() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let may_mount = Command::new("unshare").args(["-r", "-m", "true"]).status();
    if !may_mount.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no file system can be mounted here");
        return;
    }
    let dump = |folder: &Path| folder.join("dump/nextcrm").to_str().unwrap().to_owned();
    let trial = Trial::new(dump, server);
    let (_client, address) = trial.database("docferry_full");
    let script = r#"
        set -u
        mkdir -p "$DISK"; mount -t tmpfs -o size=24m tmpfs "$DISK"
        fill() { head -c $(( $(df --output=avail -k "$DISK" | tail -1) * 1024 - $1 )) /dev/zero > "$DISK/filler"; }
        stage() { # bytes left, stage, arguments of the first and of the second attempt
          local left=$1 name=$2 again=$3; shift 3
          fill "$left"
          "$DOCFERRY" "$name" "$PIPELINE" --staging "$DISK/staging" "$@" > "$LOG/$name.1" 2>&1; echo "$name full $?"
          rm "$DISK/filler"
          "$DOCFERRY" "$name" "$PIPELINE" --staging "$DISK/staging" $again "$@" > "$LOG/$name.2" 2>&1; echo "$name free $?"
        }
        stage 300000 export --resume --source "$SOURCE" --part-mib 1
        stage 200000 transform ""
        stage 0 load "" --target "$ADDRESS"
        stage 0 verify "" --target "$ADDRESS"
        cp -r "$DISK/staging/nextcrm/latest/." "$LOG/run"
    "#;
    let log = trial.folder.path().join("log");
    fs::create_dir(&log).unwrap();
    let output = Command::new("unshare")
        .args(["-r", "-m", "bash", "-c", script])
        .env("DISK", trial.folder.path().join("disk"))
        .env("DOCFERRY", assert_cmd::cargo::cargo_bin!("docferry"))
        .env("PIPELINE", &trial.pipeline)
        .env("SOURCE", &trial.source)
        .env("ADDRESS", &address)
        .env("LOG", &log)
        .output()
        .unwrap();
    let codes: Vec<&str> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    let said = |name: &str| fs::read_to_string(log.join(name)).unwrap_or_default();
    assert_eq!(
        codes,
        [
            "export full 1",
            "export free 0",
            "transform full 1",
            "transform free 3",
            "load full 1",
            "load free 0",
            "verify full 1",
            "verify free 3",
        ],
        "{}{}{}{}{}",
        shown(&output),
        said("export.1"),
        said("export.2"),
        said("transform.1"),
        said("verify.1")
    );
    for stage in ["export", "transform", "load", "verify"] {
        let text = said(&format!("{stage}.1"));
        assert!(text.contains("Free space"), "{stage}: {text}");
    }
    assert_done(&trial.export("whole").output().unwrap());
    assert_done(&trial.command("transform", "whole", &[]).output().unwrap());
    assert_same_files(&files(&trial.run("whole")), &files(&log.join("run")));
}

#[test]
fn an_interrupted_stage_ends_after_the_part_in_hand_and_says_how_to_go_on() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let dump = |folder: &Path| folder.join("dump/nextcrm").to_str().unwrap().to_owned();
    let trial = Trial::new(dump, server);
    let (output, export_bytes) = measured(trial.export("whole"), bytes_moved);
    assert_done(&output);
    let (output, transform_bytes) = measured(trial.command("transform", "whole", &[]), bytes_moved);
    assert_done(&output);
    let (client, address) = trial.database("docferry_interrupted");
    let target = ["--target", address.as_str()];
    let (output, load_steps) =
        measured(trial.command("load", "whole", &target), |_| Some(trial.loaded(&client)));
    assert_done(&output);
    let (client, address) = trial.database("docferry_interrupted");
    let target = ["--target", address.as_str()];

    let interrupt = |command: &mut Command, point: u64, measure: &dyn Fn(&Child) -> Option<u64>| {
        let mut child = command.spawn().unwrap();
        while child.try_wait().unwrap().is_none() && measure(&child).unwrap_or(0) < point {
            std::thread::yield_now();
        }
        let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", shown(&output));
        output
    };
    let output = interrupt(&mut trial.export("one"), export_bytes / 3, &bytes_moved);
    assert!(shown(&output).contains("`--resume "), "{}", shown(&output));
    assert_done(&trial.export("one").output().unwrap());
    let transform = || trial.command("transform", "one", &[]);
    let output = interrupt(&mut transform(), transform_bytes / 3, &bytes_moved);
    assert!(shown(&output).contains("the same command goes on"), "{}", shown(&output));
    assert!(shown(&output).contains("`--run 2"), "{}", shown(&output));
    assert_done(&transform().output().unwrap());
    assert_same_files(&files(&trial.run("whole")), &files(&trial.run("one")));
    let load = || trial.command("load", "one", &target);
    let output = interrupt(&mut load(), load_steps / 2, &|_| Some(trial.loaded(&client)));
    assert!(shown(&output).contains("the same command goes on"), "{}", shown(&output));
    assert!(shown(&output).contains("`--run 2"), "{}", shown(&output));
    assert_done(&load().output().unwrap());
    assert_done(&trial.command("verify", "one", &target).output().unwrap());
}
