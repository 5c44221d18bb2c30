"""Rows of tuning runs, their steps and what they made."""

from typing import Any

import sqlalchemy as sa

from tidemill.core.blobs.references import names_blobs
from tidemill.core.db import Json, UtcDateTime, advisory_lock, metadata, row_values
from tidemill.tuning.types import Output, StepRecord, TuningRun

runs = sa.Table(
    "tuning_runs",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("spec", Json, nullable=False),
    sa.Column("base_version_id", sa.String(40), nullable=False),
    sa.Column("dataset_version_id", sa.String(40), nullable=False),
    sa.Column("prompt_version_id", sa.String(40)),
    sa.Column("job_id", sa.String(40), nullable=False),
    sa.Column("key", sa.String(200)),
    sa.Column("estimate", Json),
    sa.Column("total_steps", sa.Integer),
    sa.Column("summary", Json),
    sa.Column("record_hash", sa.String(80), info=names_blobs("answers of tuning runs")),
    sa.Column("parity", Json),
    sa.Column("error", Json),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
    sa.Column("finished_at", UtcDateTime),
    sa.UniqueConstraint("key"),
    sa.Index("ix_tuning_runs_state_id", "state", "id"),
)

steps = sa.Table(
    "tuning_steps",
    metadata,
    sa.Column("run_id", sa.String(40), sa.ForeignKey("tuning_runs.id"), nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("record", Json, nullable=False),
    sa.PrimaryKeyConstraint("run_id", "step"),
)

outputs = sa.Table(
    "tuning_outputs",
    metadata,
    sa.Column("run_id", sa.String(40), sa.ForeignKey("tuning_runs.id"), nullable=False),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("version_id", sa.String(40), nullable=False),
    sa.Column("ref", sa.String(120), nullable=False),
    sa.Column("servable", sa.Boolean, nullable=False),
    sa.PrimaryKeyConstraint("run_id", "kind"),
    sa.Index("ix_tuning_outputs_version_id", "version_id"),
)

_DERIVED = {"last_step", "outputs"}


def lock(conn: sa.Connection, what: str) -> None:
    """Lock `what` until the transaction ends, against two writers that number or name the same thing."""
    advisory_lock(conn, what)


def insert(conn: sa.Connection, run: TuningRun, key: str | None) -> None:
    """Insert a run with its idempotency key."""
    conn.execute(runs.insert().values(**run.model_dump(mode="python", exclude=_DERIVED) | _json(run), key=key))


def _json(run: TuningRun) -> dict[str, Any]:
    return {"spec": run.spec.model_dump(mode="json")}


def update(conn: sa.Connection, run_id: str, **changes: Any) -> None:
    """Update columns of a run."""
    conn.execute(runs.update().where(runs.c.id == run_id).values(**changes))


def get(conn: sa.Connection, run_id: str) -> TuningRun | None:
    """Return the run of an id, or None."""
    return _first(conn, runs.c.id == run_id)


def by_key(conn: sa.Connection, key: str) -> TuningRun | None:
    """Return the run with this idempotency key, or None."""
    return _first(conn, runs.c.key == key)


def by_job(conn: sa.Connection, job_id: str) -> TuningRun | None:
    """Return the run that a job carries out, or None."""
    return _first(conn, runs.c.job_id == job_id)


def by_output(conn: sa.Connection, version_id: str) -> TuningRun | None:
    """Return the newest run that made a model version, or None."""
    query = sa.select(outputs.c.run_id).where(outputs.c.version_id == version_id, outputs.c.kind != "base")
    run_id = conn.execute(query.order_by(outputs.c.run_id.desc()).limit(1)).scalar()
    return get(conn, run_id) if run_id is not None else None


def list_runs(conn: sa.Connection, *, state: str | None, before: str | None, limit: int) -> list[TuningRun]:
    """Return at most `limit` runs with an id below `before`, newest first."""
    query = sa.select(runs).order_by(runs.c.id.desc()).limit(limit)
    if state is not None:
        query = query.where(runs.c.state == state)
    if before is not None:
        query = query.where(runs.c.id < before)
    return [_run(conn, row) for row in conn.execute(query).all()]


def record_hash(conn: sa.Connection, run_id: str) -> str | None:
    """Return the hash of the blob with the trainer's own answers, or None."""
    return conn.execute(sa.select(runs.c.record_hash).where(runs.c.id == run_id)).scalar()


def last_step(conn: sa.Connection, run_id: str) -> StepRecord | None:
    """Return the newest record of the step log; None before the first step."""
    query = sa.select(steps.c.record).where(steps.c.run_id == run_id).order_by(steps.c.step.desc()).limit(1)
    record = conn.execute(query).scalar()
    return StepRecord.model_validate(record) if record is not None else None


def add_steps(conn: sa.Connection, run_id: str, records: list[StepRecord]) -> None:
    """Write records of the step log. A step that is there already stays as it is."""
    if not records:
        return
    newest = conn.execute(sa.select(sa.func.max(steps.c.step)).where(steps.c.run_id == run_id)).scalar() or 0
    rows = [{"run_id": run_id, "step": r.step, "record": r.model_dump(mode="json")} for r in records if r.step > newest]
    if rows:
        conn.execute(steps.insert(), rows)


def step_page(conn: sa.Connection, run_id: str, after: int, limit: int) -> list[StepRecord]:
    """Return the records of the step log after a step."""
    query = sa.select(steps.c.record).where(steps.c.run_id == run_id, steps.c.step > after)
    return [StepRecord.model_validate(r) for r in conn.execute(query.order_by(steps.c.step).limit(limit)).scalars()]


def put_output(conn: sa.Connection, run_id: str, output: Output) -> None:
    """Insert a run's output; one of the same kind is replaced."""
    conn.execute(outputs.delete().where(outputs.c.run_id == run_id, outputs.c.kind == output.kind))
    conn.execute(outputs.insert().values(run_id=run_id, **output.model_dump()))


def _first(conn: sa.Connection, *where: sa.ColumnElement[bool]) -> TuningRun | None:
    row = conn.execute(sa.select(runs).where(*where)).first()
    return _run(conn, row) if row is not None else None


def _run(conn: sa.Connection, row: sa.Row[Any]) -> TuningRun:
    values = row_values(row)
    for column in ("key", "record_hash"):
        values.pop(column)
    rows = conn.execute(sa.select(outputs).where(outputs.c.run_id == values["id"]).order_by(outputs.c.version_id))
    run_outputs = [Output.model_validate({k: v for k, v in row_values(r).items() if k != "run_id"}) for r in rows]
    return TuningRun.model_validate(values | {"last_step": last_step(conn, values["id"]), "outputs": run_outputs})
