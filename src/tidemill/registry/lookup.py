"""What a reference to a model or a version means."""

from tidemill.core.errors import nearest
from tidemill.core.kernel import Context
from tidemill.core.parsing import parse_number
from tidemill.registry import store
from tidemill.registry.packaged import PACKAGED
from tidemill.registry.types import LATEST, InvalidModelReference, Model, ModelNotFound, ModelVersion


def get_model(ctx: Context, name: str) -> Model:
    """Return the model of a name. Raises ModelNotFound."""
    model = store.model_by_name(ctx.conn, name)
    if model is None:
        near = nearest(name, store.list_names(ctx.conn))
        hint = f"Did you mean {', '.join(near)}?" if near else "`tidemill models list` shows what there is."
        if name in PACKAGED:
            hint = f"Register the packaged one: tidemill models add {name}"
        raise ModelNotFound(f"There is no model {name!r}.", hint=hint)
    return model


def get_version(ctx: Context, ref: str) -> ModelVersion:
    """Return the version that `ref` means: `name` or `name@latest` (newest), `name@3`, `name@alias`, or an `mv_` id.

    Raises ModelNotFound or InvalidModelReference.
    """
    if ref.startswith("mv_"):
        version = store.version_by_id(ctx.conn, ref)
        if version is None:
            raise ModelNotFound(
                f"There is no model version {ref!r}.", hint="`tidemill models versions NAME` lists them."
            )
        return version
    name, _, which = ref.partition("@")
    if not name or "@" in which:
        raise InvalidModelReference(
            f"{ref!r} is no reference to a model version.", hint="Write name, name@3, name@alias or an mv_ id."
        )
    return version_of(ctx, get_model(ctx, name), which)


def version_of(ctx: Context, model: Model, which: str) -> ModelVersion:
    """Return a version of `model` by number, alias, `latest` or nothing (the newest). Raises ModelNotFound."""
    if which in ("", LATEST):
        version = store.get_newest(ctx.conn, model.id)
    elif which.isdecimal():
        number = parse_number(which)
        version = store.version_by_number(ctx.conn, model.id, number) if number is not None else None
    else:
        change = store.change_at(ctx.conn, model.id, which, None)
        version = store.version_by_id(ctx.conn, change.version_id) if change and change.version_id else None
    if version is None:
        what = f"version or alias {which!r}" if which else "version"
        aliases = [c.alias for c in store.current_aliases(ctx.conn, model.id)]
        alias_hint = f" Aliases: {', '.join(aliases)}." if aliases else ""
        raise ModelNotFound(
            f"{model.name} has no {what}.", hint=f"`tidemill models versions {model.name}` lists them.{alias_hint}"
        )
    return version
