"""Deciding about prompts: what a new version is, where a label may stand, what a reference means."""

from collections.abc import Iterable, Mapping

from tidemill.core import events, lineage
from tidemill.core.errors import nearest
from tidemill.core.kernel import Context
from tidemill.core.parsing import parse_number
from tidemill.core.web import page
from tidemill.core.wire import Page, content_hash, new_id
from tidemill.prompts import store, template
from tidemill.prompts.types import (
    LATEST,
    LabelChange,
    LabelMove,
    LabelReserved,
    Message,
    Prompt,
    PromptCreate,
    PromptDiff,
    PromptNotFound,
    PromptUnchanged,
    PromptVersion,
    Rendered,
)


def create(ctx: Context, body: PromptCreate) -> PromptVersion:
    """Save a new version. Raises PromptUnchanged when the newest version says the same."""
    texts = [m.content for m in body.messages] if body.messages is not None else [body.text or ""]
    content = {
        "messages": [m.model_dump() for m in body.messages] if body.messages is not None else None,
        "text": body.text,
        "parameters": body.parameters,
    }
    digest = content_hash(content)
    store.lock(ctx.conn, f"prompt {body.name}")
    newest = store.get_newest(ctx.conn, body.name)
    if newest is not None and newest.content_hash == digest:
        raise PromptUnchanged(
            f"{body.name}@{newest.number} already says exactly this.",
            hint="Change the template or its parameters, or move a label with `tidemill prompts label`.",
            details={"version": newest.number},
        )
    version = PromptVersion(
        id=new_id("pv"),
        name=body.name,
        number=newest.number + 1 if newest is not None else 1,
        kind="chat" if body.messages is not None else "text",
        messages=body.messages,
        text=body.text,
        variables=template.variables(texts),
        parameters=body.parameters,
        content_hash=digest,
        note=body.note,
        labels=[],
        created_by=ctx.actor.name,
        created_at=ctx.now,
    )
    store.insert_version(ctx.conn, version)
    _move(ctx, version, LATEST, "")
    for label in dict.fromkeys(body.labels):
        _check_label(label)
        _move(ctx, version, label, body.note)
    node = lineage.LineageNode(
        id=version.id,
        kind="prompt_version",
        label=f"{version.name}@{version.number}",
        facts={"content_hash": digest},
    )
    lineage.record(ctx, node, [(newest.id, "follows")] if newest is not None else [])
    events.emit(ctx, "prompt.created", version.id, {"name": version.name, "number": version.number})
    return version.model_copy(update={"labels": sorted({LATEST, *body.labels})})


def get(ctx: Context, ref: str) -> PromptVersion:
    """Return the version that `ref` means: `name` (newest), `name@3`, `name@label` or a `pv_` id.

    Raises PromptNotFound.
    """
    version = _find(ctx, ref)
    if version is None:
        name, _, which = ref.partition("@")
        newest = store.get_newest(ctx.conn, name) if which else None
        if newest is not None:
            raise PromptNotFound(
                f"{name} has no version or label {which!r}.",
                hint=f"The newest is {name}@{newest.number}; all: tidemill prompts versions {name}",
            )
        near = nearest(name, store.list_names(ctx.conn))
        raise PromptNotFound(
            f"There is no prompt {ref!r}.",
            hint=f"Did you mean {', '.join(near)}?" if near else "`tidemill prompts list` shows what there is.",
        )
    return version


def list_prompts(ctx: Context, *, cursor: str | None, limit: int) -> Page[Prompt]:
    """Return every prompt with its newest version, by name."""
    versions = store.list_latest(ctx.conn, after=cursor, limit=limit + 1)
    items = [Prompt(name=v.name, versions=v.number, latest=v) for v in versions[:limit]]
    return Page(items=items, next_cursor=items[-1].name if len(versions) > limit else None)


def list_versions(ctx: Context, name: str, *, cursor: str | None, limit: int) -> Page[PromptVersion]:
    """Return the versions of one prompt, newest first."""
    get(ctx, name)
    return page(store.list_versions(ctx.conn, name, before=cursor, limit=limit + 1), limit)


def move_label(ctx: Context, name: str, label: str, body: LabelMove) -> LabelChange:
    """Put `label` on a version. Raises LabelReserved for `latest`, PromptNotFound."""
    _check_label(label)
    store.lock(ctx.conn, f"prompt {name}")
    version = get(ctx, f"{name}@{body.version}")
    return _move(ctx, version, label, body.note)


def list_label_changes(
    ctx: Context, name: str, label: str | None, *, cursor: str | None, limit: int
) -> Page[LabelChange]:
    """Return the moves of labels, newest first."""
    get(ctx, name)
    return page(store.list_changes(ctx.conn, name, label, before=cursor, limit=limit + 1), limit)


def render(ctx: Context, ref: str, variables: dict[str, str]) -> Rendered:
    """Return the prompt with its variables filled in. Raises VariablesMissing."""
    version = get(ctx, ref)
    return Rendered(
        version=version,
        messages=template.fill_messages(version.messages, variables) if version.messages is not None else None,
        text=template.fill(version.text, variables) if version.text is not None else None,
    )


def diff(ctx: Context, name: str, before: str, after: str) -> PromptDiff:
    """Return how version or label `after` differs from `before`."""
    old, new = get(ctx, f"{name}@{before}"), get(ctx, f"{name}@{after}")
    return PromptDiff(
        name=name,
        before=old.number,
        after=new.number,
        lines=template.diff(old, new),
        parameters_before=old.parameters,
        parameters_after=new.parameters,
        variables_added=[v for v in new.variables if v not in old.variables],
        variables_removed=[v for v in old.variables if v not in new.variables],
    )


def _find(ctx: Context, ref: str) -> PromptVersion | None:
    if ref.startswith("pv_"):
        return store.version_by_id(ctx.conn, ref)
    name, _, which = ref.partition("@")
    if not which:
        return store.get_newest(ctx.conn, name)
    number = parse_number(which) if which.isdecimal() else store.get_labelled_number(ctx.conn, name, which)
    return store.version_by_number(ctx.conn, name, number) if number is not None else None


def _check_label(label: str) -> None:
    if label == LATEST:
        raise LabelReserved("`latest` always stands on the newest version.", hint="Choose another label.")
    if label.isdecimal():
        raise LabelReserved(
            f"{label!r} cannot be a label: it already means a version by itself.",
            hint="Choose a word such as production or candidate.",
            param="label",
        )


def _move(ctx: Context, version: PromptVersion, label: str, note: str) -> LabelChange:
    change = LabelChange(
        id=new_id("plc"),
        name=version.name,
        label=label,
        version=version.number,
        before=store.get_labelled_number(ctx.conn, version.name, label),
        note=note,
        changed_by=ctx.actor.name,
        changed_at=ctx.now,
    )
    if change.before == change.version:
        return change
    store.put_label(ctx.conn, change)
    if label != LATEST:
        data = {"name": version.name, "label": label, "version": version.number, "before": change.before}
        events.emit(ctx, "prompt.label_moved", version.id, data)
    return change


def fill(messages: Iterable[Message], variables: Mapping[str, str]) -> list[Message]:
    """Chat messages with their variables filled in. Raises VariablesMissing."""
    return template.fill_messages(messages, variables)
