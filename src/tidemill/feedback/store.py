"""Rows of scores."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tidemill.core.db import Json, UtcDateTime, metadata, row_values
from tidemill.feedback.types.scores import Score, ScoreFilter, ScorePoint, SeriesKey

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


def target_of(trace_id: str, span_id: str | None) -> str:
    """The one text that tells a target."""
    return trace_id if span_id is None else f"{trace_id}:{span_id}"


def key_of(score: Score) -> tuple[str, ...]:
    """What tells a score from every other, whatever it says."""
    return target_of(score.trace_id, score.span_id), score.name, score.source, score.author, score.recorded_by


def same(conn: sa.Connection, made: Sequence[Score]) -> dict[tuple[str, ...], Score]:
    """Key -> the score that is kept under it, for those of `made` that have one."""
    found: dict[tuple[str, ...], Score] = {}
    targets = sorted({target_of(score.trace_id, score.span_id) for score in made})
    givers = {score.recorded_by for score in made}
    for begin in range(0, len(targets), 500):
        part = targets[begin : begin + 500]
        query = sa.select(scores).where(scores.c.target.in_(part), scores.c.recorded_by.in_(givers))
        found |= {key_of(score): score for score in _all(conn, query)}
    return found


def put(conn: sa.Connection, made: Sequence[Score]) -> None:
    """Write scores; one that its author gave before keeps its id and gets the new content."""
    if not made:
        return
    statement = (postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert)(scores)
    fresh = {column.name: statement.excluded[column.name] for column in scores.c if column.name not in ("id", *_UNIQUE)}
    upsert = statement.on_conflict_do_update(index_elements=list(_UNIQUE), set_=fresh)
    # One order for everybody, so that two requests about the same answers never wait for each other.
    conn.execute(upsert, [_values(score) for score in sorted(made, key=key_of)])


def delete(conn: sa.Connection, score_id: str) -> None:
    """Remove a score."""
    conn.execute(scores.delete().where(scores.c.id == score_id))


def delete_begun(conn: sa.Connection, since: datetime | None, until: datetime) -> int:
    """Remove the scores of spans that began in [since, until); returns how many."""
    old = [scores.c.span_start < until, *([scores.c.span_start >= since] if since is not None else [])]
    return conn.execute(scores.delete().where(*old)).rowcount


def by_id(conn: sa.Connection, score_id: str) -> Score | None:
    """One score."""
    return _first(conn, sa.select(scores).where(scores.c.id == score_id))


def page(conn: sa.Connection, wanted: ScoreFilter, *, before: str | None, limit: int) -> list[Score]:
    """Scores, newest first."""
    query = sa.select(scores).where(*_conditions(wanted)).order_by(scores.c.id.desc()).limit(limit)
    return _all(conn, query if before is None else query.where(scores.c.id < before))


def listing(conn: sa.Connection, wanted: ScoreFilter, *, after: str | None, limit: int) -> list[Score]:
    """Scores, oldest first."""
    query = sa.select(scores).where(*_conditions(wanted)).order_by(scores.c.id).limit(limit)
    return _all(conn, query if after is None else query.where(scores.c.id > after))


def of_traces(conn: sa.Connection, trace_ids: Sequence[str], *, source: str | None = None) -> list[Score]:
    """Every score of some traces, oldest judgement first."""
    found: list[Score] = []
    for begin in range(0, len(trace_ids), 500):
        query = sa.select(scores).where(scores.c.trace_id.in_(trace_ids[begin : begin + 500]))
        found += _all(conn, query if source is None else query.where(scores.c.source == source))
    return sorted(found, key=lambda score: (score.at, score.id))


def names(conn: sa.Connection) -> list[str]:
    """Every name that a score goes by."""
    return list(conn.execute(sa.select(scores.c.name).distinct().order_by(scores.c.name)).scalars())


def series(conn: sa.Connection, wanted: ScoreFilter, *, by: SeriesKey, seconds: int, limit: int) -> list[ScorePoint]:
    """Counts, means and spreads by stretch of time, key and name."""
    inner = sa.select(
        _begun(conn, seconds).label("begun"),
        _KEYS[by].label("key"),
        scores.c.name,
        scores.c.value,
        scores.c.label,
    ).where(*_conditions(wanted))
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
    said: dict[tuple[Any, ...], dict[str, int]] = {}
    for row in conn.execute(labels.group_by(*group, rows.c.label).order_by(*group, rows.c.label)):
        said.setdefault((row.begun, row.key, row.name), {})[row.label] = row.n
    return [_point(row, said.get((row.begun, row.key, row.name), {})) for row in conn.execute(figures)]


def passing(conn: sa.Connection, wanted: ScoreFilter, least: float) -> tuple[int, int]:
    """How many scores have a value, and how many of these are at least `least`."""
    passed = sa.func.sum(sa.case((scores.c.value >= least, 1), else_=0))
    query = sa.select(sa.func.count(scores.c.value), sa.func.coalesce(passed, 0)).where(*_conditions(wanted))
    total, good = conn.execute(query).one()
    return int(total), int(good)


def judged_by_both(conn: sa.Connection, wanted: ScoreFilter, least: float) -> Any:
    """Sums over answers that a model (`wanted`) and people have judged under one name, as passing or not.

    The row has `n`, `people`, `people_squares`, `model`, `both` and `apart`; an answer that several people judged
    counts with the share of those who pass it.
    """
    people = scores.alias("people")
    passed = sa.case((scores.c.value >= least, 1.0), else_=0.0)
    voted = sa.func.avg(sa.case((people.c.value >= least, 1.0), else_=0.0))
    pairs = (
        sa.select(sa.func.max(passed).label("model"), voted.label("people"))
        .join(people, sa.and_(people.c.target == scores.c.target, people.c.name == scores.c.name))
        .where(*_conditions(wanted), scores.c.source == "model", scores.c.value.is_not(None))
        .where(people.c.source == "person", people.c.value.is_not(None))
        .group_by(scores.c.target)
        .subquery()
    )
    sums = {
        "people": pairs.c.people,
        "people_squares": pairs.c.people * pairs.c.people,
        "model": pairs.c.model,
        "both": pairs.c.people * pairs.c.model,
        "apart": sa.func.abs(pairs.c.people - pairs.c.model),
    }
    figures = (sa.func.coalesce(sa.func.sum(value), 0.0).label(name) for name, value in sums.items())
    return conn.execute(sa.select(sa.func.count().label("n"), *figures).select_from(pairs)).one()


def units(conn: sa.Connection, wanted: ScoreFilter, *, by_release: bool, seconds: int | None) -> list[Any]:
    """Sums of values by who gave rise to them: the user, else the session, else the trace.

    Rows have `begun` (seconds since 1970, or null), `release_id`, `unit`, `n`, `total` and `between` (how many values
    are neither 0 nor 1).
    """
    begun = _begun(conn, seconds) if seconds is not None else sa.null()
    unit = sa.func.coalesce(scores.c.user, scores.c.session, scores.c.trace_id)
    inner = (
        sa.select(
            begun.label("begun"),
            (scores.c.release_id if by_release else sa.null()).label("release_id"),
            unit.label("unit"),
            scores.c.value,
        )
        .where(*_conditions(wanted), scores.c.value.is_not(None))
        .subquery()
    )
    group = (inner.c.begun, inner.c.release_id, inner.c.unit)
    between = sa.func.sum(sa.case((inner.c.value.in_((0.0, 1.0)), 0), else_=1))
    query = sa.select(
        *group, sa.func.count().label("n"), sa.func.sum(inner.c.value).label("total"), between.label("between")
    )
    return list(conn.execute(query.group_by(*group).order_by(*group)))


def _begun(conn: sa.Connection, seconds: int) -> sa.ColumnElement[int]:
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


def _conditions(wanted: ScoreFilter) -> list[sa.ColumnElement[bool]]:
    found = [scores.c[name] == value for name in _SAME if (value := getattr(wanted, name)) is not None]
    for name in ("author", "trace_id", "response_id"):
        if (value := getattr(wanted, name)) is not None:
            found.append(scores.c[name] == value)
    if wanted.corrected is not None:
        found.append(scores.c.correction.is_not(None) if wanted.corrected else scores.c.correction.is_(None))
    if wanted.since is not None:
        found.append(scores.c.span_start >= wanted.since)
    if wanted.until is not None:
        found.append(scores.c.span_start < wanted.until)
    return found


def _values(score: Score) -> dict[str, Any]:
    return score.model_dump() | {"target": target_of(score.trace_id, score.span_id)}


def _first(conn: sa.Connection, query: sa.Select[*tuple[Any, ...]]) -> Score | None:
    found = _all(conn, query.limit(1))
    return found[0] if found else None


def _all(conn: sa.Connection, query: sa.Select[*tuple[Any, ...]]) -> list[Score]:
    return [
        Score.model_validate({k: v for k, v in row_values(row).items() if k != "target"}) for row in conn.execute(query)
    ]
