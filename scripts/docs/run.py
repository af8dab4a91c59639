"""Executes the commands of documents: `run.py MILLRACE PRICING FILE…`, called by scripts/test-docs.

A fence marked `sh run` is executed, one marked `sh run fails` has to fail. All those of a document are
one session, in an empty directory with the examples in it, against a `millrace dev` that was started
for it on free ports; the addresses of the defaults stand for those. What is in a comment
`<!-- sh run … -->` is executed too, and not shown to readers.

`curl` fails on statuses from 400 on. The API document has to name every route and every RPC.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
FENCE = re.compile(
    r"^(?P<fence>```)sh run(?P<fails> fails)?\n(?P<shown>.*?)^```$|^<!-- sh run\n(?P<hidden>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)
PRELUDE = r"""
set -eEuo pipefail
curl() { command curl --fail-with-body --silent --show-error --max-time 90 "$@"; }
export -f curl
trap 'status=$?; printf "\n@failed %s: %s (exit code %s)\n" "$place" "$BASH_COMMAND" "$status"' ERR
# What is left in the background would keep our output open.
trap 'kill $(jobs -p) 2>/dev/null || :' EXIT
"""
# For all commands of a document, in seconds.
PATIENCE = 300
# The addresses that documents use, and who has them.
PORTS = {"8080": "http", "50051": "runtime", "50052": "orchestrator"}
# Those of what documents start themselves, and of the pricing service.
PORTS |= dict.fromkeys(["8090", "8081", "50053", "50061", "50062", "9090", "9091"])


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def blocks(path):
    text = path.read_text()
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        yield line, match["shown"] or match["hidden"] or "", bool(match["fails"])


def script(path, ports):
    parts = [PRELUDE]
    for line, commands, fails in blocks(path):
        for port, ours in ports.items():
            commands = re.sub(rf"\b(127\.0\.0\.1|localhost):{port}\b", rf"\1:{ours}", commands)
        parts.append(f"place={path.relative_to(ROOT)}:{line}\n")
        if fails:
            parts.append(f"if ( set +eE; trap - ERR\n{commands}\n); then\n")
            parts.append('  printf "\\n@failed %s: it was to fail\\n" "$place"; exit 1\nfi\n')
        else:
            parts.append(commands)
    return "".join(parts)


def start(millrace, scratch, node):
    """A fresh `millrace dev`; the process and its addresses."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
    environment.pop("DATABASE_URL", None)
    first = free_port() % 10000 + 20000
    environment["MILLRACE_ORCHESTRATOR__PORTS"] = f"{first}-{first + 200}"
    if node:
        environment["MILLRACE_ORCHESTRATOR__NODE"] = node
    log = open(scratch / "dev.log", "wb")
    command = [millrace, "dev", "--data-dir", str(scratch / "data"), "--ready-json", "--listen", "127.0.0.1:0",
               "--runtime-listen", "127.0.0.1:0", "--orchestrator-listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
    try:
        line = process.stdout.readline()
    except SystemExit:
        stop(process)
        raise
    if not line:
        raise SystemExit(f"test-docs: millrace dev did not start:\n{(scratch / 'dev.log').read_text()}")
    return process, json.loads(line)


def end_services(scratch):
    """Kills what is left of services below `scratch`, and their shims: they outlive who has started them."""
    below = f"{scratch}/".encode()
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            variables = (process / "environ").read_bytes().split(b"\0")
            is_shim = any(it.startswith(below) for it in arguments[1:2])
            is_service = any(it.startswith(b"MILLRACE_DATA_DIR=" + below) for it in variables)
            if is_shim or is_service:
                os.kill(int(process.name), signal.SIGKILL)


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run(path, millrace, pricing, node):
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="millrace-docs."))
    process = pricing_process = None
    try:
        process, addresses = start(millrace, scratch, node)
        ports = {port: addresses[who].rsplit(":")[-1] if who else str(free_port()) for port, who in PORTS.items()}
        work = scratch / "work"
        work.mkdir()
        ignore = shutil.ignore_patterns("node_modules", "target", ".venv")
        shutil.copytree(ROOT / "examples", work / "examples", ignore=ignore)
        for workflow in work.glob("examples/*/workflow.yaml"):
            text = workflow.read_text()
            for port, ours in ports.items():
                text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{ours}")
            workflow.write_text(text)
        release = work / "target/release"
        release.mkdir(parents=True)
        (release / "millrace").symlink_to(millrace)
        pricing_process = subprocess.Popen(
            [pricing, f"127.0.0.1:{ports['8090']}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
        environment.pop("DATABASE_URL", None)
        environment["MILLRACE_SERVER"] = f"http://127.0.0.1:{ports['8080']}"
        environment["PATH"] = f"{release}:{environment['PATH']}"
        environment["NO_PROXY"] = environment["no_proxy"] = "127.0.0.1,localhost"
        session = subprocess.Popen(
            ["bash", "-c", script(path, ports)], cwd=work, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        )
        try:
            said, _ = session.communicate(timeout=PATIENCE)
            good = session.returncode == 0
        except subprocess.TimeoutExpired as late:
            said, good = (late.stdout or b"").decode(errors="replace") + f"\nnot done within {PATIENCE} s", False
        finally:
            # What the document has started and left.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(session.pid, signal.SIGKILL)
        if not good:
            print("\n".join(said.splitlines()[-40:]))
        return good
    finally:
        for child in (process, pricing_process):
            if child:
                stop(child)
        end_services(scratch)
        shutil.rmtree(scratch, ignore_errors=True)


def missing_in_api(path):
    """Routes of the router and RPCs of the contracts that the document shows no call of."""
    shown = "\n".join(commands for _, commands, _ in blocks(path))
    rpcs = []
    for proto in sorted(ROOT.glob("proto/millrace/*/v1/*.proto")):
        service = None
        package = re.search(r"^package (.*);", proto.read_text(), re.M)[1]
        for line in proto.read_text().splitlines():
            if match := re.match(r"service (\w+)", line):
                service = match[1]
            elif match := re.match(r"  rpc (\w+)", line):
                rpcs.append(f"{package}.{service}/{match[1]}")
    missing = [rpc for rpc in rpcs if not re.search(rf"{re.escape(rpc)}\b", shown)]
    router = (ROOT / "crates/gateway/src/router.rs").read_text()
    for route in sorted(set(re.findall(r'"(/[^"]*)"', router))):
        pattern = re.sub(r"\\\{\\?\*?[^}]*\\\}", "[^/ '\"?]+", re.escape(route))
        if not re.search(rf"127\.0\.0\.1:8080{pattern}(?=[ '\"?]|$|/)", shown, re.M):
            missing.append(route)
    return missing


def main():
    # What was started is ended then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    millrace, pricing, *files = sys.argv[1:]
    node = os.environ.get("MILLRACE_DOCS_NODE")
    failed = []
    for name in files:
        path = (ROOT / name).resolve()
        count = len(list(blocks(path)))
        if name.endswith("workflow-runtime-api.md"):
            for what in missing_in_api(path):
                print(f"test-docs: {name} shows no call of {what}")
                failed.append(name)
        if count == 0:
            continue
        if run(path, str(pathlib.Path(millrace).resolve()), str(pathlib.Path(pricing).resolve()), node):
            print(f"test-docs: {name}: {count} blocks of commands work", flush=True)
        else:
            print(f"test-docs: {name}: FAILED", flush=True)
            failed.append(name)
    sys.exit(1 if failed else 0)


main()
