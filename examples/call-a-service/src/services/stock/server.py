"""Ten of everything. POST /reservations {sku, quantity} takes some: 201 {left}, or 409.

A request that comes again under the same Idempotency-Key gets the answer of the first time: the
database remembers it, also over restarts.
"""

import json
import os
import pathlib
import sqlite3
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATABASE = pathlib.Path(os.environ["MILLRACE_DATA_DIR"]) / "stock.db"


def connect():
    return sqlite3.connect(DATABASE, timeout=10, isolation_level=None)


def reserve(key, sku, quantity):
    """`(status, body)`, decided once for each key."""
    database = connect()
    with database:
        database.execute("BEGIN IMMEDIATE")
        known = database.execute("SELECT status, body FROM answers WHERE key = ?", [key]).fetchone()
        if known:
            return known[0], known[1]
        taken = database.execute("SELECT coalesce(sum(quantity), 0) FROM reservations WHERE sku = ?", [sku]).fetchone()[0]
        left = 10 - taken - quantity
        if left < 0:
            status, body = 409, json.dumps({"title": "Too little is left"})
        else:
            database.execute("INSERT INTO reservations VALUES (?, ?)", [sku, quantity])
            status, body = 201, json.dumps({"sku": sku, "left": left})
        database.execute("INSERT INTO answers VALUES (?, ?, ?)", [key, status, body])
        database.execute("COMMIT")
        return status, body


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, "{}")

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status, body = reserve(self.headers["idempotency-key"], asked["sku"], asked["quantity"])
        print(f"{asked['quantity']} of {asked['sku']}: {status}")
        self.answer(status, body)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        """What is worth a line is printed above."""


with connect() as tables:
    tables.execute("CREATE TABLE IF NOT EXISTS reservations (sku, quantity)")
    tables.execute("CREATE TABLE IF NOT EXISTS answers (key PRIMARY KEY, status, body)")
ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])), Handler).serve_forever()
