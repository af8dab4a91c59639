"""A workflow engine for Millrace in Python. It runs documents of `set` tasks.

It speaks the two calls that a runtime cannot do without, `Validate` and
`Execute`, and sends nothing but the end of an execution: no checkpoint.
"""

import json
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import grpc
import yaml

# The contract is read from its file: there is no generated code to keep.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "proto"))
pb, rpc = grpc.protos_and_services("millrace/engine/v1/engine.proto")


class Engine(rpc.WorkflowEngineServiceServicer):
    def Validate(self, request, context):
        """What it cannot run is a finding, with its place; not an error."""
        try:
            document = yaml.safe_load(request.document)  # YAML, or JSON
            about, tasks = document["document"], document["do"]
            names = [(name, task) for step in tasks for name, task in step.items()]
        except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
            return found("", f"this is no workflow: {error!r}")
        for index, (name, task) in enumerate(names):
            if set(task) != {"set"}:
                return found(f"/do/{index}/{name}", "this engine runs `set` tasks only")
        identity = pb.WorkflowIdentity(
            namespace=about["namespace"], name=about["name"], version=about["version"]
        )
        return pb.ValidateResponse(identity=identity, definition_json=json.dumps(document))

    def Execute(self, requests, context):
        """The first message is `start`; the answer is the end."""
        start = next(requests).start
        output = json.loads(start.input_json)
        for step in json.loads(start.definition_json)["do"]:
            for task in step.values():
                output = task["set"]
        yield pb.ExecuteResponse(
            completed=pb.Completed(
                output_json=json.dumps(output),
                events=[
                    pb.ExecutionEvent(
                        seq=start.next_event_seq,
                        at=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                        kind="executionSucceeded",
                    )
                ],
            )
        )


def found(pointer, message):
    error = pb.Diagnostic.SEVERITY_ERROR
    diagnostic = pb.Diagnostic(severity=error, pointer=pointer, message=message)
    return pb.ValidateResponse(diagnostics=[diagnostic])


def main():
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50053"
    server = grpc.server(ThreadPoolExecutor(max_workers=16))
    rpc.add_WorkflowEngineServiceServicer_to_server(Engine(), server)
    port = server.add_insecure_port(address)
    server.start()
    print(json.dumps({"engine": f"{address.rpartition(':')[0]}:{port}"}), flush=True)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    stop.wait()
    server.stop(grace=10).wait()  # no new calls; those under way may end


if __name__ == "__main__":
    main()
