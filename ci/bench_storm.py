"""The kill storm in large: the agent's own storm tests, several worlds at once, and what they counted added up.

Each kill is compared with what `ci/inventory` lists, which shares no code with firedrill: within the lease no effect is left,
and after the next command nothing at all. See faults/agent/tests/it/storm.rs.
"""

import collections
import json
import os
import subprocess
import sys
import time

# Points at which a round of deaths passes: journal, apply, revert, deeds, guard; with the guard and without.
POINTS_OF_A_ROUND = 42
WORKERS = int(os.environ.get("FIREDRILL_STORM_WORKERS", "3"))
TESTS = ("storm::kills_at_random_instants_leave_nothing", "storm::deaths_between_any_two_steps_leave_nothing")


def build(root):
    """The test program of the agent; a debug build, because release builds have no failpoints."""
    command = ["cargo", "test", "-q", "-p", "firedrill-agent", "--test", "it", "--no-run", "--message-format", "json"]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    found = [json.loads(line).get("executable") for line in done.stdout.splitlines()]
    return [path for path in found if path][-1]


def start(program, root, seed, kills, rounds):
    env = dict(
        os.environ, FIREDRILL_STORM_SEED=str(seed), FIREDRILL_STORM_KILLS=str(kills), FIREDRILL_STORM_ROUNDS=str(rounds)
    )
    command = [program, "--exact", "--nocapture", "--test-threads=2", *TESTS]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=os.path.join(root, "faults/agent"), env=env, text=True, errors="replace", **pipe)


# What a worker's line counts by name.
COUNTED = ("points", "unpassed", "in_force", "applied", "next")


def add(total, line):
    counted = json.loads(line)
    total["kills"] += counted["kills"]
    for victim, (count, longest) in counted["victims"].items():
        before = total["victims"].get(victim, (0, 0))
        total["victims"][victim] = (before[0] + count, max(before[1], longest))
    for key in COUNTED:
        total[key].update(counted[key])


def drain(worker, total, failures):
    """Reads a worker to its end."""
    told, panicking = [], False
    for line in worker.stderr:
        # What a world says when it breaks; the agents' own lines come in between, and other worlds go on.
        panicking = (panicking or " panicked at " in line) and not line.startswith("stack backtrace")
        if panicking and " firedrill-agent: " not in line and len(told) < 200:
            told.append(line)
        if "SKIPPED" in line:
            print(line.strip(), file=sys.stderr)
    # Short, and kept by the pipe until now.
    for line in worker.stdout:
        if line.startswith("STORM "):
            add(total, line[6:])
    if worker.wait() != 0:
        failures.append("".join(told) or f"a worker ended with {worker.returncode}")
        print(failures[-1], file=sys.stderr, flush=True)


def measure(root, kills):
    """Kills so often; prints the tally. How many worlds found a residue, or broke."""
    import threading

    program = build(root)
    began = time.monotonic()
    rounds = max(1, round(kills / 2 / POINTS_OF_A_ROUND / WORKERS))
    random = -(-(kills - rounds * POINTS_OF_A_ROUND * WORKERS) // WORKERS)
    seed = time.time_ns()
    total = {"kills": 0, "victims": {}, **{key: collections.Counter() for key in COUNTED}}
    failures, threads = [], []
    print(f"{WORKERS} times {random} kills at random instants and {rounds} rounds of deaths between any two steps; "
          f"FIREDRILL_STORM_SEED={seed} and the next {WORKERS - 1}", flush=True)
    for number in range(WORKERS):
        worker = start(program, root, seed + number, max(random, 1), rounds)
        threads.append(threading.Thread(target=drain, args=(worker, total, failures)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    print(f"\n| kills | {total['kills']} |\n|---|---|")
    for victim, (count, longest) in sorted(total["victims"].items()):
        print(f"| victim {victim} | {count}, effects gone after {longest} ms at most |")
    for key, words in (
        ("points", "died at"), ("unpassed", "no deed came to"), ("in_force", "in force at the kill:"),
        ("applied", "applied"), ("next", "healed by"),
    ):
        for name, count in sorted(total[key].items()):
            print(f"| {words} {name} | {count} |")
    print(f"| worlds with a residue, or broken | {len(failures)} |")
    print(f"| seconds | {time.monotonic() - began:.0f} |", flush=True)
    return len(failures)
