"""Decide about evaluation: what an eval set is, which run may start, and how two runs compare."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from tidemill.core import events, lineage
from tidemill.core.actors import SYSTEM
from tidemill.core.deprecation import moved_names
from tidemill.core.errors import nearest
from tidemill.core.kernel import Context, Kernel
from tidemill.core.parsing import parse_number
from tidemill.core.web import page, parse_cursor
from tidemill.core.wire import Page, new_id
from tidemill.data import service as data
from tidemill.data.types import DatasetVersion
from tidemill.evals import comparison, items, pairing, power_analysis, store
from tidemill.evals.answer_checks import check_answers
from tidemill.evals.scorers import build, check_expected
from tidemill.evals.types import (
    BaselineTarget,
    Comparison,
    ComparisonNotFound,
    ComparisonSpec,
    EndpointTarget,
    EvalItem,
    EvalPlan,
    EvalPlanRequest,
    EvalResult,
    EvalRun,
    EvalRunNotFound,
    EvalSet,
    EvalSetCreate,
    EvalSetNotFound,
    EvalTarget,
    MetricRule,
    ReleaseTarget,
    RunCreate,
    TargetInvalid,
)
from tidemill.evals.verdicts import noninferiority, paired_difference
from tidemill.jobs.service import JobQueue

__all__ = [
    "check_answers",
    "compare",
    "create_run",
    "create_set",
    "draft",
    "get_comparison",
    "get_run",
    "get_set",
    "list_comparisons",
    "list_items",
    "list_results",
    "list_runs",
    "list_sets",
    "noninferiority",
    "plan",
    "prepare_items",
    "run_items",
]

__getattr__ = moved_names(
    __name__,
    {
        "minimum_detectable_effect": "tidemill.stats.power:minimum_detectable_effect",
        "paired_comparison": "tidemill.stats.paired:paired_comparison",
        "wilson": "tidemill.stats.rates:wilson",
    },
)


@dataclass(frozen=True)
class PreparedItems:
    """The items of an eval set to be, stored under their hash, and the version that they come from."""

    version: DatasetVersion
    items: list[EvalItem]
    hash: str


def prepare_items(kernel: Kernel, body: EvalSetCreate) -> PreparedItems:
    """Make and store the items of a set, before the transaction that creates it.

    Raises EvalSetInvalid, and what data raises for a dataset or a split that is not there.
    """
    with kernel.read(SYSTEM) as ctx:
        version = data.get_version(ctx, body.dataset)
    eval_items = items.build(version.row_schema, data.rows(kernel, version, body.split), body.mapping, body.limit)
    return PreparedItems(version, eval_items, kernel.blobs.put_bytes(items.pack(eval_items)).hash)


def create_set(ctx: Context, body: EvalSetCreate, gathered: PreparedItems | None = None) -> EvalSet:
    """Make an eval set. The same content under the same name is the set that is there already.

    Without `gathered` its items are made here.
    """
    gathered = gathered or prepare_items(ctx.kernel, body)
    version, eval_items, digest = gathered.version, gathered.items, gathered.hash
    store.lock(ctx.conn, f"eval set {body.name}")
    existing = store.set_by_content(ctx.conn, body.name, digest)
    if existing is not None:
        return existing
    newest = store.set_by_number(ctx.conn, body.name, None)
    sizes = np.unique([item.cluster_id for item in eval_items], return_counts=True)[1]
    value = EvalSet(
        id=new_id("es"),
        name=body.name,
        number=newest.number + 1 if newest is not None else 1,
        content_hash=digest,
        dataset_version_id=version.id,
        dataset=version.ref,
        split=body.split,
        mapping=body.mapping,
        items=len(eval_items),
        clusters=len(sizes),
        largest_cluster=int(sizes.max()),
        created_at=ctx.now,
        created_by=ctx.actor.name,
    )
    store.insert_set(ctx.conn, value)
    facts = {"content_hash": digest, "items": len(eval_items), "clusters": len(sizes), "split": body.split}
    node = lineage.LineageNode(id=value.id, kind="eval_set", label=value.ref, facts=facts)
    lineage.record(ctx, node, [(version.id, "taken_from")])
    events.emit(ctx, "eval_set.created", value.id, {"name": value.name, "number": value.number})
    return value


def get_set(ctx: Context, ref: str) -> EvalSet:
    """Return the set that `ref` means: `name` (newest), `name@3` or an `es_` id. Raises EvalSetNotFound."""
    if ref.startswith("es_"):
        eval_set = store.set_by_id(ctx.conn, ref)
    else:
        name, _, number = ref.partition("@")
        version = parse_number(number)
        eval_set = store.set_by_number(ctx.conn, name, version) if version is not None or not number else None
    if eval_set is None:
        near = nearest(ref.partition("@")[0], store.set_names(ctx.conn))
        raise EvalSetNotFound(
            f"There is no eval set {ref!r}.",
            hint=f"Did you mean {', '.join(near)}?" if near else "`tidemill evals sets list` shows what there is.",
        )
    return eval_set


def list_sets(ctx: Context, *, cursor: str | None, limit: int) -> Page[EvalSet]:
    """Return a page of eval sets, newest first."""
    return page(store.list_sets(ctx.conn, before=cursor, limit=limit + 1), limit)


def list_items(ctx: Context, ref: str, *, cursor: str | None = None, limit: int = 50) -> Page[EvalItem]:
    """Return the items of a set, in order."""
    eval_items = items.load(ctx.kernel.blobs, get_set(ctx, ref).content_hash)
    start = parse_cursor(cursor) or 0
    more = start + limit < len(eval_items)
    return Page(items=eval_items[start : start + limit], next_cursor=str(start + limit) if more else None)


def create_run(ctx: Context, body: RunCreate) -> EvalRun:
    """Start a run as a durable job. With a known `key` it returns the run of that key."""
    if body.key is not None:
        store.lock(ctx.conn, f"eval run {body.key}")
    existing = store.run_by_key(ctx.conn, body.key) if body.key is not None else None
    if existing is not None:
        return _with_releases(ctx, [existing])[0]
    eval_set = get_set(ctx, body.eval_set)
    eval_items = items.load(ctx.kernel.blobs, eval_set.content_hash)
    for spec in body.scorers:
        check_expected(spec.metric, build(ctx.kernel.plugins, spec), eval_items)
    body = body.model_copy(update={"target": _pinned(ctx, body.target)})
    run = EvalRun(
        id=new_id("er"),
        name=body.name,
        eval_set_id=eval_set.id,
        eval_set=eval_set.ref,
        spec=body,
        state="queued",
        job_id=None,
        figures=None,
        results_hash=None,
        error=None,
        created_at=ctx.now,
        created_by=ctx.actor.name,
        started_at=None,
        finished_at=None,
    )
    store.insert_run(ctx.conn, run)
    job = ctx.kernel.get(JobQueue).submit(ctx, "evals.run", {"run_id": run.id}, subject=run.id)
    store.update_run(ctx.conn, run.id, job_id=job.id)
    events.emit(ctx, "eval_run.created", run.id, {"eval_set": eval_set.ref, "target": body.target.model_dump()})
    return _with_releases(ctx, [run.model_copy(update={"job_id": job.id})])[0]


def _pinned(ctx: Context, target: EvalTarget) -> EvalTarget:
    """Return the target as it stays: the newest release of a name by its number. Raises TargetInvalid."""
    if isinstance(target, ReleaseTarget):
        node = release_node(ctx, target)
        if node is None:
            raise TargetInvalid(
                f"There is no release {target.release!r}.",
                hint=_nearest_release(ctx, target.release) or "`tidemill releases list` shows what there is.",
                param="target",
            )
        return target if target.release == node.id else target.model_copy(update={"release": node.label})
    _check_target(ctx, target)
    return target


def _nearest_release(ctx: Context, ref: str) -> str | None:
    names = {label.partition("@")[0] for label in lineage.list_labels(ctx.conn, "release")}
    near = nearest(ref.partition("@")[0], sorted(names))
    return f"Did you mean {', '.join(near)}?" if near else None


def _check_target(ctx: Context, target: EndpointTarget | BaselineTarget) -> None:
    if isinstance(target, EndpointTarget):
        name = target.api_key_env
        if name is not None and not ctx.kernel.settings.provider_key(name):
            raise TargetInvalid(
                f"The server's environment has no {name}.", hint="Set it where `tidemill up` runs.", param="target"
            )
    elif data.get_version(ctx, target.dataset).row_schema != "classification":
        raise TargetInvalid(
            f"{target.dataset} holds no labelled texts.", hint="Give a `classification` dataset.", param="target"
        )


def release_node(ctx: Context, target: ReleaseTarget) -> lineage.LineageNode | None:
    """Return the release in the lineage: releases lie above evaluation, so it is found there and not imported."""
    return lineage.find(ctx.conn, "release", target.release)


def get_run(ctx: Context, run_id: str) -> EvalRun:
    """Return the eval run of an id. Raises EvalRunNotFound."""
    run = store.run_by_id(ctx.conn, run_id)
    if run is None:
        raise EvalRunNotFound(f"There is no eval run {run_id!r}.", hint="`tidemill evals list` shows what there is.")
    return _with_releases(ctx, [run])[0]


def list_runs(ctx: Context, *, eval_set: str | None = None, cursor: str | None, limit: int) -> Page[EvalRun]:
    """Return a page of eval runs, newest first; of one set with `eval_set`."""
    set_id = get_set(ctx, eval_set).id if eval_set is not None else None
    runs = store.list_runs(ctx.conn, set_id=set_id, before=cursor, limit=limit + 1)
    return page(_with_releases(ctx, runs), limit)


def _with_releases(ctx: Context, runs: Sequence[EvalRun]) -> list[EvalRun]:
    """Return the runs with the names of the releases that they ask: a target may be given as a `rel_` id."""
    releases = {run.id: run.spec.target.release for run in runs if isinstance(run.spec.target, ReleaseTarget)}
    names = lineage.labels(ctx.conn, [ref for ref in releases.values() if ref.startswith("rel_")])
    return [
        run.model_copy(update={"release": names.get(releases[run.id], releases[run.id])}) if run.id in releases else run
        for run in runs
    ]


def list_results(
    ctx: Context, run_id: str, *, failed: bool | None = None, cursor: str | None = None, limit: int = 50
) -> Page[EvalResult]:
    """Return the results of a run in the order of its items; only failures or only answers with `failed`."""
    get_run(ctx, run_id)
    after = parse_cursor(cursor)
    results = store.list_results(ctx.conn, run_id, after=-1 if after is None else after, limit=limit + 1, failed=failed)
    more = len(results) > limit
    return Page(items=results[:limit], next_cursor=str(results[limit - 1].seq) if more else None)


def run_items(ctx: Context, run: EvalRun) -> list[EvalItem]:
    """Return the items of the run's eval set."""
    return items.load(ctx.kernel.blobs, get_set(ctx, run.eval_set_id).content_hash)


