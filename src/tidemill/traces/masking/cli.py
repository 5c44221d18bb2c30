"""`tidemill masking`."""

from typing import Annotated, Any, cast

import typer

from tidemill.core.errors import BadRequest
from tidemill.core.terminal import Column, terminal
from tidemill.data.types import PII_KINDS, PiiKind
from tidemill.traces.masking.sdk import MaskingRules

app = typer.Typer(help="What is masked in traces before they are stored.", no_args_is_help=True)


def _scope(rule: Any) -> str:
    if rule.kinds:
        return ", ".join(rule.kinds)
    return f"/{rule.pattern}/" if rule.pattern else f"keys {', '.join(rule.keys)}"


def _replacements(rule: Any) -> str:
    return ", ".join(f"[{kind.upper()}]" for kind in rule.kinds) or str(rule.replacement)


_COLUMNS: list[Column] = [
    ("id", "id"),
    ("masks", _scope),
    ("as", _replacements),
    ("by", "created_by"),
    ("since", "created_at"),
    ("note", "note"),
]


@app.command("list")
def list_rules(ctx: typer.Context) -> None:
    """List the setting and all rules."""
    term = terminal(ctx)
    masking = MaskingRules(term.http).state()
    if term.as_json:
        term.show(masking)
        return
    if not masking.content:
        term.print("Inputs and outputs are not stored (TIDEMILL_TRACE_CONTENT=off).")
    if masking.always:
        term.print(f"Always masked by TIDEMILL_TRACE_MASK: {', '.join(masking.always)}.")
    term.table(masking.rules, _COLUMNS, empty="No rules. Add one: tidemill masking add --kind email --kind phone")


@app.command()
def add(
    ctx: typer.Context,
    kind: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(PII_KINDS)}, or all.")] = None,
    pattern: Annotated[str | None, typer.Option(help="A regular expression in RE2's syntax.")] = None,
    key: Annotated[list[str] | None, typer.Option(help="Name of an attribute or of a key in JSON; * allowed.")] = None,
    replacement: Annotated[str, typer.Option(help="Instead of a match or of a key's value.")] = "[MASKED]",
    note: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Mask kinds of personal data, what a pattern matches, or the values of keys, in all spans from now on."""
    term = terminal(ctx)
    kinds = list(PII_KINDS) if kind == ["all"] else kind or []
    unknown = [word for word in kinds if word not in PII_KINDS]
    if unknown:
        raise BadRequest(f"There is no kind {unknown[0]!r}.", hint=f"Kinds are {', '.join(PII_KINDS)}.")
    rule = MaskingRules(term.http).add(
        kinds=cast(list[PiiKind], kinds), pattern=pattern, keys=key or [], replacement=replacement, note=note
    )
    term.show(rule, _COLUMNS)


@app.command()
def remove(ctx: typer.Context, rule: Annotated[str, typer.Argument(help="The rule's id.")]) -> None:
    """Remove a rule."""
    term = terminal(ctx)
    MaskingRules(term.http).remove(rule)
    term.print(f"{rule} is gone. What was masked stays masked.")


@app.command("try")
def attempt(ctx: typer.Context, text: Annotated[str, typer.Argument(help="A text to try the rules on.")]) -> None:
    """Show a text as the rules would store it."""
    term = terminal(ctx)
    masked = MaskingRules(term.http).attempt(text)
    if term.as_json:
        term.show(masked)
    else:
        term.out.print(masked.text, markup=False, highlight=False)
