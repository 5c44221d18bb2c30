"""Aliases: names such as `champion` that move from version to version, with every move kept."""

from datetime import datetime

from tidemill.core import events
from tidemill.core.kernel import Context
from tidemill.core.wire import Page, new_id
from tidemill.registry import files, store
from tidemill.registry.lookup import get_model, version_of
from tidemill.registry.types import (
    LATEST,
    AliasChange,
    AliasHistory,
    AliasMove,
    AliasRemove,
    InvalidAlias,
    Model,
    ModelNotFound,
    ModelVersion,
)


def move_alias(ctx: Context, name: str, alias: str, body: AliasMove) -> AliasChange:
    """Point `alias` at a version of the model. Pointing it where it points already changes nothing.

    Raises InvalidAlias, ModelNotFound.
    """
    if alias == LATEST or alias.isdecimal() or alias.startswith("mv_"):
        raise InvalidAlias(
            f"{alias!r} cannot be an alias: it already means a version by itself.",
            hint="Choose a word such as champion or candidate.",
            param="alias",
        )
    store.lock_model(ctx.conn, name)
    model = get_model(ctx, name)
    version = _target(ctx, model, body.version)
    files.require_present(version)
    now = store.change_at(ctx.conn, model.id, alias, None)
    if now is not None and now.version_id == version.id:
        return now
    change = AliasChange(
        id=new_id("mac"),
        model=model.name,
        alias=alias,
        version_id=version.id,
        number=version.number,
        at=ctx.now,
        by=ctx.actor.name,
        reason=body.reason,
    )
    _write(ctx, model, change, "model.alias_moved", now)
    return change


def remove_alias(ctx: Context, name: str, alias: str, body: AliasRemove) -> AliasChange:
    """Take `alias` away; its history stays. Raises ModelNotFound."""
    store.lock_model(ctx.conn, name)
    model = get_model(ctx, name)
    now = store.change_at(ctx.conn, model.id, alias, None)
    if now is None or now.version_id is None:
        raise _no_alias(model, alias)
    change = AliasChange(
        id=new_id("mac"),
        model=model.name,
        alias=alias,
        version_id=None,
        number=None,
        at=ctx.now,
        by=ctx.actor.name,
        reason=body.reason,
    )
    _write(ctx, model, change, "model.alias_removed", now)
    return change


def list_aliases(ctx: Context, name: str) -> Page[AliasChange]:
    """Return where the aliases of a model point now, by alias."""
    return Page(items=store.current_aliases(ctx.conn, get_model(ctx, name).id))


def alias_history(ctx: Context, name: str, alias: str) -> AliasHistory:
    """Return every move of an alias, newest first. Raises ModelNotFound."""
    model = get_model(ctx, name)
    changes = store.list_changes(ctx.conn, model.id, alias)
    if not changes:
        raise _no_alias(model, alias)
    return AliasHistory(model=model.name, alias=alias, changes=changes)


def alias_at(ctx: Context, name: str, alias: str, at: datetime | None) -> ModelVersion:
    """Return the version that `alias` named at the moment `at`; now when it is None. Raises ModelNotFound."""
    model = get_model(ctx, name)
    change = store.change_at(ctx.conn, model.id, alias, at)
    version = store.version_by_id(ctx.conn, change.version_id) if change and change.version_id else None
    if version is None:
        when = f" at {at:%Y-%m-%d %H:%M:%S} UTC" if at is not None else ""
        raise ModelNotFound(
            f"{model.name} had no {alias!r}{when}." if at else f"{model.name} has no alias {alias!r}.",
            hint=f"`tidemill models history {model.name} {alias}` lists every move.",
        )
    return version


def _target(ctx: Context, model: Model, which: str) -> ModelVersion:
    if not which.startswith("mv_"):
        return version_of(ctx, model, which)
    version = store.version_by_id(ctx.conn, which)
    if version is None or version.model_id != model.id:
        raise ModelNotFound(f"{model.name} has no version {which!r}.", hint="An alias stays within its model.")
    return version


def _write(ctx: Context, model: Model, change: AliasChange, kind: str, before: AliasChange | None) -> None:
    store.insert_change(ctx.conn, model.id, change, store.next_sequence(ctx.conn, model.id, change.alias))
    facts = {
        "model": model.name,
        "alias": change.alias,
        "version": change.number,
        "before": before.number if before is not None else None,
        "reason": change.reason,
    }
    events.emit(ctx, kind, change.version_id or (before.version_id if before else None) or model.id, facts)


def _no_alias(model: Model, alias: str) -> ModelNotFound:
    return ModelNotFound(
        f"{model.name} has no alias {alias!r}.", hint=f"`tidemill models show {model.name}` lists its aliases."
    )
