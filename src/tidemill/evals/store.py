"""Rows of eval sets, runs, results, cached answers and comparisons."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tidemill.core.blobs.references import names_blobs
from tidemill.core.db import Json, UtcDateTime, advisory_lock, metadata, row_values
from tidemill.evals.types import Comparison, EvalResult, EvalRun, EvalSet

sets = sa.Table(
    "eval_sets",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("content_hash", sa.String(80), nullable=False, info=names_blobs("items of eval sets")),
    sa.Column("dataset_version_id", sa.String(40), nullable=False),
    sa.Column("dataset", sa.String(120), nullable=False),
    sa.Column("split", sa.String(63), nullable=False),
    sa.Column("mapping", Json, nullable=False),
    sa.Column("items", sa.Integer, nullable=False),
    sa.Column("clusters", sa.Integer, nullable=False),
    sa.Column("largest_cluster", sa.Integer, nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("name", "number"),
)

runs = sa.Table(
    "eval_runs",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(200)),
    sa.Column("eval_set_id", sa.String(40), sa.ForeignKey("eval_sets.id"), nullable=False),
    sa.Column("eval_set", sa.String(120), nullable=False),
    sa.Column("spec", Json, nullable=False),
    sa.Column("key", sa.String(200), unique=True),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("job_id", sa.String(40)),
    sa.Column("figures", Json),
    sa.Column("results_hash", sa.String(80)),
    sa.Column("error", Json),
    sa.Column("created_by", sa.String(120), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("finished_at", UtcDateTime),
    sa.Index("ix_eval_runs_eval_set_id", "eval_set_id"),
)

results = sa.Table(
    "eval_results",
    metadata,
    sa.Column("run_id", sa.String(40), sa.ForeignKey("eval_runs.id"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("item_id", sa.String(200), nullable=False),
    sa.Column("repeat", sa.Integer, nullable=False),
    sa.Column("answer", sa.Text),
    sa.Column("finish_reason", sa.String(40)),
    sa.Column("scores", Json, nullable=False),
    sa.Column("error", Json),
    sa.Column("latency_ms", sa.Float),
    sa.Column("prompt_tokens", sa.Integer),
    sa.Column("output_tokens", sa.Integer),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("cached", sa.Boolean, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

answers = sa.Table(
    "eval_answers",
    metadata,
    sa.Column("key", sa.String(80), primary_key=True),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("finish_reason", sa.String(40)),
    sa.Column("latency_ms", sa.Float),
    sa.Column("prompt_tokens", sa.Integer),
    sa.Column("output_tokens", sa.Integer),
    sa.Column("at", UtcDateTime, nullable=False),
)

comparisons = sa.Table(
    "eval_comparisons",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("baseline_run", sa.String(40), sa.ForeignKey("eval_runs.id"), nullable=False),
    sa.Column("candidate_run", sa.String(40), sa.ForeignKey("eval_runs.id"), nullable=False),
    sa.Column("spec_hash", sa.String(80), nullable=False),
    sa.Column("value", Json, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index("ix_eval_comparisons_baseline_run", "baseline_run"),
    sa.Index("ix_eval_comparisons_candidate_run", "candidate_run"),
)


@dataclass(frozen=True)
class CachedAnswer:
    """An answer of an earlier run, kept under the hash of target and request."""

    answer: str
    finish_reason: str | None
    latency_ms: float | None
    prompt_tokens: int | None
    output_tokens: int | None
    at: datetime


_SET_FIELDS = set(EvalSet.model_fields)
_RUN_FIELDS = set(EvalRun.model_fields)


def lock(conn: sa.Connection, what: str) -> None:
    """Let nobody else number, name or ask for the same thing until the transaction ends."""
    advisory_lock(conn, what)


def insert_set(conn: sa.Connection, value: EvalSet) -> None:
    """Insert an eval set."""
    conn.execute(
        sets.insert().values(**value.model_dump(mode="json", exclude={"created_at"}), created_at=value.created_at)
    )


def set_by_id(conn: sa.Connection, set_id: str) -> EvalSet | None:
    """Return the eval set of an id, or None."""
    return _one_set(conn, sa.select(sets).where(sets.c.id == set_id))


def set_by_number(conn: sa.Connection, name: str, number: int | None) -> EvalSet | None:
    """Return the eval set of a name and number, the newest without a number; None when there is none."""
    query = sa.select(sets).where(sets.c.name == name).order_by(sets.c.number.desc()).limit(1)
    if number is not None:
        query = query.where(sets.c.number == number)
    return _one_set(conn, query)


def set_by_content(conn: sa.Connection, name: str, content_hash: str) -> EvalSet | None:
    """Return the eval set of this name and content hash, or None."""
    return _one_set(conn, sa.select(sets).where(sets.c.name == name, sets.c.content_hash == content_hash))


def set_names(conn: sa.Connection) -> list[str]:
    """Return the names of all eval sets, sorted."""
    return list(conn.execute(sa.select(sets.c.name).distinct().order_by(sets.c.name)).scalars())


def list_sets(conn: sa.Connection, *, before: str | None, limit: int) -> list[EvalSet]:
    """Return at most `limit` eval sets with an id below `before`, newest first."""
    query = sa.select(sets).order_by(sets.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(sets.c.id < before)
    return [_set(row) for row in conn.execute(query)]


def _one_set(conn: sa.Connection, query: sa.Select[Any]) -> EvalSet | None:
    row = conn.execute(query).first()
    return _set(row) if row is not None else None


def _set(row: sa.Row[Any]) -> EvalSet:
    return EvalSet.model_validate({k: v for k, v in row_values(row).items() if k in _SET_FIELDS})


def insert_run(conn: sa.Connection, run: EvalRun) -> None:
    """Insert a run with its idempotency key."""
    values = run.model_dump(mode="json", exclude={"release", "created_at", "started_at", "finished_at"})
    times = {"created_at": run.created_at, "started_at": run.started_at, "finished_at": run.finished_at}
    conn.execute(runs.insert().values(**values, **times, key=run.spec.key))


def update_run(conn: sa.Connection, run_id: str, **values: Any) -> None:
    """Update columns of a run."""
    conn.execute(runs.update().where(runs.c.id == run_id).values(**values))


def run_by_id(conn: sa.Connection, run_id: str) -> EvalRun | None:
    """Return the run of an id, or None."""
    row = conn.execute(sa.select(runs).where(runs.c.id == run_id)).first()
    return _run(row) if row is not None else None


def run_by_key(conn: sa.Connection, key: str) -> EvalRun | None:
    """Return the run created with an idempotency key, or None."""
    row = conn.execute(sa.select(runs).where(runs.c.key == key)).first()
    return _run(row) if row is not None else None


def list_runs(conn: sa.Connection, *, set_id: str | None, before: str | None, limit: int) -> list[EvalRun]:
    """Return at most `limit` runs with an id below `before`, newest first; of one set with `set_id`."""
    query = sa.select(runs).order_by(runs.c.id.desc()).limit(limit)
    if set_id is not None:
        query = query.where(runs.c.eval_set_id == set_id)
    if before is not None:
        query = query.where(runs.c.id < before)
    return [_run(row) for row in conn.execute(query)]


def _run(row: sa.Row[Any]) -> EvalRun:
    return EvalRun.model_validate({k: v for k, v in row_values(row).items() if k in _RUN_FIELDS})


def insert_results(conn: sa.Connection, new: Iterable[EvalResult]) -> None:
    """Insert results; those that exist stay as they are."""
    rows = [r.model_dump(mode="json", exclude={"at"}) | {"at": r.at} for r in new]
    if not rows:
        return
    existing = set(
        conn.execute(
            sa.select(results.c.seq).where(
                results.c.run_id == rows[0]["run_id"], results.c.seq.in_([r["seq"] for r in rows])
            )
        ).scalars()
    )
    fresh = [r for r in rows if r["seq"] not in existing]
    if fresh:
        conn.execute(results.insert(), fresh)


def list_recorded(conn: sa.Connection, run_id: str) -> set[int]:
    """Return the sequence numbers of a run that have a result."""
    return set(conn.execute(sa.select(results.c.seq).where(results.c.run_id == run_id)).scalars())


def list_results(
    conn: sa.Connection, run_id: str, *, after: int = -1, limit: int | None = None, failed: bool | None = None
) -> list[EvalResult]:
    """Return results of a run by sequence number; all of them without a limit."""
    query = sa.select(results).where(results.c.run_id == run_id, results.c.seq > after).order_by(results.c.seq)
    if failed is not None:
        query = query.where(results.c.error.is_not(None) if failed else results.c.error.is_(None))
    if limit is not None:
        query = query.limit(limit)
    return [EvalResult.model_validate(row_values(row)) for row in conn.execute(query)]


def cached_answers(conn: sa.Connection, keys: list[str], since: datetime | None = None) -> dict[str, CachedAnswer]:
    """Return the answers stored under these keys, given from `since` on; a key without one is left out."""
    cached: dict[str, CachedAnswer] = {}
    for start in range(0, len(keys), 500):
        query = sa.select(answers).where(answers.c.key.in_(keys[start : start + 500]))
        if since is not None:
            query = query.where(answers.c.at >= since)
        for row in conn.execute(query):
            cached[row.key] = CachedAnswer(
                row.answer, row.finish_reason, row.latency_ms, row.prompt_tokens, row.output_tokens, row.at
            )
    return cached


def put_answers(conn: sa.Connection, by_key: dict[str, EvalResult]) -> None:
    """Store answers under their keys, each in place of one that was given before it."""
    rows = [
        {
            "key": key,
            "answer": result.answer,
            "finish_reason": result.finish_reason,
            "latency_ms": result.latency_ms,
            "prompt_tokens": result.prompt_tokens,
            "output_tokens": result.output_tokens,
            "at": result.at,
        }
        # One order for everybody, so that two runs never wait for each other.
        for key, result in sorted(by_key.items())
    ]
    if not rows:
        return
    insert = sqlite.insert(answers) if conn.dialect.name == "sqlite" else postgresql.insert(answers)
    replaced = {column.name: insert.excluded[column.name] for column in answers.columns if column.name != "key"}
    newer = insert.excluded.at > answers.c.at
    conn.execute(insert.on_conflict_do_update(index_elements=["key"], set_=replaced, where=newer), rows)


def measure_answers(conn: sa.Connection, before: datetime) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return how many cached answers are older than a moment and their bytes of text, and the same of the others."""
    figures = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(sa.func.length(answers.c.answer)), 0))
    old = conn.execute(figures.where(answers.c.at < before)).one()
    young = conn.execute(figures.where(answers.c.at >= before)).one()
    return (int(old[0]), int(old[1])), (int(young[0]), int(young[1]))


