"""The kill storm in large: the storms of the agent's and of the command's own tests, several worlds at once, and what they
counted added up.

Each kill is compared with what `ci/inventory` lists, which shares no code with firedrill: within the lease no effect is left,
and after the next command nothing at all. See faults/agent/tests/it/storm.rs and harness/cli/tests/it/storm.rs.
"""

import collections
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

# Points at which a round of deaths passes: of the agent (journal, apply, revert, deeds, guard; with the guard and without),
# and of the harness.
POINTS_OF_AGENT = 42
POINTS_OF_HARNESS = 17
# Worlds in which agents are killed, and living clusters whose runs are.
WORLDS = int(os.environ.get("FIREDRILL_STORM_WORKERS", "3"))
CLUSTERS = [word for word in os.environ.get("FIREDRILL_STORM_CLUSTERS", "etcd,volumes,postgres").split(",") if word]
# This part of the kills is of whole runs, against servers that live on.
LIVING = 0.3
# A storm that says nothing for so long, in seconds, hangs: longer than anything in it is waited for.
SILENCE = 420
OF_AGENT = ("storm::kills_at_random_instants_leave_nothing", "storm::deaths_between_any_two_steps_leave_nothing")
OF_RUNS = "storm::kills_of_runs_leave_nothing_on_servers_that_live_on"
OF_HARNESS = "storm::deaths_of_the_harness_between_any_two_steps_leave_nothing_on_servers_that_live_on"


def build(root, package):
    """The test program of a package; a debug build, because release builds have no failpoints."""
    command = ["cargo", "test", "-q", "-p", package, "--test", "it", "--no-run", "--message-format", "json"]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    built = [json.loads(line) for line in done.stdout.splitlines()]
    # The programs that it tests are built with it.
    return [one["executable"] for one in built if one.get("executable") and one["profile"]["test"]][-1]


class Total:
    """What has been counted by all."""

    def __init__(self):
        self.lock = threading.Lock()
        self.kills = collections.Counter()
        self.victims = {}
        self.counted = {key: collections.Counter() for key in ("points", "unpassed", "in_force", "applied", "healed_by")}
        self.failures = []

    def add(self, kill):
        with self.lock:
            self.kills[kill["storm"]] += 1
            key = (kill["storm"], kill["victim"])
            count, longest, fair = self.victims.get(key, (0, 0, 0))
            self.victims[key] = (count + 1, max(longest, kill["took_ms"]), max(fair, kill["fair_ms"]))
            if kill["point"]:
                self.counted["unpassed" if kill["unpassed"] else "points"][kill["point"]] += 1
            self.counted["in_force"].update(kill["in_force"])
            self.counted["applied"].update(kill["applied"])
            self.counted["healed_by"].update(kill["healed_by"])


class Worker:
    """One test program at its storms."""

    def __init__(self, total, program, folder, tests, env):
        self.total, self.told, self.at, self.heard = total, [], {}, time.monotonic()
        self.name = f"{' and '.join(tests)} {env}"
        command = [program, "--exact", "--nocapture", "--test-threads=2", *tests]
        self.process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **env}, text=True, errors="replace", start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        self.threads = [threading.Thread(target=read) for read in (self.counts, self.words)]
        for thread in self.threads:
            thread.start()

    def counts(self):
        for line in self.process.stdout:
            word, _, rest = line.partition(" ")
            if word == "STORM":
                self.total.add(json.loads(rest))
            elif word == "STORM-AT":
                at = json.loads(rest)
                self.at[at["storm"]] = rest.strip()
            self.heard = time.monotonic()

    def words(self):
        """What a world says when it breaks; agents' own lines come in between, and other worlds go on."""
        panicking = False
        for line in self.process.stderr:
            panicking = (panicking or " panicked at " in line) and not line.startswith("stack backtrace")
            if (panicking or line.startswith("LOG ")) and " firedrill-agent: " not in line and len(self.told) < 200:
                self.told.append(line)
            if "SKIPPED" in line:
                print(line.strip(), file=sys.stderr)

    def hangs(self):
        return self.process.poll() is None and time.monotonic() - self.heard > SILENCE

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)

    def end(self, why):
        """Reads it to its end, and notes what went wrong."""
        code = self.process.wait()
        for thread in self.threads:
            thread.join()
        if code != 0 or why:
            places = "\n".join(f"  it was at {at}" for at in self.at.values())
            words = f"{self.name}: {why or f'ended with {code}'}\n{places}\n{''.join(self.told)}"
            self.total.failures.append(words)
            print(words, file=sys.stderr, flush=True)


