"""What the judge costs: a table of histories, made by the example `histories` of firedrill-check, on one core, and beside that
the wall time on all of them."""

import json
import os
import pathlib
import subprocess
import sys
import time

PORCUPINE_LOGS = 103

# name, arguments of the generator (kind, operations, clients, keys, crashed of a thousand, values), arguments of the judge,
# what is measured, the aim in seconds, and the aim in MiB.
ROWS = (
    ("100k operations, one key, 10 clients", ("register", 100_000, 10, 1), ("cas-register",), "decide", 1.0, 64),
    ("1M operations, 1,000 keys, 10 clients", ("register", 1_000_000, 10, 1000), ("cas-register",), "decide", 0.6, None),
    ("1k operations, one key, 10 clients, 39 crashed", ("register", 1000, 10, 1, 58), ("cas-register",), "decide", 0.02, None),
    ("10k operations, one key, 30 clients", ("register", 10_000, 30, 1), ("cas-register",), "decide", None, None),
    ("1M operations of a register, unique values", ("register", 1_000_000, 10, 1, 0, 0), ("cas-register",), "decide", 1.0, None),
    ("1M operations of a set, 20 of them reads", ("set", 1_000_000, 10, 1), ("set",), "decide", 1.0, None),
    ("1M operations of a queue", ("queue", 1_000_000, 10, 1), ("queue",), "decide", 1.0, None),
    ("list-append, 100k transactions", ("list-append", 100_000, 20, 10), ("list-append",), "all", 0.5, None),
    ("list-append, 1M transactions", ("list-append", 1_000_000, 20, 10), ("list-append",), "all", 4.0, 1536),
    ("list-append, 10M transactions", ("list-append", 10_000_000, 20, 10), ("list-append",), "all", 60.0, 12288),
    ("rw-register, 1M transactions", ("rw-register", 1_000_000, 20, 1000), ("rw-register",), "all", 4.0, 1536),
    ("rc-axiomatic, 10M operations, 50 sessions", ("plume", 10_000_000, 50, 100_000), ("rw-register", "--consistency", "rc-axiomatic"), "all", 8.0, None),
    ("ra, 10M operations, 50 sessions", ("plume", 10_000_000, 50, 100_000), ("rw-register", "--consistency", "ra"), "all", 8.0, None),
    ("cc, 10M operations, 50 sessions", ("plume", 10_000_000, 50, 100_000), ("rw-register", "--consistency", "cc"), "all", 30.0, 2560),
)


def judged(binary, path, options, cores):
    """What the judge says, wall and CPU seconds, and peak memory in MiB, on so many of the cores this process may use."""
    some = sorted(os.sched_getaffinity(0))[:cores]
    command = [str(binary), "judge", str(path), "--json", "--limit-time", "300s", "--limit-memory", "16GiB", "--model", *options]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, some))
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 4):
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {out.decode()[:500]}")
    return json.loads(out), time.monotonic() - began, usage.ru_utime, usage.ru_stime, usage.ru_maxrss / 1024


def made(generator, work, arguments):
    """A file of the generator, made once."""
    path = work / ("-".join(str(word) for word in arguments) + ".history")
    if not path.exists():
        kind, operations, clients, keys, *rest = (str(word) for word in arguments)
        subprocess.run([str(generator), kind, operations, clients, keys, str(path), *rest], check=True)
    return path


def logs(generator, work):
    """Small histories with crashed clients, like those of Porcupine's etcd logs, in one process that uses the library."""
    arguments = [("register", 80 + number % 20, 5, 1 + number // 20, 60) for number in range(PORCUPINE_LOGS)]
    paths = [made(generator, work, these) for these in arguments]
    small = generator.with_name("small_logs")
    told = subprocess.run([str(small), *(str(path) for path in paths)], check=True, capture_output=True, text=True).stdout
    both, worst, alone, worst_alone, violated, worst_violated, told, worst_told = (float(word) for word in told.split())
    return (f"{both:.3f} ms each with parsing (slowest {worst:.3f}), {alone:.3f} ms to decide (slowest {worst_alone:.3f}), "
            f"{violated:.3f} ms when violated (slowest {worst_violated:.3f}), and {told:.3f} ms to find the fewest calls "
            f"that contradict each other (slowest {worst_told:.3f})")


def measure(binary, generator, work, wanted=()):
    """Prints the table; rows whose names contain one of the words in `wanted`, or all."""
    print("measured: seconds on the processor, which other work changes less than wall, the time with all waiting\n")
    waits = subprocess.run([str(generator.with_name("memory"))], check=True, capture_output=True, text=True).stdout.strip()
    huge = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    print(f"memory: {waits} ns a load in 256 MiB of small pages; huge pages: {huge.read_text().strip() if huge.exists() else 'none'}\n")
    cores = len(os.sched_getaffinity(0))
    print(f"| history | judge | wall s, one core and {cores} | CPU s (user + system) | measured | aim | peak MiB | aim MiB | MB/s parsed |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    if not wanted or any(word in "small logs" for word in wanted):
        print(f"| {PORCUPINE_LOGS} small logs, 5 clients, some crashed | cas-register | | | {logs(generator, work)} "
              "| 0.1 ms | | | |", flush=True)
    for place, (name, arguments, options, what, aim, memory) in enumerate(ROWS):
        if wanted and not any(word in name for word in wanted):
            continue
        path = made(generator, work, arguments)
        said, wall, user, system, peak = judged(binary, path, options, 1)
        shared = judged(binary, path, options, cores)[1]
        parse = said.get("parse_cpu_seconds")
        measured = said["cpu_seconds"] - parse if what == "decide" and parse is not None else user + system
        rate = f"{path.stat().st_size / 1e6 / parse:.0f}" if parse else ""
        words = f"{measured:.3f} s {'to decide' if what == 'decide' else 'in all'}, {said['verdict']}"
        print(f"| {name} | {' '.join(options)} | {wall:.2f} and {shared:.2f} | {user:.2f} + {system:.2f} | {words} | {'-' if aim is None else f'{aim} s'} "
              f"| {peak:.0f} | {memory or '-'} | {rate} |", flush=True)
        if all(later[1] != arguments for later in ROWS[place + 1:]):
            path.unlink()


def main(root, binary, words):
    """Builds what is missing, makes the histories in a folder of its own, and measures."""
    import tempfile

    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "firedrill-check", "--example", "histories", "--example", "small_logs", "--example", "memory"], cwd=root, check=True)
    target = root / os.environ.get("CARGO_TARGET_DIR", "target")
    with tempfile.TemporaryDirectory(prefix="firedrill-bench-judge-") as work:
        measure(binary, target / "release" / "examples" / "histories", pathlib.Path(work), words)
    sys.stdout.flush()
