"""What applying a document would change, and what the next run would do. Nothing here changes anything."""

from collections.abc import Iterator
from typing import Any

from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Context
from tidemill.pipelines import step_registry, store
from tidemill.pipelines.jobs import key_of
from tidemill.pipelines.steps.context import StepInputs
from tidemill.pipelines.types import Change, NothingMeasured, Pipeline, PipelineSpec, StepForecast


def changes(before: PipelineSpec | None, after: PipelineSpec) -> list[Change]:
    """Return the differences between two documents, section by section."""
    old = _plain(before) if before is not None else {}
    return list(_differences("", old, _plain(after)))


def _plain(spec: PipelineSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", exclude_defaults=True)


def _by_name(value: Any) -> Any:
    """Return a list of named things as a mapping by name, so that an inserted one does not move all others."""
    if _is_named(value):
        return {str(v["name"]): {k: w for k, w in v.items() if k != "name"} for v in value}
    return value


def _is_named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) and "name" in v for v in value)


def _differences(path: str, before: Any, after: Any) -> Iterator[Change]:
    before, after = _by_name(before), _by_name(after)
    if before == after:
        return
    if not isinstance(before, dict) or not isinstance(after, dict):
        yield Change(action="change", path=path, before=before, after=after)
        return
    for key in [*after, *(k for k in before if k not in after)]:
        here = f"{path}.{key}" if path else str(key)
        if _is_named(after.get(key)) or _is_named(before.get(key)):
            yield from _differences(here, before.get(key) or {}, after.get(key) or {})
        elif key not in before:
            yield Change(action="add", path=here, after=after[key])
        elif key not in after:
            yield Change(action="remove", path=here, before=before[key])
        else:
            yield from _differences(here, before[key], after[key])


def forecast(ctx: Context, spec: PipelineSpec, pipeline: Pipeline | None) -> list[StepForecast]:
    """Return what each step of the next run would do, as far as it is known now."""
    outputs: dict[str, dict[str, Any]] = {}
    forecasts: dict[str, StepForecast] = {}
    for name in step_registry.names(spec):
        inputs = StepInputs(spec, name, outputs, pipeline.id if pipeline is not None else None)
        forecasts[name] = _step(ctx, inputs, outputs, forecasts)
    return list(forecasts.values())


def _step(
    ctx: Context, inputs: StepInputs, outputs: dict[str, dict[str, Any]], forecasts: dict[str, StepForecast]
) -> StepForecast:
    kind = step_registry.kind_of(inputs.name)
    if kind in step_registry.UNCACHEABLE:
        return StepForecast(name=inputs.name, kind=kind, action="ask", why=_ASK_REASONS[kind])
    try:
        key = key_of(kind, step_registry.KINDS[kind].inputs(ctx, inputs))
    except NothingMeasured as missing:
        step = str((missing.details or {}).get("step"))
        before = forecasts.get(step)
        action = "ask" if before is not None and before.action == "ask" else "run"
        return StepForecast(name=inputs.name, kind=kind, action=action, why=f"reads what `{step}` makes")
    except TidemillError as error:
        return StepForecast(name=inputs.name, kind=kind, action="run", why=error.message)
    cached = store.find_cached_step(ctx.conn, kind, key) if key is not None else None
    if cached is None:
        return StepForecast(name=inputs.name, kind=kind, action="run", why="has not been done with what it reads now")
    earlier, ref = cached
    outputs[inputs.name] = earlier.outputs
    return StepForecast(name=inputs.name, kind=kind, action="cached", why=f"done in {ref}: {earlier.note}")


_ASK_REASONS = {
    "approve": "a person is asked, unless it is there already",
    "deploy": "unless it is served there already",
    "rollout": "unless it is served there already",
    "watch": "brings what is watched in line with the document",
    "feedback": "looks for new feedback in production",
}