def start_all(root, total, kills, seed, programs, workers):
    """As many workers as there are worlds and clusters, and one for the harness's own steps."""
    agent, runs = programs
    of_runs = round(kills * (LIVING if WORLDS else 1)) if CLUSTERS else 0
    worlds = max(1, WORLDS)
    rounds = max(1, round((kills - of_runs) / 2 / POINTS_OF_AGENT / worlds))
    random = max(1, -(-(kills - of_runs - rounds * POINTS_OF_AGENT * worlds) // worlds))
    steps = max(1, round(of_runs / 4 / POINTS_OF_HARNESS)) if CLUSTERS else 0
    each = max(1, -(-(of_runs - steps * POINTS_OF_HARNESS) // max(1, len(CLUSTERS))))
    print(f"{WORLDS} times {random} kills of agents at random instants and {rounds} rounds of their deaths between any two steps; "
          f"{each} kills of runs on each of {', '.join(CLUSTERS) or 'no cluster'} and {steps} rounds of the harness's own steps; "
          f"FIREDRILL_STORM_SEED={seed} and the next", flush=True)

    def start(program, folder, tests, **env):
        env = {f"FIREDRILL_STORM_{key.upper()}": str(value) for key, value in env.items()}
        env["FIREDRILL_STORM_SEED"] = str(seed + len(workers))
        workers.append(Worker(total, program, os.path.join(root, folder), tests, env))

    for _ in range(WORLDS):
        start(agent, "faults/agent", OF_AGENT, kills=random, rounds=rounds)
    for system in CLUSTERS:
        start(runs, "harness/cli", (OF_RUNS,), kills=each, system=system)
    if CLUSTERS:
        start(runs, "harness/cli", (OF_HARNESS,), rounds=steps)


def remove(binary, work):
    """What workers have left that were killed: their clusters, and their folders."""
    for state in pathlib.Path(work).glob("*/state"):
        env = {**os.environ, "FIREDRILL_STATE_DIR": str(state)}
        for verb in ("down", "heal"):
            subprocess.run([binary, verb, "--all"], env=env, stdout=subprocess.DEVNULL, check=False)
    # A disk that died with its world is mounted still.
    mounted = [line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    for place in reversed([place for place in mounted if place.startswith(f"{work}/")]):
        subprocess.run(["umount", "--lazy", place], check=False)
    shutil.rmtree(work, ignore_errors=True)


def report(total, seconds):
    print(f"\n| kills | {sum(total.kills.values())} |\n|---|---|")
    for storm, count in sorted(total.kills.items()):
        print(f"| kills of {storm} | {count} |")
    for (storm, victim), (count, longest, fair) in sorted(total.victims.items()):
        print(f"| {storm}: {victim} | {count}, effects gone after {longest} ms at most, {fair} ms without waiting for others |")
    for key, words in (
        ("points", "died at"), ("unpassed", "nothing came to"), ("in_force", "in force at the kill:"),
        ("applied", "applied"), ("healed_by", "healed by"),
    ):
        for name, count in sorted(total.counted[key].items()):
            print(f"| {words} {name} | {count} |")
    print(f"| storms with a residue, or broken, or hung | {len(total.failures)} |")
    print(f"| seconds | {seconds:.0f} |", flush=True)


def measure(root, kills):
    """Kills so often; prints the tally. How many storms found a residue, broke, or hung."""
    began, total = time.monotonic(), Total()
    programs = build(root, "firedrill-agent"), build(root, "firedrill")
    work = tempfile.mkdtemp(prefix="firedrill-storm-")
    # Servers of a lab run as users of their own, and must be able to walk to their data.
    os.chmod(work, 0o755)
    os.environ["TMPDIR"] = work
    workers, ended = [], []
    try:
        start_all(root, total, kills, time.time_ns(), programs, workers)
        while len(ended) < len(workers):
            for worker in workers:
                if worker in ended:
                    continue
                why = f"said nothing for {SILENCE} s" if worker.hangs() else ""
                if why:
                    worker.kill()
                if why or worker.process.poll() is not None:
                    worker.end(why)
                    ended.append(worker)
            time.sleep(1)
    finally:
        for worker in workers:
            if worker not in ended:
                worker.kill()
                worker.end("the bench was ended")
        remove(os.path.join(os.path.dirname(programs[1]), "..", "firedrill"), work)
        report(total, time.monotonic() - began)
    return len(total.failures)
