"""The section `inventory` of ci/bench: how long an agent takes to list what faults could leave in a lab of three nodes with
real servers, as it does before every storm and after it. Needs root."""

import json
import pathlib
import resource
import statistics
import subprocess
import time

LOOKS = 50


class Agent:
    """An agent of the lab's own program, inside the lab whose init has that process id."""

    def __init__(self, program, init, groups):
        inside = ["nsenter", "--target", str(init), "--pid", "--mount", "--net", str(program)]
        self.process = subprocess.Popen(inside, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.number = 0
        folder = pathlib.Path("/run/firedrill")

        def node(number):
            name = f"n{number}"
            site = {"netns": f"{folder}/ns/{name}", "link": f"v{name}", "address": f"10.77.0.{number}"}
            ground = {
                "mounts": f"{folder}/ns/{name}.mounts", "home": f"{folder}/nodes/{name}/home",
                "cgroups": [group for group in groups if group.endswith(f"/{name}")],
                "disk": None, "clock": None, "device": None,
            }
            return {"name": name, "site": site, "ground": ground}

        clients = {"netns": f"{folder}/ns/clients", "link": "vclients", "address": "10.77.0.201"}
        config = {
            "tag_prefix": "fd-bench-", "lease_nanos": 10**12, "nodes": [node(number) for number in (1, 2, 3)],
            "clients": clients, "starter": None, "resolver": None, "journal": None,
        }
        self.ask({"hello": {"version": 1, "config": config}})

    def ask(self, ask):
        self.number += 1
        print(json.dumps({"id": self.number, "ask": ask}), file=self.process.stdin, flush=True)
        while True:
            line = json.loads(self.process.stdout.readline())
            if "answer" in line:
                answer = line["answer"]["answer"]
                if isinstance(answer, dict) and "refused" in answer:
                    raise RuntimeError(f"the agent refused: {answer['refused']['what']}")
                return answer

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def processor_time():
    """Of everybody who was waited for, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(bench, agent, show):
    name, _ = bench.up("ledger-open.toml")
    try:
        record = json.loads((bench.work / "state" / "labs" / name / "lab.json").read_text())
        before = processor_time()
        asked = Agent(agent, record["init"]["pid"], record["cgroups"])
        try:
            took = []
            for _ in range(LOOKS):
                began = time.perf_counter()
                found = asked.ask("inventory")["inventory"]
                took.append((time.perf_counter() - began) * 1000)
        finally:
            asked.end()
        spent = (processor_time() - before) * 1000 / LOOKS
        items = sum(len(names) for names in found["items"].values())
        value = f"{statistics.median(took):.1f} ms ({min(took):.1f} to {max(took):.1f}, n={len(took)})"
        show("an inventory of a lab of three nodes", value, f"{spent:.1f} ms of CPU each; PostgreSQL, Patroni and etcd; {items} items; aim below 50 ms")
    finally:
        bench.down(name)
