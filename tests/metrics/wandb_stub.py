"""A local stand-in for the W&B server: enough of its API for a whole run, with faults on demand."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WandbStub:
    """Answers every request a run makes and keeps what arrived.

    Attributes:
        history: The rows of ``wandb-history.jsonl`` per run id, in order of arrival.
        bodies: Every request body, decoded.
        faults: ``{"file_stream": 429}`` answers that path with a status; ``{"graphql": "hang"}`` never answers it.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.bodies: list[str] = []
        self.configs: dict[str, dict[str, Any]] = {}
        self.operations: list[str] = []
        self.faults: dict[str, int | str] = {}
        self.uploads: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.server = _QuietServer(("127.0.0.1", 0), _handler_for(self))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        host, port = self.server.server_address[:2]
        return f"http://{host!s}:{port}"

    def stop(self) -> None:
        """No new connection is accepted from now on."""
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def graphql(self, body: dict[str, Any]) -> dict[str, Any]:
        query, variables = body.get("query", ""), body.get("variables") or {}
        match = re.search(r"(?:query|mutation)\s+(\w+)", query)
        operation = match.group(1) if match else "anonymous"
        with self.lock:
            self.operations.append(operation)
        if "upsertBucket" in query:
            return {"upsertBucket": {"bucket": self._bucket(variables), "inserted": True}}
        if "createRunFiles" in query:
            files = [{"name": n, "uploadUrl": f"{self.url}/upload/{n}"} for n in variables.get("files", [])]
            return {"createRunFiles": {"runID": "stub", "uploadHeaders": [], "files": files}}
        if "RunResumeStatus" in query:
            return {"model": self._model(variables)}
        if "viewer" in query:
            return {"viewer": {"id": "v", "entity": "stub", "username": "stub", "flags": "{}", "teams": {"edges": []}}}
        if "serverInfo" in query or "features" in query:
            return {"serverInfo": {"features": [], "cliVersionInfo": None, "latestLocalVersionInfo": None}}
        return {"model": {"bucket": None, "project": None}, "project": None, "entity": None}

    def _model(self, variables: dict[str, Any]) -> dict[str, Any]:
        rows = self.history.get(variables["name"], [])
        resumable = {
            "historyLineCount": len(rows),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]),
            "eventsTail": "[]",
            "summaryMetrics": json.dumps(rows[-1] if rows else {}),
            "tags": [],
            "notes": None,
            "wandbConfig": '{"t": 1}',  # without it the run counts as never started
        }
        bucket = {**self._bucket({"name": variables["name"]}), **resumable} if rows else None
        return {"id": "p", "name": "project", "entity": {"id": "e", "name": "stub"}, "bucket": bucket}

    def _bucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = str(variables.get("name") or "run")
        if variables.get("config"):
            with self.lock:
                self.configs[name] = json.loads(variables["config"])
        project = {"id": "p", "name": variables.get("project") or "project", "entity": {"id": "e", "name": "stub"}}
        return {
            "id": f"id-{name}",
            "name": name,
            "displayName": variables.get("displayName") or name,
            "description": None,
            "config": "{}",
            "sweepName": None,
            "historyLineCount": 0,
            "project": project,
        }

    def file_stream(self, run_id: str, body: dict[str, Any]) -> None:
        for name, part in (body.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                with self.lock:
                    rows = self.history.setdefault(run_id, [])
                    fresh = [json.loads(line) for line in part["content"]]
                    # A retried request repeats rows that were stored already.
                    rows[int(part["offset"]) :] = fresh


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is no error of the server."""


def _handler_for(stub: WandbStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test output clean."""

        def _body(self) -> bytes:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

        def _answer(self, value: Any, status: int = 200) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _faulty(self, kind: str) -> bool:
            fault = stub.faults.get(kind)
            if fault == "hang":
                stub.released.wait()
                return True
            if isinstance(fault, int):
                self._answer({"error": "fault on demand"}, fault)
            return isinstance(fault, int)

        def do_POST(self) -> None:
            body = self._body()
            with stub.lock:
                stub.bodies.append(body.decode("utf-8", "replace"))
            if self.path.endswith("/graphql"):
                if not self._faulty("graphql"):
                    self._answer({"data": stub.graphql(json.loads(body or b"{}"))})
            elif self.path.endswith("/file_stream"):
                if not self._faulty("file_stream"):
                    stub.file_stream(self.path.split("/")[-2], json.loads(body or b"{}"))
                    self._answer({"exitcode": None, "limits": {}})
            else:
                self._answer({})

        def do_PUT(self) -> None:
            data = self._body()
            with stub.lock:
                stub.bodies.append(data.decode("utf-8", "replace"))
                stub.uploads[self.path.removeprefix("/upload/")] = data
            self._answer({})

        def do_GET(self) -> None:
            self._answer({})

    return Handler


@contextmanager
def wandb_stub() -> Iterator[WandbStub]:
    """A running stub, stopped at the end."""
    stub = WandbStub()
    try:
        yield stub
    finally:
        stub.stop()
