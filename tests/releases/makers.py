"""Eval sets and finished runs as rows, so that gates judge real comparisons without asking a model."""

from datetime import datetime, timedelta
from pathlib import Path

from tests.registry.makers import write_gguf
from tidemill.core import lineage
from tidemill.core.actors import Actor
from tidemill.core.kernel import Context
from tidemill.core.wire import new_id
from tidemill.evals import items, store
from tidemill.evals.types import (
    AnswerScore,
    ChatMessage,
    EndpointTarget,
    EvalItem,
    EvalMapping,
    EvalResult,
    EvalRun,
    EvalSet,
    ReleaseTarget,
    RunCreate,
    RunMetrics,
    ScorerSpec,
)
from tidemill.registry import service as registry
from tidemill.registry.types import ModelVersion, VersionCreate
from tidemill.releases import service
from tidemill.releases.types import Gate, GateCreate, Release, ReleaseCreate

ANNA = Actor(id="per_anna", name="anna", roles=frozenset({"developer"}))
BERT = Actor(id="per_bert", name="bert", roles=frozenset({"approver"}))

ITEMS = 120


def add_model(ctx: Context, folder: Path, seed: int = 0, name: str = "tiny", **more: object) -> ModelVersion:
    """A registered GGUF model."""
    files = registry.ingest_folder(ctx.kernel, write_gguf(folder / f"r{seed}.gguf", seed=seed))
    return registry.add_version(ctx, VersionCreate.model_validate({"model": name, "files": files, **more}))


def make_release(ctx: Context, folder: Path, name: str = "hello", **more: object) -> Release:
    """A release of a registered model."""
    add_model(ctx, folder)
    return service.create_release(ctx, ReleaseCreate.model_validate({"name": name, "model": "tiny", **more}))


def make_set(ctx: Context, name: str = "questions") -> EvalSet:
    """An eval set of items in clusters of two."""
    made = [
        EvalItem(id=f"i{n}", messages=[ChatMessage(role="user", content=str(n))], expected="a", cluster_id=f"c{n // 2}")
        for n in range(ITEMS)
    ]
    value = EvalSet(
        id=new_id("es"),
        name=name,
        number=1,
        content_hash=ctx.kernel.blobs.put_bytes(items.pack(made)).hash,
        dataset_version_id="dsv_x",
        dataset="trec@1",
        split="test",
        mapping=EvalMapping(),
        items=ITEMS,
        clusters=ITEMS // 2,
        largest_cluster=2,
        created_at=ctx.now,
        created_by="anna",
    )
    store.insert_set(ctx.conn, value)
    lineage.record(ctx, lineage.LineageNode(id=value.id, kind="eval_set", label=value.ref))
    return value


def make_run(
    ctx: Context,
    eval_set: EvalSet,
    right: int,
    *,
    release: str | None = None,
    at: datetime | None = None,
    cached: int = 0,
    oldest: datetime | None = None,
    **spec: object,
) -> EvalRun:
    """A finished run that answered the first `right` items rightly, a minute later than now unless `at` is given."""
    at = at or ctx.now + timedelta(minutes=1)
    target = ReleaseTarget(release=release) if release else EndpointTarget(base_url="http://x/v1", model="base")
    run = EvalRun(
        id=new_id("er"),
        name=None,
        eval_set_id=eval_set.id,
        eval_set=eval_set.ref,
        spec=RunCreate.model_validate(
            {"eval_set": eval_set.id, "target": target, "scorers": [ScorerSpec(scorer="exact", name="accuracy")]} | spec
        ),
        state="succeeded",
        job_id=None,
        figures=RunMetrics(
            items=ITEMS,
            answers=ITEMS,
            failures=0,
            cached=cached,
            oldest_answer_at=oldest,
            metrics=[],
            latency_p50_ms=1.0,
            latency_p95_ms=1.0,
            prompt_tokens=1,
            output_tokens=1,
            seconds=1.0,
            errors={},
        ),
        results_hash="sha256:0",
        error=None,
        created_at=at,
        created_by="anna",
        started_at=at,
        finished_at=at,
    )
    store.insert_run(ctx.conn, run)
    results = [
        EvalResult(
            run_id=run.id,
            seq=n,
            item_id=f"i{n}",
            repeat=0,
            answer="a",
            scores={"accuracy": AnswerScore(value=1.0 if n < right else 0.0)},
            latency_ms=10.0,
            prompt_tokens=5,
            output_tokens=3,
            at=at,
        )
        for n in range(ITEMS)
    ]
    store.insert_results(ctx.conn, results)
    lineage.record(ctx, lineage.LineageNode(id=run.id, kind="eval_run", label=run.id), [(eval_set.id, "answered")])
    return run


def declare(ctx: Context, eval_set: EvalSet, **more: object) -> Gate:
    """A gate that asks for more accuracy without more tokens."""
    terms = {
        "name": "quality",
        "eval_set": eval_set.ref,
        "metric": "accuracy",
        "minimum_effect": 0.1,
        "guardrails": [{"metric": "output_tokens", "margin": 1, "direction": "lower"}],
    }
    return service.declare_gate(ctx, GateCreate.model_validate(terms | more))
