"""What version 0.1.0 kept of objectives and indicators is there after the upgrade."""

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from tidemill.core import db
from tidemill.core.actors import OWNER
from tidemill.core.db import Database
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now
from tidemill.kpis import service as kpis
from tidemill.kpis.types import KpiPut
from tidemill.monitors import service as monitors
from tidemill.monitors import store
from tidemill.slos import service as slos
from tidemill.slos import store as slo_store
from tidemill.slos.types import SloPut

BEFORE, MIGRATION, TABLES = "0018", "0019", ("slos", "slo_minutes", "kpis", "monitor_leases")

OLD = (
    "CREATE TABLE objectives (id VARCHAR(40) NOT NULL, kind VARCHAR(8) NOT NULL, name VARCHAR(63) NOT NULL, "
    "spec {json} NOT NULL, saved_by VARCHAR(120) NOT NULL, saved_at {time} NOT NULL, checked_at {time}, "
    "verdict VARCHAR(16), summary TEXT NOT NULL, counted_until {time}, counted_position TEXT)",
    "CREATE TABLE objective_minutes (objective_id VARCHAR(40) NOT NULL, minute BIGINT NOT NULL, total BIGINT NOT NULL, "
    "bad BIGINT NOT NULL)",
    "CREATE TABLE monitor_turns (key VARCHAR(120) NOT NULL, next_at {time} NOT NULL)",
    "INSERT INTO objectives SELECT id, 'slo', name, spec, saved_by, saved_at, checked_at, verdict, summary, "
    "counted_until, counted_position FROM slos",
    "INSERT INTO objectives SELECT id, 'kpi', name, spec, saved_by, saved_at, checked_at, verdict, summary, "
    "NULL, NULL FROM kpis",
    "INSERT INTO objective_minutes SELECT slo_id, minute, total, bad FROM slo_minutes",
    "INSERT INTO monitor_turns SELECT key, next_at FROM monitor_leases",
)


def take_back(database: Database) -> None:
    """Bring the tables to where 0.1.0 left them, with what is in them now."""
    columns = slo_store.slos.c
    json, time = (column.type.compile(database.engine.dialect) for column in (columns.spec, columns.saved_at))
    with database.begin() as conn:
        for statement in OLD:
            conn.execute(sa.text(statement.format(json=json, time=time)))
        for table in TABLES:
            conn.execute(sa.text(f"DROP TABLE {table}"))
        conn.execute(sa.text(f"UPDATE alembic_version SET version_num = '{BEFORE}'"))


def bring_forward(database: Database) -> None:
    """Run the migration of monitoring alone: what later ones add is there."""
    config = db.migration_config("")
    with database.begin() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, MIGRATION)
        conn.execute(sa.text(f"UPDATE alembic_version SET version_num = '{db.revisions()[-1]}'"))


def test_objectives_indicators_counts_and_leases_are_taken_over(kernel: Kernel) -> None:
    now = utc_now()
    with kernel.write(OWNER) as ctx:
        slo = slos.put(ctx, "answers", SloPut(kind="errors", goal=0.99, target={"environment": "prod"}))
        kpi = kpis.put(ctx, "thumbs", KpiPut(score="feedback", floor=0.8))
        slo_store.replace_minutes(ctx.conn, slo.id, [(100, 5, 1)], before=None, until=now, position="7", oldest=0)
        slo_store.record_check(ctx.conn, slo, at=now, verdict="pass", summary="all good")
        store.acquire_lease(ctx.conn, "slo:answers", now, now + timedelta(minutes=1))
        before = monitors.list_monitors(ctx)
    take_back(kernel.db)
    bring_forward(kernel.db)
    with kernel.read(OWNER) as ctx:
        assert (slos.get(ctx, "answers"), kpis.get(ctx, "thumbs")) == (slo, kpi)
        assert monitors.list_monitors(ctx) == before
        assert slo_store.sum_minutes(ctx.conn, slo.id, 0, 200) == (5, 1)
        record = slo_store.by_name(ctx.conn, "answers")
        assert record is not None
        assert (record.counted_until, record.counted_position) == (now, "7")


def test_the_log_names_the_migrations_that_ran(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tidemill.db"
    path.touch()  # else the tests copy a migrated one
    database = Database(f"sqlite:///{path}")
    with caplog.at_level("INFO", "tidemill.core"):
        database.migrate()
        database.migrate()
    database.close()
    said = [record.message for record in caplog.records if record.name == "tidemill.core"]
    assert said == [f"migrated the database from revision none: ran {', '.join(db.revisions())}"]
