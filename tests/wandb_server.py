"""What of W&B's service its clients need, on the loopback: sweeps, agents, runs, files and artifacts.

It stores what it receives, and the tests look at that. Sweeps are grids here, whatever their method says.
"""

import contextlib
import itertools
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

KEY = "0123456789" * 4  # of the right form, and nobody's
ENTITY = "nobody"


@dataclass
class Run:
    """What the service knows of a run."""

    name: str  # its id
    project: str
    display_name: str | None = None
    sweep: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)  # as uploaded, with {"value": ...} around each
    history: dict[int, dict] = field(default_factory=dict)  # rows by their number
    summary: dict[str, Any] = field(default_factory=dict)
    output: dict[int, str] = field(default_factory=dict)  # the Logs tab, by line number
    exit_code: int | None = None  # None: not finished

    @property
    def settings(self) -> dict[str, Any]:
        """The config as a person sees it."""
        return {key: entry["value"] for key, entry in self.config.items() if key != "_wandb"}

    def rows(self) -> list[dict]:
        return [row for _, row in sorted(self.history.items())]

    def values(self, metric: str) -> list[Any]:
        return [row[metric] for row in self.rows() if metric in row]


@dataclass
class Sweep:
    """A sweep and what it has still to hand out."""

    name: str
    project: str
    config: dict[str, Any]
    ahead: list[dict[str, Any]]  # settings of runs that are still to come
    runs: list[str] = field(default_factory=list)  # ids, as they were handed out


@dataclass
class Artifact:
    """A version of an artifact."""

    project: str
    collection: str
    kind: str
    version: int
    aliases: list[str]
    metadata: dict[str, Any]
    digest: str
    run: str
    client_id: str
    state: str = "PENDING"
    manifest: dict[str, Any] | None = None
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.project}.{self.collection}.{self.version}"


