"""What a document declares to be monitored: drift monitors, SLOs, KPIs and triggers."""

from collections.abc import Callable, Sequence
from typing import Any

from tidemill.core.errors import NotFound, TidemillError
from tidemill.core.kernel import Context
from tidemill.drift import service as drift
from tidemill.drift.types import DriftMonitorCreate
from tidemill.kpis import service as kpis
from tidemill.kpis.types import KpiPut
from tidemill.pipelines.types import KpiSection, PipelineSpec, SloSection, TriggerSection
from tidemill.slos import service as slos
from tidemill.slos.types import SloPut
from tidemill.triggers import service as triggers
from tidemill.triggers.types import TriggerPut

Put = Callable[[Context, Any], bool]


def put_all(ctx: Context, spec: PipelineSpec) -> tuple[list[str], list[str]]:
    """Create or update the declared monitors, as far as what they refer to exists.

    Returns what was created or changed (`triggers.retrain`), and why the rest is not there yet.
    """
    created, later = [], []
    for section, items, put in _sections(spec):
        for item in items:
            try:
                with ctx.conn.begin_nested():
                    if put(ctx, item):
                        created.append(f"{section}.{item.name}")
            except TidemillError as error:
                later.append(f"{section}.{item.name}: {error.message}")
    return created, later


def _sections(spec: PipelineSpec) -> list[tuple[str, list[Any], Put]]:
    """Return the sections in the order of their references: triggers name the others."""
    trigger: Put = lambda ctx, item: _put_trigger(ctx, item, spec.name)  # noqa: E731
    return [
        ("monitors", list(spec.monitors), _put_monitor),
        ("slos", list(spec.slos), _put_slo),
        ("kpis", list(spec.kpis), _put_kpi),
        ("triggers", list(spec.triggers), trigger),
    ]


def _put_monitor(ctx: Context, section: DriftMonitorCreate) -> bool:
    try:
        monitor = drift.get_monitor(ctx, section.name)
    except NotFound:
        drift.create_monitor(ctx, section)
        return True
    same = DriftMonitorCreate.model_validate(monitor.model_dump(include=set(DriftMonitorCreate.model_fields)))
    if same == section:
        return False
    drift.change_monitor(ctx, section)
    return True


def _put_slo(ctx: Context, section: SloSection) -> bool:
    before = _find(lambda: slos.get(ctx, section.name))
    body = SloPut.model_validate(section.model_dump(exclude={"name"}))
    return slos.put(ctx, section.name, body) != before


def _put_kpi(ctx: Context, section: KpiSection) -> bool:
    before = _find(lambda: kpis.get(ctx, section.name))
    body = KpiPut.model_validate(section.model_dump(exclude={"name"}))
    return kpis.put(ctx, section.name, body) != before


def _put_trigger(ctx: Context, section: TriggerSection, pipeline: str) -> bool:
    before = _find(lambda: triggers.get(ctx, section.name))
    fields = section.model_dump(exclude={"name"}) | {"pipeline": section.pipeline or pipeline}
    return triggers.put(ctx, section.name, TriggerPut.model_validate(fields)) != before


def _find(get: Callable[[], object]) -> object:
    try:
        return get()
    except NotFound:
        return None


def remove_undeclared(
    ctx: Context, before: PipelineSpec, after: PipelineSpec | None, others: Sequence[PipelineSpec]
) -> list[str]:
    """Remove what an earlier document declared and this one does not, triggers first; return the names.

    What another pipeline's document declares under the same name stays.
    """
    removers: dict[str, Callable[[Context, str], object]] = {
        "triggers": triggers.remove,
        "kpis": kpis.remove,
        "slos": slos.remove,
        "monitors": drift.remove_monitor,
    }
    removed = []
    for section, remove in removers.items():
        declaring = [*others, after] if after is not None else others
        declared = {item.name for spec in declaring for item in getattr(spec, section)}
        for item in getattr(before, section):
            if item.name not in declared and _remove_one(ctx, remove, item.name):
                removed.append(f"{section}.{item.name}")
    return removed


def _remove_one(ctx: Context, remove: Callable[[Context, str], object], name: str) -> bool:
    try:
        remove(ctx, name)
    except NotFound:
        return False
    return True
