"""Functions that bench and bench-servers share: calls, load by wrk, bounded waits, and reports of pairs of figures."""

import json
import re
import socket
import statistics
import subprocess
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE = "/api/v1/chat_applications"
POSTING = ROOT / "scripts" / "post.lua"
# How many seconds wrk may run beyond its measurement.
WRK_SPARE_SECONDS = 30


def build():
    """Builds all programs and bare servers in release mode; returns the target directory."""
    command = ["cargo", "build", "--release", "--locked", "--workspace", "--bins", "--examples"]
    subprocess.run(command, cwd=ROOT, check=True)
    metadata = ["cargo", "metadata", "--format-version=1", "--no-deps"]
    output = subprocess.run(metadata, cwd=ROOT, capture_output=True, check=True).stdout
    return json.loads(output)["target_directory"]


def call(method, url, body=None):
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def wait_until(what, seconds, condition):
    """Polls until the condition holds; returns how many seconds that took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise SystemExit(f"{what}: not within {seconds} s")
        time.sleep(0.01)
    return time.monotonic() - began


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wrk(url, connections, seconds, *script):
    """Loads url with wrk; returns the rate and percentiles. Any failed request ends the run."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += ["-s", str(script[0]), url, "--", *script[1:]] if script else [url]
    timeout = seconds + WRK_SPARE_SECONDS
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"{url} refused or dropped requests:\n{output}")
    found = {
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1]),
        "requests": int(re.search(r"(\d+) requests in", output)[1]),
    }
    for percent in ("50", "99"):
        number, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)\b", output).groups()
        found[f"p{percent}_ms"] = float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
    return found


def spread(values, digits=0):
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def report(name, pairs):
    """Prints pairs of measurements, of the bare server and of Tally, and the ratio of each pair."""
    for who, runs in (("bare", [pair[0] for pair in pairs]), ("tally", [pair[1] for pair in pairs])):
        print(
            f"{name:24} {who:6} {spread([run['rate'] for run in runs])} /s, "
            f"p50 {spread([run['p50_ms'] for run in runs], 2)} ms, p99 {spread([run['p99_ms'] for run in runs], 1)} ms"
        )
    print(f"{name:24} {'ratio':6} {spread([b['rate'] / a['rate'] for a, b in pairs], 2)}", flush=True)


def memory_mib(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


def stop(processes, seconds=30):
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
