"""Posts webhooks at a rate, then counts: `load.py URL RATE SECONDS`, with MILLRACE_API_KEY, where keys are asked for, to count.

Each has a number and an Idempotency-Key, and is posted until it is acknowledged, as any sender would.
Afterwards every number has to have ended well, once, and nothing else may be there.
"""

import collections
import http.client
import json
import os
import sys
import threading
import time
import urllib.parse

SENDERS = 32
PATIENCE = 120


def main():
    at, rate, seconds = urllib.parse.urlsplit(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    count = rate * seconds
    turn, acknowledged, repeats, lock = iter(range(count)), {}, [0], threading.Lock()
    begun = time.monotonic()
    slowest = [0.0]
    by_second = collections.Counter()

    def connect():
        return http.client.HTTPConnection(at.hostname, at.port, timeout=20)

    def send():
        connection = connect()
        while True:
            with lock:
                number = next(turn, None)
            if number is None:
                return
            wait = begun + number / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            sent = time.monotonic()
            while time.monotonic() - begun < seconds + PATIENCE:
                try:
                    headers = {"content-type": "application/json", "idempotency-key": str(number)}
                    connection.request("POST", "/webhooks/load", json.dumps({"n": number}), headers)
                    answer = connection.getresponse()
                    body = answer.read()
                    if answer.status == 202:
                        with lock:
                            acknowledged[number] = json.loads(body)["executionId"]
                            slowest[0] = max(slowest[0], time.monotonic() - sent)
                            by_second[int(time.monotonic() - begun)] += 1
                        break
                except (OSError, http.client.HTTPException):
                    connection.close()
                    connection = connect()
                with lock:
                    repeats[0] += 1
                time.sleep(0.05)

    threads = [threading.Thread(target=send) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - begun
    print(f"load: {len(acknowledged)} of {count} acknowledged in {took:.1f} s ({len(acknowledged) / took:.0f}/s), "
          f"{repeats[0]} posted again, slowest {slowest[0]:.2f} s", flush=True)
    print("load: acknowledged in each second: " + " ".join(str(by_second[n]) for n in range(int(took) + 1)), flush=True)
    if len(acknowledged) != count:
        sys.exit("load: not all were acknowledged")

    connection = connect()
    key = os.environ.get("MILLRACE_API_KEY")
    credentials = {"authorization": f"Bearer {key}"} if key else {}

    def get(path):
        connection.request("GET", path, headers=credentials)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        if answer.status != 200:
            raise SystemExit(f"load: {path}: {body}")
        return body

    def executions():
        found, cursor = [], ""
        while True:
            page = get("/api/executions?limit=1000" + (f"&cursor={urllib.parse.quote(cursor)}" if cursor else ""))
            found += page["items"]
            if not page["next"]:
                return found
            cursor = page["next"]

    deadline = time.monotonic() + PATIENCE
    while True:
        found = executions()
        states = collections.Counter(item["status"] for item in found)
        if set(states) == {"SUCCEEDED"} or time.monotonic() > deadline:
            break
        time.sleep(1)
    print(f"load: {len(found)} executions: {dict(states)}", flush=True)
    wanted = set(acknowledged.values())
    there = collections.Counter(item["id"] for item in found)
    lost = wanted - set(there)
    more = set(there) - wanted
    if lost or more or len(wanted) != count or set(states) != {"SUCCEEDED"}:
        sys.exit(f"load: {len(lost)} lost, {len(more)} that nobody was told of, {count - len(wanted)} shared an id")


main()
