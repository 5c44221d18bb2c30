"""The durable job that carries out a run."""

import asyncio
import json
import time
from typing import Any

from tidemill.core import events, lineage
from tidemill.core.errors import Unavailable
from tidemill.core.kernel import Context
from tidemill.core.wire import content_hash
from tidemill.data import service as data
from tidemill.evals import metrics, service, store
from tidemill.evals.baseline import NaiveBayes
from tidemill.evals.chat import ChatAnswer, ChatEndpoint
from tidemill.evals.runner import ItemRequest, RunExecutor, open_requests, score_answer
from tidemill.evals.scorers import LabelAccuracy, Scorer, build
from tidemill.evals.types import (
    BaselineTarget,
    EndpointTarget,
    EvalItem,
    EvalResult,
    EvalRun,
    NoAnswers,
    ReleaseTarget,
)
from tidemill.jobs.context import JobContext
from tidemill.jobs.kinds import JobKind
from tidemill.jobs.types import Job

CHECK_SECONDS = 1.0


def run(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Answer every item that has no result yet, then work out the metrics.

    After a crash only the items without a recorded answer are asked.
    """
    with job.write() as ctx:
        if service.get_run(ctx, args["run_id"]).started_at is None:
            store.update_run(ctx.conn, args["run_id"], state="running", started_at=ctx.now)
        else:
            store.update_run(ctx.conn, args["run_id"], state="running", error=None, finished_at=None)
        eval_run = service.get_run(ctx, args["run_id"])
    with job.kernel.read(job.actor) as ctx:  # the items may have to be fetched: others must write meanwhile
        items = service.run_items(ctx, eval_run)
    scorers = {spec.metric: build(job.kernel.plugins, spec) for spec in eval_run.spec.scorers}
    answer = _predict if isinstance(eval_run.spec.target, BaselineTarget) else _ask
    job.step("answer", answer, job, eval_run, items, scorers)
    summary: dict[str, Any] = job.step("figures", _finish, job, eval_run, items, scorers)
    return summary


def ended(ctx: Context, job: Job) -> None:
    """Set the state of the run when its job has ended, also when it never ran."""
    if job.subject is not None and job.state != "succeeded":
        error = job.error.model_dump(mode="json") if job.error is not None else None
        store.update_run(ctx.conn, job.subject, state=job.state, error=error, finished_at=ctx.now)
        events.emit(ctx, f"eval_run.{job.state}", job.subject)


RUN = JobKind(run=run, heavy=True, ended=ended)


def _endpoint(job: JobContext, eval_run: EvalRun) -> tuple[ChatEndpoint, str, str | None]:
    """Return the endpoint to ask, the model's name there, and the fingerprint that answers are cached under."""
    target, spec = eval_run.spec.target, eval_run.spec
    if isinstance(target, ReleaseTarget):
        if job.kernel.self_url is None:
            raise Unavailable("No gateway listens in this process.", hint="Start the server: `tidemill up`.")
        address, key, model = f"{job.kernel.self_url}/v1", job.kernel.owner_token, target.release
        fingerprint: str | None = content_hash({"release": _release_id(job, target)})
    else:
        assert isinstance(target, EndpointTarget)
        name = target.api_key_env
        address, key = target.base_url, job.kernel.settings.provider_key(name) if name else None
        model = target.model
        fingerprint = content_hash({"endpoint": target.fingerprint}) if target.fingerprint else None
        if spec.cache and fingerprint is None:
            fingerprint = content_hash({"base_url": target.base_url, "model": target.model})
    endpoint = ChatEndpoint(base_url=address, api_key=key, attempts=spec.attempts, timeout=spec.timeout)
    return endpoint, model, fingerprint if spec.cache is not False else None


def _release_id(job: JobContext, target: ReleaseTarget) -> str:
    with job.kernel.read(job.actor) as ctx:
        node = service.release_node(ctx, target)
    return node.id if node is not None else target.release


def _ask(job: JobContext, eval_run: EvalRun, items: list[EvalItem], scorers: dict[str, Scorer]) -> int:
    endpoint, model, fingerprint = _endpoint(job, eval_run)
    with job.kernel.read(job.actor) as ctx:
        recorded = store.list_recorded(ctx.conn, eval_run.id)
    requests = open_requests(eval_run.spec, items, model, fingerprint, recorded)
    fresh = _from_cache(job, eval_run, requests, scorers)
    total, before = len(items) * eval_run.spec.repeats, len(items) * eval_run.spec.repeats - len(fresh)
    job.progress(before, total, "asking", unit="answers")

    def write(batch: list[tuple[ItemRequest, EvalResult]]) -> None:
        with job.kernel.write(job.actor) as ctx:
            store.insert_results(ctx.conn, [result for _, result in batch])
            by_key = {q.cache_key: r for q, r in batch if q.cache_key is not None and not r.failed}
            store.put_answers(ctx.conn, by_key)

    checked = time.monotonic()

    def watch(answered: int, failed: int, seconds: float) -> None:
        nonlocal checked
        seconds_left = (len(fresh) - answered) * seconds / answered if answered else None
        job.progress(before + answered, total, "asking", unit="answers", failed=failed, seconds_left=seconds_left)
        if time.monotonic() - checked >= CHECK_SECONDS:
            checked = time.monotonic()
            job.check_cancelled()

    executor = RunExecutor(eval_run.id, endpoint, eval_run.spec.concurrency, scorers, write, watch)
    asyncio.run(executor.run(fresh))
    return total


def _from_cache(
    job: JobContext, eval_run: EvalRun, requests: list[ItemRequest], scorers: dict[str, Scorer]
) -> list[ItemRequest]:
    """Record the answers that earlier runs got to the same requests; return the requests that are left."""
    keys = [q.cache_key for q in requests if q.cache_key is not None]
    with job.kernel.read(job.actor) as ctx:
        cached_answers = store.cached_answers(ctx.conn, keys, eval_run.spec.answers_since)
    results = []
    for question in requests:
        cached = cached_answers.get(question.cache_key or "")
        if cached is None:
            continue
        answer = ChatAnswer(
            cached.answer,
            finish_reason=cached.finish_reason,
            prompt_tokens=cached.prompt_tokens,
            output_tokens=cached.output_tokens,
            latency_ms=cached.latency_ms,
        )
        results.append(score_answer(eval_run.id, question, answer, scorers, cached_at=cached.at))
    with job.kernel.write(job.actor) as ctx:
        store.insert_results(ctx.conn, results)
    return [q for q in requests if q.cache_key not in cached_answers]


def _predict(job: JobContext, eval_run: EvalRun, items: list[EvalItem], scorers: dict[str, Scorer]) -> int:
    """Train the baseline and let it answer everything."""
    target = eval_run.spec.target
    assert isinstance(target, BaselineTarget)
    with job.kernel.read(job.actor) as ctx:
        table = data.rows(job.kernel, data.get_version(ctx, target.dataset), target.split)
        recorded = store.list_recorded(ctx.conn, eval_run.id)
    job.progress(0, len(items), "training Naive Bayes", unit="items")
    model = NaiveBayes(table.column("text").to_pylist(), table.column("label").to_pylist())
    field = next((s.json_field for s in scorers.values() if isinstance(s, LabelAccuracy) and s.json_field), None)
    requests = open_requests(eval_run.spec, items, target.method, None, recorded)
    labels = model.predict([q.item.messages[-1].content for q in requests]) if requests else []
    results = [
        score_answer(eval_run.id, q, ChatAnswer(json.dumps({field: label}) if field else label), scorers)
        for q, label in zip(requests, labels, strict=True)
    ]
    with job.write() as ctx:
        store.insert_results(ctx.conn, results)
    return len(items) * eval_run.spec.repeats


def _finish(job: JobContext, eval_run: EvalRun, items: list[EvalItem], scorers: dict[str, Scorer]) -> dict[str, Any]:
    """Work out the metrics and close the run. Repeated after a crash, it finds the run closed."""
    with job.kernel.read(job.actor) as ctx:  # results are never changed, so nothing is lost by working outside
        now = service.get_run(ctx, eval_run.id)
        if now.state == "succeeded" and now.figures is not None:
            return _summary(eval_run.id, now.results_hash or "", now.figures.failures)
        results = store.list_results(ctx.conn, eval_run.id)
        seconds = (ctx.now - eval_run.started_at).total_seconds() if eval_run.started_at else 0.0
    summary = metrics.summarise(items, results, scorers, seconds)
    with job.write() as ctx:
        store.update_run(ctx.conn, eval_run.id, figures=summary.model_dump(mode="json"))
    if summary.answers == 0:
        first = next(r.error for r in results if r.error is not None)
        raise NoAnswers(
            f"None of {len(results)} requests was answered; the first failed with: {first.message}.",
            hint="Check the target, then run again.",
            details={"errors": summary.errors},
        )
    digest = content_hash(
        [
            [r.seq, r.item_id, r.answer, {k: s.model_dump() for k, s in r.scores.items()}, r.error and r.error.code]
            for r in results
        ]
    )
    with job.write() as ctx:
        store.update_run(ctx.conn, eval_run.id, state="succeeded", results_hash=digest, finished_at=ctx.now)
        _record(ctx, eval_run, digest, {m.name: m.mean for m in summary.metrics})
        events.emit(ctx, "eval_run.succeeded", eval_run.id, {"results_hash": digest, "failures": summary.failures})
    return _summary(eval_run.id, digest, summary.failures)


def _summary(run_id: str, digest: str, failures: int) -> dict[str, Any]:
    return {"run_id": run_id, "results_hash": digest, "failures": failures}


def _record(ctx: Context, eval_run: EvalRun, digest: str, means: dict[str, float | None]) -> None:
    target = eval_run.spec.target
    parents = [(eval_run.eval_set_id, "evaluated_on")]
    if isinstance(target, ReleaseTarget):
        node = service.release_node(ctx, target)
        parents += [(node.id, "evaluated")] if node is not None else []
    elif isinstance(target, BaselineTarget):
        parents.append((data.get_version(ctx, target.dataset).id, "trained_on"))
    elif target.fingerprint is not None and (node := lineage.find(ctx.conn, "model_version", target.fingerprint)):
        parents.append((node.id, "evaluated"))
    label = eval_run.name or f"{eval_run.eval_set} by {target.kind}"
    node = lineage.LineageNode(
        id=eval_run.id, kind="eval_run", label=label, facts={"results_hash": digest, "means": means}
    )
    lineage.record(ctx, node, parents)
