"""The table of scores."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tidemill.core.db import Json, UtcDateTime, metadata, row_values
from tidemill.feedback.types.scores import JudgedPairs, Score, ScoreFilter, ScorePoint, ScoreUnit, SeriesKey

_UNIQUE = ("target", "name", "source", "author", "recorded_by")

scores = sa.Table(
    "scores",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    # The trace, and the span when one is judged: in one column, for a null is never equal to a null.
    sa.Column("target", sa.String(49), nullable=False),
    sa.Column("trace_id", sa.String(32), nullable=False),
    sa.Column("span_id", sa.String(16)),
    sa.Column("response_id", sa.Text),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("label", sa.String(200)),
    sa.Column("comment", sa.Text),
    sa.Column("correction", Json),
    sa.Column("source", sa.String(8), nullable=False),
    sa.Column("scorer", sa.String(120)),
    sa.Column("author", sa.String(120), nullable=False),
    sa.Column("recorded_by", sa.String(120), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("release_id", sa.String(40)),
    sa.Column("environment", sa.String(63)),
    sa.Column("deployment_id", sa.String(40)),
    sa.Column("model", sa.Text),
    sa.Column("user", sa.Text),
    sa.Column("session", sa.Text),
    sa.Column("span_start", UtcDateTime, nullable=False),
    sa.UniqueConstraint(*_UNIQUE),
    sa.Index("ix_scores_trace_id", "trace_id"),
    sa.Index("ix_scores_response_id", "response_id"),
    sa.Index("ix_scores_name_span_start", "name", "span_start"),
    sa.Index("ix_scores_release_id_name_span_start", "release_id", "name", "span_start"),
)

_KEYS: dict[SeriesKey, Any] = {
    "release": scores.c.release_id,
    "environment": scores.c.environment,
    "deployment": scores.c.deployment_id,
    "model": scores.c.model,
    "source": scores.c.source,
    "none": sa.null(),
}
_SAME = ("release_id", "environment", "deployment_id", "model", "user", "session", "name", "source", "scorer")


def target_key(trace_id: str, span_id: str | None) -> str:
    """Return trace and span as the one text of the column `target`."""
    return trace_id if span_id is None else f"{trace_id}:{span_id}"


def unique_key(score: Score) -> tuple[str, ...]:
    """Return the values of the unique columns."""
    return target_key(score.trace_id, score.span_id), score.name, score.source, score.author, score.recorded_by


def find_existing(conn: sa.Connection, new_scores: Sequence[Score]) -> dict[tuple[str, ...], Score]:
    """Return unique key -> the stored score, for those of `new_scores` that have one."""
    existing: dict[tuple[str, ...], Score] = {}
    targets = sorted({target_key(score.trace_id, score.span_id) for score in new_scores})
    recorders = {score.recorded_by for score in new_scores}
    for begin in range(0, len(targets), 500):
        part = targets[begin : begin + 500]
        query = sa.select(scores).where(scores.c.target.in_(part), scores.c.recorded_by.in_(recorders))
        existing |= {unique_key(score): score for score in _all(conn, query)}
    return existing


def upsert(conn: sa.Connection, new_scores: Sequence[Score]) -> None:
    """Insert scores; one that its author gave before keeps its id and gets the new content."""
    if not new_scores:
        return
    statement = (postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert)(scores)
    replaced = {
        column.name: statement.excluded[column.name] for column in scores.c if column.name not in ("id", *_UNIQUE)
    }
    statement = statement.on_conflict_do_update(index_elements=list(_UNIQUE), set_=replaced)
    # One order for everybody, so that two requests about the same answers never wait for each other.
    conn.execute(statement, [_values(score) for score in sorted(new_scores, key=unique_key)])


def delete(conn: sa.Connection, score_id: str) -> None:
    """Delete a score; none when there is none of this id."""
    conn.execute(scores.delete().where(scores.c.id == score_id))


def delete_by_span_start(conn: sa.Connection, since: datetime | None, until: datetime) -> int:
    """Delete the scores of spans that began in [since, until); return how many."""
    old = [scores.c.span_start < until, *([scores.c.span_start >= since] if since is not None else [])]
    return conn.execute(scores.delete().where(*old)).rowcount


def get(conn: sa.Connection, score_id: str) -> Score | None:
    """Return a score; None when there is none of this id."""
    return _first(conn, sa.select(scores).where(scores.c.id == score_id))


def list_page(conn: sa.Connection, where: ScoreFilter, *, before: str | None, limit: int) -> list[Score]:
    """Return scores with ids before `before`, newest first."""
    query = sa.select(scores).where(*_conditions(where)).order_by(scores.c.id.desc()).limit(limit)
    return _all(conn, query if before is None else query.where(scores.c.id < before))


def list_scores(conn: sa.Connection, where: ScoreFilter, *, after: str | None, limit: int) -> list[Score]:
    """Return scores with ids after `after`, oldest first."""
    query = sa.select(scores).where(*_conditions(where)).order_by(scores.c.id).limit(limit)
    return _all(conn, query if after is None else query.where(scores.c.id > after))


def list_by_traces(conn: sa.Connection, trace_ids: Sequence[str], *, source: str | None = None) -> list[Score]:
    """Return every score of some traces, oldest judgement first."""
    trace_scores: list[Score] = []
    for begin in range(0, len(trace_ids), 500):
        query = sa.select(scores).where(scores.c.trace_id.in_(trace_ids[begin : begin + 500]))
        trace_scores += _all(conn, query if source is None else query.where(scores.c.source == source))
    return sorted(trace_scores, key=lambda score: (score.at, score.id))


def list_names(conn: sa.Connection) -> list[str]:
    """Return every name that a score has."""
    return list(conn.execute(sa.select(scores.c.name).distinct().order_by(scores.c.name)).scalars())


def get_series(conn: sa.Connection, where: ScoreFilter, *, by: SeriesKey, seconds: int, limit: int) -> list[ScorePoint]:
    """Return counts, means and standard deviations by bucket of time, key and name."""
    inner = sa.select(
        _bucket_start(conn, seconds).label("begun"),
        _KEYS[by].label("key"),
        scores.c.name,
        scores.c.value,
        scores.c.label,
    ).where(*_conditions(where))
    rows = inner.subquery()
    group = (rows.c.begun, rows.c.key, rows.c.name)
    figures = (
        sa.select(
            *group,
            sa.func.count().label("n"),
            sa.func.count(rows.c.value).label("valued"),
            sa.func.avg(rows.c.value).label("mean"),
            sa.func.sum(rows.c.value * rows.c.value).label("squares"),
        )
        .group_by(*group)
        .order_by(*group)
        .limit(limit)
    )
    labels = sa.select(*group, rows.c.label, sa.func.count().label("n")).where(rows.c.label.is_not(None))
    label_counts: dict[tuple[Any, ...], dict[str, int]] = {}
    for row in conn.execute(labels.group_by(*group, rows.c.label).order_by(*group, rows.c.label)):
        label_counts.setdefault((row.begun, row.key, row.name), {})[row.label] = row.n
    return [_point(row, label_counts.get((row.begun, row.key, row.name), {})) for row in conn.execute(figures)]


def count_passing(conn: sa.Connection, where: ScoreFilter, threshold: float) -> tuple[int, int]:
    """Return how many scores have a value, and how many of these are at least `threshold`."""
    passed = sa.func.sum(sa.case((scores.c.value >= threshold, 1), else_=0))
    query = sa.select(sa.func.count(scores.c.value), sa.func.coalesce(passed, 0)).where(*_conditions(where))
    total, good = conn.execute(query).one()
    return int(total), int(good)


def sum_judged_pairs(conn: sa.Connection, where: ScoreFilter, threshold: float) -> JudgedPairs:
    """Return sums over answers that a model (`where`) and people have judged under one name, as passing or not."""
    people = scores.alias("people")
    passed = sa.case((scores.c.value >= threshold, 1.0), else_=0.0)
    people_share = sa.func.avg(sa.case((people.c.value >= threshold, 1.0), else_=0.0))
    pairs = (
        sa.select(sa.func.max(passed).label("model"), people_share.label("people"))
        .join(people, sa.and_(people.c.target == scores.c.target, people.c.name == scores.c.name))
        .where(*_conditions(where), scores.c.source == "model", scores.c.value.is_not(None))
        .where(people.c.source == "person", people.c.value.is_not(None))
        .group_by(scores.c.target)
        .subquery()
    )
    sums = {
        "people": pairs.c.people,
        "people_squares": pairs.c.people * pairs.c.people,
        "model": pairs.c.model,
        "both": pairs.c.people * pairs.c.model,
        "disagreements": sa.func.abs(pairs.c.people - pairs.c.model),
    }
    figures = (sa.func.coalesce(sa.func.sum(value), 0.0).label(name) for name, value in sums.items())
    row = conn.execute(sa.select(sa.func.count().label("n"), *figures).select_from(pairs)).one()
    return JudgedPairs(
        count=int(row.n),
        people=float(row.people),
        people_squares=float(row.people_squares),
        model=float(row.model),
        both=float(row.both),
        disagreements=float(row.disagreements),
    )


def sum_by_unit(conn: sa.Connection, where: ScoreFilter, *, by_release: bool, seconds: int | None) -> list[ScoreUnit]:
    """Return sums of values by user, else session, else trace; by buckets of `seconds` unless None."""
    begun = _bucket_start(conn, seconds) if seconds is not None else sa.null()
    unit = sa.func.coalesce(scores.c.user, scores.c.session, scores.c.trace_id)
    inner = (
        sa.select(
            begun.label("begun"),
            (scores.c.release_id if by_release else sa.null()).label("release_id"),
            unit.label("unit"),
            scores.c.value,
        )
        .where(*_conditions(where), scores.c.value.is_not(None))
        .subquery()
    )
    group = (inner.c.begun, inner.c.release_id, inner.c.unit)
    between = sa.func.sum(sa.case((inner.c.value.in_((0.0, 1.0)), 0), else_=1))
    query = sa.select(
        *group, sa.func.count().label("n"), sa.func.sum(inner.c.value).label("total"), between.label("between")
    )
    return [
        ScoreUnit(
            t=datetime.fromtimestamp(row.begun or 0, UTC),
            release_id=row.release_id,
            count=int(row.n),
            total=float(row.total),
            binary=int(row.between) == 0,
        )
        for row in conn.execute(query.group_by(*group).order_by(*group))
    ]


def _bucket_start(conn: sa.Connection, seconds: int) -> sa.ColumnElement[int]:
    epoch = (
        sa.cast(sa.func.extract("epoch", scores.c.span_start), sa.BigInteger)
        if conn.dialect.name == "postgresql"
        else sa.cast(sa.func.strftime("%s", scores.c.span_start), sa.BigInteger)
    )
    # Floor on both: whole numbers divide downwards here, for every moment since 1970.
    return epoch - epoch % seconds


def _point(row: Any, labels: dict[str, int]) -> ScorePoint:
    spread = None
    if row.valued > 1:
        spread = (max(0.0, row.squares - row.valued * row.mean**2) / (row.valued - 1)) ** 0.5
    return ScorePoint(
        t=datetime.fromtimestamp(row.begun, UTC),
        key=row.key,
        name=row.name,
        count=row.n,
        mean=row.mean,
        sd=spread,
        labels=labels,
    )


def _conditions(where: ScoreFilter) -> list[sa.ColumnElement[bool]]:
    conditions = [scores.c[name] == value for name in _SAME if (value := getattr(where, name)) is not None]
    for name in ("author", "trace_id", "response_id"):
        if (value := getattr(where, name)) is not None:
            conditions.append(scores.c[name] == value)
    if where.corrected is not None:
        conditions.append(scores.c.correction.is_not(None) if where.corrected else scores.c.correction.is_(None))
    if where.since is not None:
        conditions.append(scores.c.span_start >= where.since)
    if where.until is not None:
        conditions.append(scores.c.span_start < where.until)
    return conditions


def _values(score: Score) -> dict[str, Any]:
    return score.model_dump() | {"target": target_key(score.trace_id, score.span_id)}


def _first(conn: sa.Connection, query: sa.Select[*tuple[Any, ...]]) -> Score | None:
    rows = _all(conn, query.limit(1))
    return rows[0] if rows else None


def _all(conn: sa.Connection, query: sa.Select[*tuple[Any, ...]]) -> list[Score]:
    return [
        Score.model_validate({k: v for k, v in row_values(row).items() if k != "target"}) for row in conn.execute(query)
    ]
