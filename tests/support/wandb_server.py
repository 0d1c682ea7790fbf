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

    id: str
    run: str
    project: str
    kind: str
    name: str
    version: int
    aliases: list[str]
    metadata: dict[str, Any]
    digest: str
    committed: bool = False
    files: dict[str, bytes] = field(default_factory=dict)  # and the manifest, which lists them


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
        if stored := re.fullmatch(r"/artifacts/(\d+)/(.+)", path):
            files = self.artifacts[int(stored[1])].files
            if method == "PUT":
                files[stored[2]] = body
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

    def _GetDefaultEntity(self, **_: Any) -> dict:
        return {"viewer": {"id": "u", "entity": ENTITY}}

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
        if run.display_name is None and run.sweep in self.sweeps:
            run.display_name = f"quiet-sweep-{sum(other.sweep == run.sweep for other in self.runs.values())}"
        about = {"id": name, "name": name, "displayName": run.display_name or name, "sweepName": run.sweep}
        project = {"id": run.project, "name": run.project, "entity": {"id": "e", "name": ENTITY}}
        bucket = about | {"config": json.dumps(run.config), "project": project, "historyLineCount": len(run.history)}
        return {"upsertBucket": {"bucket": bucket, "inserted": new}}

    def _CreateRunFiles(self, run: str, files: list[str], **_: Any) -> dict:
        named = [{"name": name, "uploadUrl": f"{self.url}/files/{run}/{name}"} for name in files]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": named}}

    # --- sweeps -----------------------------------------------------------------------------------

    def create_sweep(self, config: dict[str, Any], project: str) -> str:
        """As `wandb sweep` asks for it: its id."""
        name = f"sweep{len(self.sweeps)}"
        choices = {key: given.get("values", [given.get("value")]) for key, given in config["parameters"].items()}
        ahead = [dict(zip(choices, values)) for values in itertools.product(*choices.values())]
        self.sweeps[name] = Sweep(name, project, config, ahead)
        return name

    def _UpsertSweep(self, config: str, projectName: str, **_: Any) -> dict:
        name = self.create_sweep(yaml.safe_load(config), projectName)
        project = {"id": projectName, "name": projectName, "entity": {"id": "e", "name": ENTITY}}
        return {"upsertSweep": {"sweep": {"name": name, "project": project}, "configValidationWarnings": []}}

    def _SweepWithRuns(self, sweep: str, **_: Any) -> dict:
        config = yaml.safe_dump(self.sweeps[sweep].config)
        return {"project": {"sweep": {"id": sweep, "name": sweep, "config": config, "runs": {"edges": []}}}}

    def _GetSweep(self, name: str, **_: Any) -> dict:
        config = yaml.safe_dump(self.sweeps[name].config, sort_keys=False)
        return {"project": {"sweep": {"id": name, "name": name, "config": config}}}

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

    # --- workspaces -------------------------------------------------------------------------------

    def _Runs(self, project: str, **_: Any) -> dict:
        runs = [run for run in self.runs.values() if run.project == project]
        if not runs:
            return {"project": None}
        edges = [{"cursor": run.name, "node": self._listed(run)} for run in runs]
        page = {"endCursor": None, "hasNextPage": False}
        listed = {"edges": edges, "pageInfo": page}
        return {"project": {"internalId": "1", "runCount": len(runs), "readOnly": False, "runs": listed}}

    def _UpsertView2(self, **view: Any) -> dict:
        self.views.append(view)
        return {"upsertView": {"view": {"id": f"{len(self.views)}", "name": view["name"]}, "inserted": True}}

    def _listed(self, run: Run) -> dict:
        about = {"id": run.name, "name": run.name, "displayName": run.display_name, "sweepName": None, "tags": run.tags}
        texts = {"config": json.dumps(run.config), "summaryMetrics": json.dumps(run.summary), "systemMetrics": "{}"}
        user = {"user": {"name": ENTITY, "username": ENTITY}}
        return about | texts | user | {"state": "finished", "createdAt": "2026-01-01T00:00:00", "projectId": "1"}

    # --- artifacts --------------------------------------------------------------------------------

    def _CreateArtifact(self, input: dict) -> dict:
        name = input["artifactCollectionName"]
        earlier = [artifact for artifact in self.artifacts if artifact.name == name]
        aliases = [alias["alias"] for alias in input["aliases"]]
        about = input["runName"], input["projectName"], input["artifactTypeName"], name, len(earlier), aliases
        artifact = Artifact(f"{len(self.artifacts)}", *about, json.loads(input["metadata"] or "{}"), input["digest"])
        for former in earlier:
            former.aliases = [alias for alias in former.aliases if alias not in aliases]
        self.artifacts.append(artifact)
        latest = {"id": earlier[-1].id} if earlier else None
        sequence = {"latestArtifact": latest}
        return {"createArtifact": {"artifact": {"id": artifact.id, "state": "PENDING", "artifactSequence": sequence}}}

    def _CreateArtifactManifest(self, artifactID: str, **_: Any) -> dict:
        file = {"id": artifactID, "uploadUrl": self._url(artifactID, "manifest"), "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": artifactID, "file": file}}}

    def _UpdateArtifactManifest(self, artifactManifestID: str, **_: Any) -> dict:
        return {"updateArtifactManifest": self._CreateArtifactManifest(artifactManifestID)["createArtifactManifest"]}

    def _CreateArtifactFiles(self, input: dict) -> dict:
        edges = []
        for given in input["artifactFiles"]:
            path = {"storagePath": given["name"], "uploadUrl": self._url(given["artifactID"], given["name"])}
            node = path | {"uploadHeaders": [], "uploadMultipartUrls": None, "artifact": {"id": given["artifactID"]}}
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _CommitArtifact(self, artifactID: str) -> dict:
        artifact = self.artifacts[int(artifactID)]
        artifact.committed = True
        return {"commitArtifact": {"artifact": {"id": artifactID, "digest": artifact.digest}}}

    def _ArtifactByID(self, id: str) -> dict:
        return {"artifact": self._described(self.artifacts[int(id)])}

    def _ArtifactMembershipByName(self, project: str, name: str, **_: Any) -> dict:
        artifact = self._found(*name.split(":"))
        if artifact is None:
            return {"project": {"artifactCollectionMembership": None}}
        about = self._described(artifact)
        membership = {key: about[key] for key in ("id", "versionIndex", "createdAt", "aliases")}
        membership |= {"artifactCollection": about["artifactSequence"], "artifact": about}
        return {
            "project": {"artifactCollectionMembership": membership | {"__typename": "ArtifactCollectionMembership"}}
        }

    def _FetchArtifactManifest(self, id: str) -> dict:
        return {"artifact": {"currentManifest": {"file": {"directUrl": self._url(id, "manifest")}}}}

    def _GetArtifactMembershipFileUrls(self, collection: str, alias: str, **_: Any) -> dict:
        artifact = self._found(collection, alias)
        names = [name for name in artifact.files if name != "manifest"]
        nodes = [{"__typename": "File", "name": name, "directUrl": self._url(artifact.id, name)} for name in names]
        files = {"pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": [{"node": node} for node in nodes]}
        held = {"__typename": "ArtifactSequence", "artifactMembership": {"files": files}}
        return {"project": {"artifactCollection": held}}

    def _url(self, artifact: str, name: str) -> str:
        return f"{self.url}/artifacts/{artifact}/{name}"

    def _found(self, name: str, alias: str) -> Artifact | None:
        fitting = [a for a in self.artifacts if a.name == name and a.committed]
        return next((a for a in fitting if alias in (*a.aliases, f"v{a.version}")), None)

    def _described(self, artifact: Artifact) -> dict:
        project = {"id": "p", "internalId": "p", "name": artifact.project, "entity": {"name": ENTITY}}
        sequence = {"__typename": "ArtifactSequence", "name": artifact.name, "project": project}
        return {
            "__typename": "Artifact",
            "id": artifact.id,
            "artifactSequence": sequence,
            "versionIndex": artifact.version,
            "artifactType": {"name": artifact.kind},
            "metadata": json.dumps(artifact.metadata),
            "state": "COMMITTED",
            "digest": artifact.digest,
            "aliases": [
                {"__typename": "ArtifactAlias", "id": alias, "alias": alias, "artifactCollection": sequence}
                for alias in artifact.aliases
            ],
            "tags": [],
            "size": sum(map(len, artifact.files.values())),
            "fileCount": len(artifact.files) - 1,
            "ttlDurationSeconds": 0,
            "ttlIsInherited": False,
            "createdAt": "2026-01-01T00:00:00",
        } | dict.fromkeys(("description", "historyStep", "commitHash", "updatedAt"))
