"""The section `disk` of ci/bench: pgbench on a PostgreSQL whose home the disk serves (a file system in user space that harms
nothing yet) beside the same PostgreSQL on the folder itself, in turns. Needs root, for the mounts."""

import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess

# Nothing outlives whoever started it.
INSIDE = ["setpriv", "--pdeathsig", "KILL"]
AS_POSTGRES = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig", "KILL"]
SECONDS = 1
SCALE = 10
CLIENTS = 8
# What a round of each kind of load is made by, and how many there are.
LOADS = {"TPC-B-like": ([], 20), "select-only": (["-S"], 6)}
# What may be harmed, which the kernel does not pass through to by itself.
WAYS = {
    "pg_wal can be harmed": {"targets": ["pg_wal"], "power": False},
    "all files can be harmed": {"targets": [None], "power": False},
    "the power can be lost": {"targets": ["pg_wal"], "power": True},
}
# By what requests come, and what the switch is set to for it.
BY = {", by /dev/fuse": "N", ", by io_uring": "Y"}
# Whether the kernel offers io_uring to whoever serves a file system that is mounted now.
SWITCH = pathlib.Path("/sys/module/fuse/parameters/enable_uring")
SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "128MB",
    "checkpoint_timeout": "1h",
    "max_wal_size": "8GB",
    "autovacuum": "off",
}


class Server:
    """A PostgreSQL on a copy of the template; `way` is how its home is served, `None` for the folder itself; `by` is what
    the switch is set to meanwhile, `None` to leave it."""

    def __init__(self, work, programs, agent, template, name, way, by=None):
        self.programs, self.name, self.children = programs, name, []
        place = work / name
        below, self.home = place / "below", place / "home"
        self.home.mkdir(parents=True)
        # Its log is removed with it.
        self.log = open(place / "log", "w", encoding="utf-8")
        copy(template, below)
        self.enter = []
        if way is None:
            self.home.rmdir()
            self.home = below
        else:
            was = SWITCH.read_text() if by else None
            try:
                if by:
                    SWITCH.write_text(by)
                self.serve(agent, below, place / "socket", way)
            finally:
                if by:
                    SWITCH.write_text(was)
        self.sockets = place / "run"
        self.sockets.mkdir()
        shutil.chown(self.sockets, "postgres")
        options = [f"-c{key}={value}" for key, value in SETTINGS.items()]
        command = [*self.enter, *AS_POSTGRES, str(programs / "postgres"), "-D", str(self.home / "data"),
                   "-k", str(self.sockets), *options]
        self.children.append(subprocess.Popen(command, stdout=self.log, stderr=self.log))
        wait = [str(programs / "pg_isready"), "-q", "-h", str(self.sockets)]
        for _ in range(600):
            if subprocess.run(wait, check=False).returncode == 0:
                return
            subprocess.run(["sleep", "0.1"], check=True)
        raise RuntimeError(f"PostgreSQL does not answer: {(place / 'log').read_text()[-1000:]}")

    def serve(self, agent, below, socket, way):
        setting = dict(way, raw=str(below), at=str(self.home), socket=str(socket))
        # In a mount namespace of its own, which ends with the last process in it.
        command = [*INSIDE, "unshare", "--mount", *INSIDE, str(agent), "disk", json.dumps(setting)]
        disk = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=self.log)
        self.children.append(disk)
        if disk.stdout.readline() != "ready\n":
            raise RuntimeError("the disk does not serve")
        self.enter = ["nsenter", f"--mount=/proc/{disk.pid}/ns/mnt"]

    def sql(self, text):
        words = [str(self.programs / "psql"), "-qX", "-h", str(self.sockets), "-U", "postgres", "-c", text]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    def transactions(self, options):
        """Transactions per second."""
        words = [str(self.programs / "pgbench"), "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2",
                 "-T", str(SECONDS), "-h", str(self.sockets), "-U", "postgres", *options, "postgres"]
        done = subprocess.run(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        return float(re.search(r"^tps = ([0-9.]+)", done.stdout, re.M).group(1))

    def end(self):
        for child in reversed(self.children):
            child.terminate() if child is self.children[-1] else child.kill()
            child.wait()
        self.log.close()


def copy(source, target):
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)


def template(work, programs):
    """A home with pgbench's tables."""
    home = work / "disk-template"
    home.mkdir()
    shutil.chown(home, "postgres", "postgres")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
    subprocess.run([*AS_POSTGRES, str(programs / "initdb"), "-k", "-A", "trust", "-U", "postgres", "-D",
                    str(home / "data")], **quiet)
    server = Server(work, programs, None, home, "disk-filled", None)
    try:
        subprocess.run([str(programs / "pgbench"), "-i", "-s", str(SCALE), "-q", "-h", str(server.sockets),
                        "-U", "postgres", "postgres"], **quiet)
    finally:
        server.end()
    return work / "disk-filled" / "below"


def ways():
    """Names of ways, what the switch is set to for each, and how the disk serves."""
    known = BY if os.access(SWITCH, os.W_OK) else {"": None}
    return [(name + by, switch, way) for by, switch in known.items() for name, way in WAYS.items()]


def measure(agent, work, programs, show):
    filled = template(work, programs)
    servers = {}
    try:
        servers["raw"] = Server(work, programs, None, filled, "disk-raw", None)
        for name, switch, way in ways():
            servers[name] = Server(work, programs, agent, filled, f"disk-{len(servers)}", way, switch)
        for server in servers.values():
            server.sql("CHECKPOINT")
        raw = servers["raw"]
        others = [name for name in servers if name != "raw"]
        for load, (options, rounds) in LOADS.items():
            # The machine is faster and slower for seconds at a time: each is measured between two measures of the folder.
            folder, rates = [raw.transactions(options)], {name: [] for name in others}
            for turn in range(rounds):
                for name in others[turn % len(others):] + others[: turn % len(others)]:
                    ours = servers[name].transactions(options)
                    folder.append(raw.transactions(options))
                    rates[name].append((ours, statistics.mean(folder[-2:])))
            show_all(show, load, folder, rates)
    finally:
        for server in servers.values():
            server.end()


def show_all(show, load, folder, rates):
    note = f"{load}, {CLIENTS} connections, scale {SCALE}, {SECONDS} s each"
    show("pgbench on the folder itself", f"{statistics.median(folder):.0f}/s", f"{note}, {min(folder):.0f} to {max(folder):.0f}")
    for name, measured in rates.items():
        ratios = sorted(ours / raw for ours, raw in measured)
        low, median, high = statistics.quantiles(ratios, n=4)
        rate = statistics.median(ours for ours, _ in measured)
        show("pgbench through the disk / on the folder", f"{median:.2f}",
             f"{load}; {name}; {rate:.0f}/s; half of {len(ratios)} rounds {low:.2f} to {high:.2f}; aim >= 0.9")