def draft(kernel: Kernel, spec: ComparisonSpec) -> Comparison:
    """Return the verdict on two runs, worked out before the transaction that stores it, which `compare` is called in.

    Raises RunNotFinished, RunsDiffer, RunHasFailures, MetricUnknown, TooFewPairs.
    """
    with kernel.read(SYSTEM) as ctx:
        baseline, candidate = _comparable(ctx, spec)
        existing = store.same_comparison(ctx.conn, baseline.id, candidate.id, comparison.spec_hash(spec))
        if existing is not None:
            return existing
        material = _comparison_input(ctx, spec, baseline, candidate)
    return comparison.judge(material, SYSTEM.name)


def compare(ctx: Context, spec: ComparisonSpec, drafted: Comparison | None = None) -> Comparison:
    """Return the verdict on two runs, stored with its evidence; worked out here unless `draft` did it before.

    Runs never change, so the same question about the same runs is answered by the comparison that is there. Raises
    RunNotFinished, RunsDiffer, RunHasFailures, MetricUnknown, TooFewPairs.
    """
    baseline, candidate = _comparable(ctx, spec)
    spec_hash = comparison.spec_hash(spec)
    store.lock(ctx.conn, f"comparison {baseline.id} {candidate.id} {spec_hash}")
    existing = store.same_comparison(ctx.conn, baseline.id, candidate.id, spec_hash)
    if existing is not None:
        return existing
    if drafted is None or drafted.spec != spec:
        drafted = comparison.judge(_comparison_input(ctx, spec, baseline, candidate), ctx.actor.name)
    value = drafted.model_copy(update={"created_at": ctx.now, "created_by": ctx.actor.name})
    store.insert_comparison(ctx.conn, value)
    parents = [(run.id, relation) for run, relation in ((baseline, "baseline"), (candidate, "candidate"))]
    facts = {"outcome": value.outcome, "summary": value.summary}
    lineage.record(ctx, lineage.LineageNode(id=value.id, kind="comparison", label=value.id, facts=facts), parents)
    events.emit(ctx, "comparison.created", value.id, {"outcome": value.outcome, "spec_hash": value.spec_hash})
    return value