def delete_answers(conn: sa.Connection, before: datetime, limit: int) -> int:
    """Delete at most `limit` cached answers that are older than a moment. Return how many."""
    oldest = sa.select(answers.c.key).where(answers.c.at < before).limit(limit)
    return conn.execute(answers.delete().where(answers.c.key.in_(oldest))).rowcount


def insert_comparison(conn: sa.Connection, value: Comparison) -> None:
    """Store a comparison as it was computed; it never changes."""
    conn.execute(
        comparisons.insert().values(
            id=value.id,
            baseline_run=value.spec.baseline_run,
            candidate_run=value.spec.candidate_run,
            spec_hash=value.spec_hash,
            value=value.model_dump(mode="json"),
            created_at=value.created_at,
        )
    )


def comparison_by_id(conn: sa.Connection, comparison_id: str) -> Comparison | None:
    """Return the comparison of an id, or None."""
    row = conn.execute(sa.select(comparisons.c.value).where(comparisons.c.id == comparison_id)).first()
    return Comparison.model_validate(row.value) if row is not None else None


def same_comparison(conn: sa.Connection, baseline: str, candidate: str, spec_hash: str) -> Comparison | None:
    """Return the comparison of the same runs and spec, or None."""
    query = sa.select(comparisons.c.value).where(
        comparisons.c.baseline_run == baseline,
        comparisons.c.candidate_run == candidate,
        comparisons.c.spec_hash == spec_hash,
    )
    row = conn.execute(query.limit(1)).first()
    return Comparison.model_validate(row.value) if row is not None else None


def list_comparisons(conn: sa.Connection, *, run_id: str | None, before: str | None, limit: int) -> list[Comparison]:
    """Return at most `limit` comparisons with an id below `before`, newest first; of one run with `run_id`."""
    query = sa.select(comparisons.c.value).order_by(comparisons.c.id.desc()).limit(limit)
    if run_id is not None:
        query = query.where(sa.or_(comparisons.c.baseline_run == run_id, comparisons.c.candidate_run == run_id))
    if before is not None:
        query = query.where(comparisons.c.id < before)
    return [Comparison.model_validate(row.value) for row in conn.execute(query)]