class Server:
    """Listens from construction to close. `refuses` makes it answer like a service that does not know the key."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.sweeps: dict[str, Sweep] = {}
        self.artifacts: list[Artifact] = []
        self.views: list[dict] = []  # saved workspaces
        self.stopping: set[str] = set()  # runs that agents are told to stop
        self.refuses = False
        self._agents: dict[str, str] = {}  # the sweep that each works for
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with server._lock:
                    status, content = server._answer(self.command, self.path, body)
                with contextlib.suppress(ConnectionError):  # a client that was stopped
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.environment = {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}
        self._thread = threading.Thread(target=self.http.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self._thread.join()

    # --- HTTP -------------------------------------------------------------------------------------

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if self.refuses:
            return 401, json.dumps({"errors": [{"message": "user is not logged in"}]}).encode()
        if stored := re.fullmatch(r"/storage/(\d+)/(.+)", path):
            files = self.artifacts[int(stored[1])].files
            if method == "PUT":
                files[stored[2]] = body
                return 200, b""
            return 200, files[stored[2]]
        if stream := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", path):
            return 200, json.dumps(self._stream(stream[1], json.loads(body))).encode()
        if path == "/graphql":
            request = json.loads(body)
            name = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])[1]
            answer = getattr(self, f"_{name}", None)
            if answer is None:
                return 400, json.dumps({"errors": [{"message": f"{name} is unknown here"}]}).encode()
            return 200, json.dumps({"data": answer(**request.get("variables") or {})}).encode()
        return 200, b"{}"  # files of a run, which nobody asks for

    def _stream(self, run: str, request: dict) -> dict:
        """Rows, the summary and the log of a run, as they come."""
        run = self.runs[run]
        for name, chunk in (request.get("files") or {}).items():
            lines = {chunk["offset"] + i: line for i, line in enumerate(chunk["content"])}
            if name == "wandb-history.jsonl":
                run.history |= {number: json.loads(line) for number, line in lines.items()}
            if name == "wandb-summary.json":
                run.summary = json.loads(chunk["content"][-1])
            if name == "output.log":
                run.output |= lines
        if request.get("complete"):
            run.exit_code = request["exitcode"]
        return {}

    # --- runs -------------------------------------------------------------------------------------

    def _Viewer(self, **_: Any) -> dict:
        return {"viewer": {"id": "u", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}}

    def _ServerFeaturesQuery(self, **_: Any) -> dict:
        return {"serverInfo": {"features": []}}

    def _RunResumeStatus(self, name: str, **_: Any) -> dict:
        run = self.runs.get(name)
        if run is None:
            return {"model": {"bucket": None}}
        tail = json.dumps([json.dumps(run.rows()[-1])] if run.history else [])
        counts = {"historyLineCount": len(run.history), "eventsLineCount": 0, "logLineCount": len(run.output)}
        texts = {"historyTail": tail, "eventsTail": "[]", "summaryMetrics": json.dumps(run.summary)}
        bucket = {"id": name, "name": name, "tags": [], "config": json.dumps(run.config), "wandbConfig": '{"t": 1}'}
        return {"model": {"bucket": bucket | counts | texts}}

    def _UpsertBucket(self, name: str, project: str | None = None, **given: Any) -> dict:
        new = name not in self.runs
        run = self.runs.setdefault(name, Run(name, project))
        fields = {"displayName": "display_name", "sweep": "sweep", "groupName": "group", "jobType": "job_type"}
        for theirs, ours in (fields | {"tags": "tags"}).items():
            if given.get(theirs):
                setattr(run, ours, given[theirs])
        if given.get("config"):
            run.config = json.loads(given["config"])
        about = {"id": name, "name": name, "displayName": run.display_name or name, "sweepName": run.sweep}
        project = {"id": run.project, "name": run.project, "entity": {"id": "e", "name": ENTITY}}
        bucket = about | {"config": json.dumps(run.config), "project": project, "historyLineCount": len(run.history)}
        return {"upsertBucket": {"bucket": bucket, "inserted": new}}

    def _CreateRunFiles(self, run: str, files: list[str], **_: Any) -> dict:
        named = [{"name": name, "uploadUrl": f"{self.url}/files/{run}/{name}"} for name in files]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": named}}

    # --- sweeps -----------------------------------------------------------------------------------

    def _UpsertSweep(self, config: str, projectName: str, **_: Any) -> dict:
        name = f"sweep{len(self.sweeps)}"
        config = yaml.safe_load(config)
        choices = {key: given.get("values", [given.get("value")]) for key, given in config["parameters"].items()}
        ahead = [dict(zip(choices, values)) for values in itertools.product(*choices.values())]
        self.sweeps[name] = Sweep(name, projectName, config, ahead)
        project = {"id": projectName, "name": projectName, "entity": {"id": "e", "name": ENTITY}}
        return {"upsertSweep": {"sweep": {"name": name, "project": project}, "configValidationWarnings": []}}

    def _SweepWithRuns(self, sweep: str, **_: Any) -> dict:
        config = yaml.safe_dump(self.sweeps[sweep].config)
        return {"project": {"sweep": {"id": sweep, "name": sweep, "config": config, "runs": {"edges": []}}}}

    def _CreateAgent(self, sweep: str, **_: Any) -> dict:
        agent = f"agent{len(self._agents)}"
        self._agents[agent] = sweep
        return {"createAgent": {"agent": {"id": agent}}}

    def _Heartbeat(self, id: str, runState: str, **_: Any) -> dict:
        """A stop for what is to stop, a run for an agent without one, and the end when there are no more."""
        sweep, running = self.sweeps[self._agents[id]], json.loads(runState)
        commands: list[dict] = [{"type": "stop", "run_id": run} for run in running if run in self.stopping]
        if not running and sweep.ahead:
            run = f"{sweep.name}run{len(sweep.runs)}"
            sweep.runs.append(run)
            args = {key: {"value": value} for key, value in sweep.ahead.pop(0).items()}
            commands.append({"type": "run", "run_id": run, "program": sweep.config["program"], "args": args})
        elif not running:
            commands.append({"type": "exit"})
        return {"agentHeartbeat": {"agent": {"id": id}, "commands": json.dumps(commands)}}
