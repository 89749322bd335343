"""What scripts/bench and scripts/bench-peers share: processes and servers, measured."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCFERRY = ROOT / "target/release/docferry"
FOLDER = ROOT / "target/bench"
TICKS = os.sysconf("SC_CLK_TCK")


class Done:
    """A finished process: wall and CPU seconds, peak resident MiB, MiB written, and when each item
    of each stage was done."""

    def __init__(self, command, accept=(0, 3), **more):
        begun = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
        )
        self.items = {}
        lines = []
        # The output is short: one document.
        for line in process.stderr:
            lines.append(line)
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "done":
                item = next(event[kind] for kind in ("collection", "table", "item") if kind in event)
                self.items[event["stage"], item] = time.monotonic() - begun
        self.output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.wall = time.monotonic() - begun
        self.cpu = usage.ru_utime + usage.ru_stime
        self.peak = usage.ru_maxrss / 1024
        self.written = usage.ru_oublock / 2048
        self.ended = process.returncode
        self.errors = "".join(lines)
        if process.returncode not in accept:
            sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{self.errors[-2000:]}")

    def until(self, stage):
        """Seconds until the last item of a stage was done."""
        return max(at for (of, item), at in self.items.items() if of == stage)


def docferry(*words, **more):
    return Done([DOCFERRY, *words, "--log-format", "json"], **more)


def build():
    """Builds docferry and the benchmark program; the path of the latter."""
    subprocess.run(
        ["cargo", "build", "--release", "--locked", "--bin", "docferry", "--bench", "limits"], cwd=ROOT, check=True
    )
    built = sorted((ROOT / "target/release/deps").glob("limits-*"), key=lambda path: path.stat().st_mtime)
    return [path for path in built if os.access(path, os.X_OK) and path.suffix == ""][-1]


def spent(pid):
    """CPU seconds of a process, its children, and those it waited for."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(entry.parent.name) == pid or int(fields[1]) == pid:
            total += sum(map(int, fields[11:15]))
    return total / TICKS


class Servers:
    """Servers of its own, ended at the end."""

    def __enter__(self):
        text = subprocess.run([ROOT / "scripts/servers", "start"], check=True, stdout=subprocess.PIPE, text=True).stdout
        variables = dict(line.removeprefix("export ").split("=", 1) for line in text.splitlines() if "=" in line)
        value = {name: quoted.strip("'") for name, quoted in variables.items()}
        self.postgres = value["DOCFERRY_TEST_POSTGRES"].rsplit("/", 1)[0]
        self.mongodb = value["DOCFERRY_TEST_MONGODB_STANDALONE"]
        data = Path((ROOT / "target/servers/running").read_text().strip())
        self.pids = {
            "postgres": int((data / "postgres/data/postmaster.pid").read_text().split()[0]),
            "mongod": int((data / "standalone/pid").read_text().strip()),
        }
        self.made = set()
        return self

    def __exit__(self, *_):
        subprocess.run([ROOT / "scripts/servers", "stop"], check=False, stdout=subprocess.DEVNULL)

    def database(self, name):
        """URI of a database of the MongoDB."""
        return self.mongodb.replace("/?", f"/{name}?")

    def psql(self, database, *words):
        command = ["psql", "-q", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", f"{self.postgres}/{database}"]
        return subprocess.run(
            [*command, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()

    def fresh(self, name):
        """A new, empty database of the PostgreSQL; its URI."""
        self.psql("postgres", "-c", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", "-c", f"CREATE DATABASE {name}")
        self.psql(name, "-c", "CHECKPOINT")
        return f"{self.postgres}/{name}"


class Clock:
    """Wall seconds, and CPU seconds of servers, of what is done inside it."""

    def __init__(self, servers):
        self.servers = servers

    def __enter__(self):
        self.before = {name: spent(pid) for name, pid in self.servers.pids.items()}
        self.begun = time.monotonic()
        return self

    def __exit__(self, *_):
        self.wall = time.monotonic() - self.begun
        self.server_cpu = sum(spent(pid) - self.before[name] for name, pid in self.servers.pids.items())


def removed(path):
    shutil.rmtree(path, ignore_errors=True)
    return path


def generated(pipeline, documents, seed=7):
    """A sound database of a pipeline as a dump, made once."""
    dump = FOLDER / f"dump-{documents}" / pipeline.stem
    if not dump.exists():
        docferry("generate", pipeline, "--to", dump, "--documents", documents, "--seed", seed, "--sound")
    return dump


def side_by_side(threads, act, work):
    """Does all pieces of work, each thread the next that is left."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(act, work))


class Figures:
    """Measured values by name."""

    def __init__(self):
        self.all = {}

    def add(self, name, value):
        self.all.setdefault(name, []).append(value)

    def median(self, name):
        return statistics.median(self.all[name])

    def medians(self):
        return {name: statistics.median(values) for name, values in self.all.items()}