def _comparable(ctx: Context, spec: ComparisonSpec) -> tuple[EvalRun, EvalRun]:
    baseline, candidate = get_run(ctx, spec.baseline_run), get_run(ctx, spec.candidate_run)
    comparison.check(spec, baseline, candidate)
    return baseline, candidate


def _comparison_input(
    ctx: Context, spec: ComparisonSpec, baseline: EvalRun, candidate: EvalRun
) -> comparison.ComparisonInput:
    first, second = (store.list_results(ctx.conn, run.id) for run in (baseline, candidate))
    return comparison.ComparisonInput(spec, baseline, candidate, run_items(ctx, baseline), first, second)


def get_comparison(ctx: Context, comparison_id: str) -> Comparison:
    """Return the comparison of an id. Raises ComparisonNotFound."""
    stored = store.comparison_by_id(ctx.conn, comparison_id)
    if stored is None:
        raise ComparisonNotFound(f"There is no comparison {comparison_id!r}.", hint="Compare two runs.")
    return stored


def list_comparisons(ctx: Context, *, run_id: str | None = None, cursor: str | None, limit: int) -> Page[Comparison]:
    """Comparisons, newest first; those of one run with `run_id`."""
    return page(store.list_comparisons(ctx.conn, run_id=run_id, before=cursor, limit=limit + 1), limit)


