"""Rows of pipelines, their applied documents, their runs and steps."""

from typing import Any

import sqlalchemy as sa

from tidemill.core.blobs.references import names_blobs
from tidemill.core.db import Json, UtcDateTime, advisory_lock, metadata, row_values
from tidemill.pipelines.types import RUN_ENDED, Pipeline, PipelineSpec, Run, RunStep

__all__ = ["advisory_lock"]

pipelines = sa.Table(
    "pipelines",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("removed_at", UtcDateTime),
    sa.Column("removed_by", sa.String(120)),
    sa.UniqueConstraint("name"),
)

versions = sa.Table(
    "pipeline_versions",
    metadata,
    sa.Column("pipeline_id", sa.String(40), sa.ForeignKey("pipelines.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("hash", sa.String(80), nullable=False),
    sa.Column("spec", sa.Text, nullable=False, info=names_blobs("files of pipelines")),
    sa.Column("applied_at", UtcDateTime, nullable=False),
    sa.Column("applied_by", sa.String(120), nullable=False),
    sa.PrimaryKeyConstraint("pipeline_id", "number"),
)
"""The document is text: a JSON column may lose the order of the splits."""

runs = sa.Table(
    "pipeline_runs",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("pipeline_id", sa.String(40), sa.ForeignKey("pipelines.id"), nullable=False),
    sa.Column("pipeline", sa.String(63), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("fresh", sa.Boolean, nullable=False),
    sa.Column("verdict", sa.String(16)),
    sa.Column("release", sa.String(80)),
    sa.Column("changed", sa.Boolean, nullable=False),
    sa.Column("causes", Json, nullable=False),
    sa.Column("job_id", sa.String(40), nullable=False),
    sa.Column("error", Json),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("finished_at", UtcDateTime),
    sa.UniqueConstraint("pipeline_id", "number"),
    sa.Index("ix_pipeline_runs_state", "state"),
)

steps = sa.Table(
    "pipeline_steps",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("run_id", sa.String(40), sa.ForeignKey("pipeline_runs.id"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("name", sa.String(140), nullable=False),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("key", sa.String(80)),
    sa.Column("outputs", Json, nullable=False, info=names_blobs("results of pipeline runs")),
    sa.Column("cached_from", sa.String(80)),
    sa.Column("job_id", sa.String(40)),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("progress", sa.Text),
    sa.Column("error", Json),
    sa.Column("skipped_by", sa.String(120)),
    sa.Column("started_at", UtcDateTime),
    sa.Column("finished_at", UtcDateTime),
    sa.UniqueConstraint("run_id", "position"),
    sa.Index("ix_pipeline_steps_key", "key"),
)


_APPLIED = (
    pipelines.c.id,
    pipelines.c.name,
    versions.c.number,
    versions.c.hash,
    versions.c.spec,
    versions.c.applied_at,
    versions.c.applied_by,
    pipelines.c.removed_at,
    pipelines.c.removed_by,
)


def _pipeline(row: sa.Row[*tuple[Any, ...]]) -> Pipeline:
    values = row_values(row)
    return Pipeline.model_validate(values | {"spec": PipelineSpec.model_validate_json(values["spec"])})


def _run(row: sa.Row[*tuple[Any, ...]]) -> Run:
    return Run.model_validate(row_values(row))


def _step(row: sa.Row[*tuple[Any, ...]]) -> RunStep:
    return RunStep.model_validate(row_values(row))


def pipeline_by(conn: sa.Connection, name: str, number: int | None = None) -> Pipeline | None:
    """Return the newest applied document of a name, or the one of a number, also of a removed pipeline; else None."""
    version_number = pipelines.c.number if number is None else number
    joined = pipelines.join(
        versions, (versions.c.pipeline_id == pipelines.c.id) & (versions.c.number == version_number)
    )
    row = conn.execute(sa.select(*_APPLIED).select_from(joined).where(pipelines.c.name == name)).first()
    return _pipeline(row) if row is not None else None


def list_pipelines(conn: sa.Connection, *, after: str | None, limit: int) -> list[Pipeline]:
    """Return every pipeline that is not removed, as it was applied last, by name."""
    newest = (versions.c.pipeline_id == pipelines.c.id) & (versions.c.number == pipelines.c.number)
    query = sa.select(*_APPLIED).select_from(pipelines.join(versions, newest)).order_by(pipelines.c.name).limit(limit)
    query = query.where(pipelines.c.removed_at.is_(None))
    if after is not None:
        query = query.where(pipelines.c.name > after)
    return [_pipeline(row) for row in conn.execute(query)]


def list_names(conn: sa.Connection) -> list[str]:
    """Return the names of all pipelines that are not removed."""
    here = sa.select(pipelines.c.name).where(pipelines.c.removed_at.is_(None))
    return list(conn.execute(here.order_by(pipelines.c.name)).scalars())


def remove(conn: sa.Connection, pipeline: Pipeline) -> None:
    """Set who removed a pipeline and when."""
    values = {"removed_at": pipeline.removed_at, "removed_by": pipeline.removed_by}
    conn.execute(pipelines.update().where(pipelines.c.id == pipeline.id).values(**values))


def insert_version(conn: sa.Connection, value: Pipeline) -> None:
    """Insert an applied document, and its pipeline with the first. A removed pipeline is active again."""
    back = {"removed_at": None, "removed_by": None}
    if value.number == 1:
        conn.execute(pipelines.insert().values(id=value.id, name=value.name, number=1))
    else:
        conn.execute(pipelines.update().where(pipelines.c.id == value.id).values(number=value.number, **back))
    conn.execute(
        versions.insert().values(
            pipeline_id=value.id,
            number=value.number,
            hash=value.hash,
            spec=value.spec.model_dump_json(),
            applied_at=value.applied_at,
            applied_by=value.applied_by,
        )
    )


def insert_run(conn: sa.Connection, run: Run, run_steps: list[RunStep]) -> None:
    """Insert a run with its steps."""
    conn.execute(runs.insert().values(**run.model_dump(mode="python", exclude={"causes"}), causes=_causes(run)))
    if run_steps:
        conn.execute(steps.insert(), [step.model_dump() for step in run_steps])


def _causes(run: Run) -> list[dict[str, Any]]:
    return [cause.model_dump(mode="json") for cause in run.causes]


def set_causes(conn: sa.Connection, run: Run) -> None:
    """Write why a run started and which causes joined it."""
    conn.execute(runs.update().where(runs.c.id == run.id).values(causes=_causes(run)))


def update_run(conn: sa.Connection, run_id: str, **values: Any) -> None:
    """Update columns of a run."""
    conn.execute(runs.update().where(runs.c.id == run_id).values(**values))


def update_step(conn: sa.Connection, step_id: str, **values: Any) -> None:
    """Update columns of a step."""
    conn.execute(steps.update().where(steps.c.id == step_id).values(**values))


def run_by_id(conn: sa.Connection, run_id: str) -> Run | None:
    """Return the run of this id, or None."""
    row = conn.execute(sa.select(runs).where(runs.c.id == run_id)).first()
    return _run(row) if row is not None else None


def run_by_number(conn: sa.Connection, pipeline: str, number: int) -> Run | None:
    """Return the run of a pipeline's name and number, or None."""
    row = conn.execute(sa.select(runs).where(runs.c.pipeline == pipeline, runs.c.number == number)).first()
    return _run(row) if row is not None else None


def active_run(conn: sa.Connection, pipeline_id: str) -> Run | None:
    """Return the run of a pipeline that has not ended, or None."""
    query = sa.select(runs).where(runs.c.pipeline_id == pipeline_id, runs.c.state.not_in(sorted(RUN_ENDED)))
    row = conn.execute(query.order_by(runs.c.id.desc()).limit(1)).first()
    return _run(row) if row is not None else None


def newest_run(conn: sa.Connection, pipeline_id: str) -> Run | None:
    """Return the run of a pipeline that was started last, or None."""
    row = conn.execute(
        sa.select(runs).where(runs.c.pipeline_id == pipeline_id).order_by(runs.c.number.desc()).limit(1)
    ).first()
    return _run(row) if row is not None else None


def run_by_job(conn: sa.Connection, job_id: str) -> Run | None:
    """Return the run that a job carries out, or None."""
    row = conn.execute(sa.select(runs).where(runs.c.job_id == job_id)).first()
    return _run(row) if row is not None else None


def list_runs(
    conn: sa.Connection, *, pipeline: str | None, state: str | None, before: str | None, limit: int
) -> list[Run]:
    """Return runs, newest first."""
    query = sa.select(runs).order_by(runs.c.id.desc()).limit(limit)
    if pipeline is not None:
        query = query.where(runs.c.pipeline == pipeline)
    if state is not None:
        query = query.where(runs.c.state == state)
    if before is not None:
        query = query.where(runs.c.id < before)
    return [_run(row) for row in conn.execute(query)]


def list_steps(conn: sa.Connection, run_id: str) -> list[RunStep]:
    """Return the steps of a run, in order."""
    return [_step(row) for row in conn.execute(sa.select(steps).where(steps.c.run_id == run_id).order_by("position"))]


def step_by_id(conn: sa.Connection, step_id: str) -> RunStep:
    """Return the step of an id."""
    return _step(conn.execute(sa.select(steps).where(steps.c.id == step_id)).one())


def find_cached_step(conn: sa.Connection, kind: str, key: str) -> tuple[RunStep, str] | None:
    """Return the newest succeeded step of this kind and key with the reference of its run, or None."""
    query = (
        sa.select(steps, (runs.c.pipeline + "#" + sa.cast(runs.c.number, sa.String)).label("ref"))
        .join(runs, runs.c.id == steps.c.run_id)
        .where(steps.c.kind == kind, steps.c.key == key, steps.c.state == "succeeded")
        .order_by(steps.c.id.desc())
        .limit(1)
    )
    row = conn.execute(query).first()
    if row is None:
        return None
    values = row_values(row)
    ref = values.pop("ref")
    return RunStep.model_validate(values), ref


def last_outputs(conn: sa.Connection, pipeline_id: str, kind: str) -> dict[str, Any] | None:
    """Return the outputs of the newest successful step of this kind in a pipeline, or None."""
    query = (
        sa.select(steps.c.outputs)
        .join(runs, runs.c.id == steps.c.run_id)
        .where(runs.c.pipeline_id == pipeline_id, steps.c.kind == kind, steps.c.state == "succeeded")
        .order_by(steps.c.id.desc())
        .limit(1)
    )
    outputs: dict[str, Any] | None = conn.execute(query).scalar()
    return outputs


def list_waiting_runs(conn: sa.Connection) -> list[Run]:
    """Return runs that wait for a person."""
    return [_run(row) for row in conn.execute(sa.select(runs).where(runs.c.state == "waiting").order_by(runs.c.id))]
