"""`client.pipelines` and `client.runs`: pipeline documents and their runs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tidemill.core.blobs.sdk import BlobStore
from tidemill.core.errors import TidemillError, Unavailable, of_body
from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.pipelines import parse
from tidemill.pipelines.types import (
    Applied,
    Pipeline,
    PipelineApply,
    PipelineRemove,
    PipelineRemoved,
    PipelineSpec,
    Plan,
    Run,
    RunDetail,
    RunRetry,
    RunStart,
    SourceFile,
    StepFailed,
    StepSkip,
)
from tidemill.pipelines.yaml_locations import Located

V = TypeVar("V", Plan, Applied)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0


class RunPending(Unavailable):
    """The run goes on."""

    code = "pipeline_run_pending"


class Pipelines:
    """Documents: what they would change, and applying them."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def plan(self, document: str | Path | PipelineSpec, *, folder: str | Path | None = None) -> Plan:
        """Return what applying a document would change, and what the next run would do. Changes and sends nothing.

        `document` is the path of a `tidemill.yaml` or a PipelineSpec, whose files are looked for in `folder`.
        Raises PipelineInvalid, which names line and column in a file.
        """
        return self._send("/api/pipelines/plan", Plan, document, folder, upload=False)

    def apply(self, document: str | Path | PipelineSpec, *, folder: str | Path | None = None) -> Applied:
        """Apply a document, after uploading the files that it names. Applying it again changes nothing."""
        return self._send("/api/pipelines", Applied, document, folder, upload=True)

    def _send(
        self, path: str, kind: type[V], document: str | Path | PipelineSpec, folder: str | Path | None, *, upload: bool
    ) -> V:
        spec, located, beside = document, None, Path(folder or ".")
        if not isinstance(spec, PipelineSpec):
            file = Path(spec)
            spec, located = parse.read(file)
            beside = Path(folder) if folder is not None else file.parent
        try:
            return self._http.post(path, kind, PipelineApply(spec=self._with_files(spec, beside, upload=upload)))
        except TidemillError as error:
            raise self._with_location(located, error) from error

    @staticmethod
    def _with_location(located: Located | None, error: TidemillError) -> TidemillError:
        return parse.with_location(located, error) if located is not None else error

    def _with_files(self, spec: PipelineSpec, folder: Path, *, upload: bool) -> PipelineSpec:
        if spec.data is None or all(s.hash is not None for s in spec.data.sources):
            return spec
        blobs, sources = BlobStore(self._http), []
        for name, path in parse.files(spec, folder):
            digest = blobs.put(path).hash if upload else parse.digest(path)
            sources.append(SourceFile(path=name, hash=digest))
        return parse.with_sources(spec, sources)

    def get(self, ref: str) -> Pipeline:
        """Return a pipeline as it was applied last, or with `name@2` as it was then. Raises PipelineNotFound."""
        return self._http.get(f"/api/pipelines/{ref}", Pipeline)

    def list(self, *, cursor: str | None = None, limit: int = 50) -> Page[Pipeline]:
        """Return every pipeline as it was applied last, by name."""
        return self._http.get("/api/pipelines", Page[Pipeline], {"cursor": cursor, "limit": limit})

    def remove(self, name: str, *, cancel: bool = False) -> PipelineRemoved:
        """Start no run any more and watch nothing for it. Its documents and runs stay readable.

        Raises PipelineBusy while a run is on its way; `cancel` ends that too. Applying brings the pipeline back.
        """
        return self._http.post(f"/api/pipelines/{name}/remove", PipelineRemoved, PipelineRemove(cancel=cancel))


class Runs:
    """Pipeline runs: start, wait for, retry, skip, cancel."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def start(self, pipeline: str, *, note: str = "", fresh: bool = False) -> RunDetail:
        """Start a run, or return the active one of the same document. `fresh` does every step again.

        Raises PipelineBusy when that run follows an earlier document.
        """
        body = RunStart(pipeline=pipeline, note=note, fresh=fresh)
        return self._http.post("/api/pipeline-runs", RunDetail, body)

    def get(self, ref: str) -> RunDetail:
        """Return one run with its steps: an id, `name#3`, or `name` for its newest. Raises RunNotFound."""
        return self._http.get(f"/api/pipeline-runs/{ref}", RunDetail)

    def list(
        self, *, pipeline: str | None = None, state: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Run]:
        """Return a page of runs, newest first."""
        params = {"pipeline": pipeline, "state": state, "cursor": cursor, "limit": limit}
        return self._http.get("/api/pipeline-runs", Page[Run], params)

    def cancel(self, ref: str) -> RunDetail:
        """End a run, the job it waits for and the rollout it has begun. Raises RunEnded."""
        return self._http.post(f"/api/pipeline-runs/{ref}/cancel", RunDetail)

    def skip(self, ref: str, step: str, *, reason: str) -> RunDetail:
        """Leave out a step that has not begun or has failed. Raises StepNotSkippable."""
        return self._http.post(f"/api/pipeline-runs/{ref}/skip", RunDetail, StepSkip(step=step, reason=reason))

    def retry(self, ref: str, *, step: str | None = None) -> RunDetail:
        """Let a run that did not succeed go on, from its failed step or again from `step`. Raises RunNotRetryable."""
        return self._http.post(f"/api/pipeline-runs/{ref}/retry", RunDetail, RunRetry(step=step))

    def wait(
        self,
        ref: str,
        *,
        timeout: float | None = None,
        check: bool = True,
        until_waiting: bool = False,
        watch: Callable[[RunDetail], None] | None = None,
    ) -> RunDetail:
        """Return when the run has ended; with `until_waiting` also when it waits for a person.

        `watch` is called with every change. Raises RunPending after `timeout` seconds; with `check` also what
        the run ended with (GateRefused, ApprovalRejected, what a step raised).
        """
        run = self.get(ref)
        if not run.ended:
            self._http.need_workers()
        until = None if timeout is None else time.monotonic() + timeout
        pause, last = FIRST_PAUSE, None
        while True:
            run = self.get(run.id)
            if watch is not None and run != last:
                watch(run)
            if run.ended or (until_waiting and run.state == "waiting"):
                return _raise_unless_succeeded(run) if check else run
            if until is not None and time.monotonic() >= until:
                raise RunPending(
                    f"{run.ref} is still {run.state} after {timeout:g} s.",
                    hint="It goes on by itself while a server runs: `tidemill up`.",
                )
            pause = FIRST_PAUSE if run != last else min(pause * 1.5, LONGEST_PAUSE)
            last = run
            time.sleep(pause)


def _raise_unless_succeeded(run: RunDetail) -> RunDetail:
    if run.error is not None:
        raise of_body(run.error)
    if run.state == "cancelled":
        raise StepFailed(f"{run.ref} was cancelled.", hint=f"tidemill runs retry {run.ref}")
    return run