def plan(ctx: Context, body: EvalPlanRequest) -> EvalPlan:
    """Return the smallest difference an eval set can see, before anything is run. Raises EvalSetNotFound."""
    eval_set = get_set(ctx, body.eval_set)
    eval_items = items.load(ctx.kernel.blobs, eval_set.content_hash)
    clusters = [item.cluster_id for item in eval_items]
    if body.pilot_baseline is None or body.pilot_candidate is None or body.metric is None:
        return power_analysis.plan(eval_set.ref, clusters, body, None)
    first, second = get_run(ctx, body.pilot_baseline), get_run(ctx, body.pilot_candidate)
    pairing.check_comparable(first, second)
    pairing.check_metric(first, second, body.metric)
    rule = MetricRule(metric=body.metric, minimum_effect=1)
    results = [store.list_results(ctx.conn, run.id) for run in (first, second)]
    pairs = pairing.pair_values(run_items(ctx, first), results[0], results[1], rule, "drop")
    pilot = paired_difference(pairs.baseline, pairs.candidate, pairs.clusters)
    return power_analysis.plan(eval_set.ref, clusters, body, pilot)


def measure_cache(ctx: Context, before: datetime) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return how many cached answers are older than a moment and their bytes of text, and the same of the others."""
    return store.measure_answers(ctx.conn, before)


def delete_cache(ctx: Context, before: datetime, limit: int) -> int:
    """Delete at most `limit` cached answers that are older than a moment: they are asked for again. Return how many."""
    return store.delete_answers(ctx.conn, before, limit)
