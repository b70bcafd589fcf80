"""The section `net` of ci/bench: a link through the wire beside the same link in the kernel's bridge, and how accurately the
wire delays. Two ends and a switch in network namespaces of their own, the real agent, and ordinary sockets. Needs root."""

import json
import os
import statistics
import subprocess

# Nothing outlives whoever started it.
INSIDE = ["setpriv", "--pdeathsig", "KILL"]
SECONDS = 3
PINGS = 2000
DELAYED = 200
ASKED = 20  # ms

SINK = """
import socket, sys, time
listener = socket.create_server(("10.77.0.2", 7001))
print("ready", flush=True)
stream, _ = listener.accept()
total, began, buffer = 0, None, bytearray(1 << 20)
while count := stream.recv_into(buffer):
    began = began or time.monotonic()
    total += count
print(total / (time.monotonic() - began))
"""
SOURCE = f"""
import socket, time
stream, block = socket.create_connection(("10.77.0.2", 7001)), bytes(1 << 20)
end = time.monotonic() + {SECONDS}
while time.monotonic() < end:
    stream.sendall(block)
"""
ECHO = """
import socket
echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
echo.bind(("10.77.0.2", 7002))
print("ready", flush=True)
while True:
    echo.sendto(*echo.recvfrom(64))
"""
PING = """
import socket, sys, time
ping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ping.connect(("10.77.0.2", 7002))
ping.settimeout(2)
for _ in range(int(sys.argv[1])):
    began = time.perf_counter()
    ping.send(b"ping")
    ping.recv(64)
    print((time.perf_counter() - began) * 1000)
"""


class Net:
    """Two ends, n1 and n2, on a switch, and an agent in it."""

    def __init__(self, agent):
        self.children = []
        self.switch, self.ends = self.namespace(), [self.namespace(), self.namespace()]
        self.do(self.switch, "ip link add sw0 type bridge forward_delay 0 stp_state 0", "ip link set sw0 up")
        for number, end in enumerate(self.ends, 1):
            self.do(
                self.switch,
                f"ip link add vn{number} type veth peer name eth0 netns {end}",
                f"ip link set vn{number} master sw0 up",
            )
            self.do(end, f"ip addr add 10.77.0.{number}/24 dev eth0", "ip link set eth0 up")
        self.agent = self.start(self.switch, [str(agent)], stdin=subprocess.PIPE)
        self.number = 0
        nodes = [
            {"name": f"n{i}", "site": {"netns": f"/proc/{end}/ns/net", "link": f"vn{i}", "address": f"10.77.0.{i}"}}
            for i, end in enumerate(self.ends, 1)
        ]
        config = {"tag_prefix": f"fd-bench{os.getpid()}-", "lease_nanos": 10**12, "nodes": nodes}
        self.prefix = config["tag_prefix"]
        self.ask({"hello": {"version": 1, "config": dict(config, clients=None, starter=None)}})

    def namespace(self):
        holder = subprocess.Popen([*INSIDE, "unshare", "--net", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
        self.children.append(holder)
        holder.stdout.readline()
        return holder.pid

    def command(self, place, words):
        return [*INSIDE, "nsenter", f"--net=/proc/{place}/ns/net", *words]

    def do(self, place, *lines):
        for line in lines:
            subprocess.run(self.command(place, line.split()), check=True)

    def start(self, place, words, **streams):
        child = subprocess.Popen(self.command(place, words), text=True, stdout=subprocess.PIPE, **streams)
        self.children.append(child)
        return child

    def ask(self, ask):
        self.number += 1
        print(json.dumps({"id": self.number, "ask": ask}), file=self.agent.stdin, flush=True)
        while True:
            line = json.loads(self.agent.stdout.readline())
            if "answer" in line:
                answer = line["answer"]["answer"]
                if isinstance(answer, dict) and "refused" in answer:
                    raise RuntimeError(f"the agent refused: {answer['refused']['what']}")
                return answer

    def delay(self, millis):
        """Delays both directions between the two."""
        links = [{"from": {"node": a}, "to": {"node": b}} for a, b in (("n1", "n2"), ("n2", "n1"))]
        span = {"secs": 0, "nanos": millis * 1_000_000}
        how = {"impairment": "delay", "delay": span, "jitter": {"secs": 0, "nanos": 0}}
        action = {"action": "impair", "links": links, "port": None, "how": how, "seed": 1}
        undo = self.ask({"prepare": {"tag": f"{self.prefix}{self.number + 1}", "action": action}})["prepared"]
        self.ask({"apply": {"undo": undo, "hold_nanos": None}})
        return undo

    def revert(self, undo):
        self.ask({"revert": {"undo": undo}})

    def throughput(self):
        """Bytes a second of one TCP connection, as the receiver counts them."""
        sink = self.start(self.ends[1], ["python3", "-c", SINK])
        sink.stdout.readline()
        subprocess.run(self.command(self.ends[0], ["python3", "-c", SOURCE]), check=True)
        return float(sink.stdout.readline())

    def round_trips(self, count):
        """Round trips of datagrams, in milliseconds."""
        echo = self.start(self.ends[1], ["python3", "-c", ECHO])
        echo.stdout.readline()
        words = self.command(self.ends[0], ["python3", "-c", PING, str(count)])
        done = subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE)
        echo.kill()
        echo.wait()
        return [float(line) for line in done.stdout.split()]

    def end(self):
        for child in reversed(self.children):
            child.kill()
            child.wait()


def measure(agent, show, rounds):
    net = Net(agent)
    try:
        rates, trips = {"kernel": [], "wire": []}, {"kernel": [], "wire": []}
        for _ in range(rounds):
            for way in ("kernel", "wire"):
                undo = net.delay(0) if way == "wire" else None
                rates[way].append(net.throughput())
                trips[way].extend(net.round_trips(PINGS))
                if undo:
                    net.revert(undo)
        kernel, wire = (statistics.median(rates[way]) for way in ("kernel", "wire"))
        note = f"one TCP connection, both directions through the wire, delay 0; {wire * 8e-9:.1f} of {kernel * 8e-9:.1f} Gbit/s"
        show("throughput, wire / kernel's bridge", f"{wire / kernel:.2f}", note)
        kernel, wire = (statistics.median(trips[way]) for way in ("kernel", "wire"))
        note = f"UDP round trip, both directions through the wire; medians {wire * 1000:.0f} and {kernel * 1000:.0f} us"
        show("round trip, wire / kernel's bridge", f"{wire / kernel:.1f}", note)
        undo = net.delay(ASKED)
        late = [(trip - kernel) / 2 - ASKED for trip in net.round_trips(DELAYED)]
        net.revert(undo)
        middle = statistics.median(late)
        value = f"{middle:+.2f} ms ({min(late):+.2f} to {max(late):+.2f}, n={len(late)})"
        show("one-way delay measured minus asked", value, f"{ASKED} ms asked, half of the round trip; aim within 1 ms")
    finally:
        net.end()
