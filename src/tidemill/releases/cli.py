"""`tidemill releases`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from tidemill.core.errors import BadRequest
from tidemill.core.parsing import parse_json
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, terminal
from tidemill.core.value_faults import first_fault
from tidemill.releases.sdk import Releases
from tidemill.releases.types import Approval, ApprovalNotFound, Sampling

app = typer.Typer(help="Releases, their evidence and their approvals.", no_args_is_help=True)

Ref = Annotated[str, typer.Argument(help="name, name@3 or an id.")]
Target = Annotated[str, typer.Argument(help="A release (name, name@3, an id) or an approval's id.")]
EnvironmentOption = Annotated[str, typer.Option("--env", "-e", help="dev, qa or prod.")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept for ever.")]

_COLUMNS: list[Column] = [
    ("release", "ref"),
    ("model", lambda r: r.manifest.model.ref),
    ("adapter", lambda r: r.manifest.adapter.ref if r.manifest.adapter else None),
    ("prompt", lambda r: r.manifest.prompt.ref if r.manifest.prompt else None),
    ("by", "created_by"),
    ("at", "created_at"),
    ("note", "note"),
]

_DETAIL_COLUMNS: list[Column] = [
    *_COLUMNS[:4],
    ("sampling", lambda r: r.manifest.sampling.model_dump(exclude_defaults=True)),
    ("content", "content_hash"),
    ("chat template", lambda r: r.manifest.model.chat_template_hash),
    ("id", "id"),
    *_COLUMNS[4:],
]

_APPROVAL_COLUMNS: list[Column] = [
    ("approval", "id"),
    ("release", "release"),
    ("environment", "environment"),
    ("state", "state"),
    ("gates", "verdict"),
    ("asked by", "requested_by_name"),
    ("decided by", "decided_by_name"),
    ("reason", "reason"),
    ("override", "override"),
    ("lapses", "expires_at"),
]

_APPROVAL_BRIEF: list[Column] = [
    ("to", "environment"),
    ("state", "state"),
    ("asked by", "requested_by_name"),
    ("decided by", "decided_by_name"),
    ("reason", "reason"),
]

_VERDICT_COLUMNS: list[Column] = [("gate", "gate"), ("verdict", "verdict"), ("at", "at"), ("summary", "summary")]


def _sampling(**options: Any) -> Sampling:
    try:
        return Sampling.model_validate({k: v for k, v in options.items() if v is not None})
    except ValidationError as error:
        name, reason = first_fault(error)
        raise BadRequest(f"--{name.replace('_', '-')}: {reason}.") from error


def _json_file(path: Path | None) -> Any:
    if path is None:
        return None
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path} cannot be read as JSON: {error}.", hint="Check the path and its content.") from error


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The release's name.")],
    model: Annotated[str, typer.Option(help="Model version: name, name@3, name@alias or an id.")],
    adapter: Annotated[str | None, typer.Option(help="Adapter version.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Prompt version: name, name@2 or name@label.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 always takes the likeliest token.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Share of probability to draw from.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Ends the answer.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sampling.")] = None,
    response_format: Annotated[Path | None, typer.Option(help="JSON file with OpenAI's response_format.")] = None,
    note: Annotated[str, typer.Option(help="What is new and why.")] = "",
) -> None:
    """Freeze a model version, a prompt and sampling into a release. The same content changes nothing."""
    term = terminal(ctx)
    sampling = _sampling(
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        stop=stop,
        seed=seed,
        response_format=_json_file(response_format),
    )
    releases = Releases(term.http)
    term.show(
        releases.create(name, model=model, adapter=adapter, prompt=prompt, sampling=sampling, note=note),
        _DETAIL_COLUMNS,
    )


@app.command("list")
def list_(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Option(help="Only releases of this name.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """Releases, newest first."""
    term = terminal(ctx)
    empty = (
        "No releases yet. Make one: tidemill models add smollm2, then tidemill releases create hello --model smollm2"
    )
    empty = f"There is no release {name!r}. `tidemill releases list` shows all." if name else empty
    term.table(Releases(term.http).list(name=name, cursor=cursor, limit=limit), _COLUMNS, empty=empty)


@app.command()
def show(ctx: typer.Context, ref: Ref) -> None:
    """One release, with its verdicts and approvals."""
    term = terminal(ctx)
    releases = Releases(term.http)
    release = releases.get(ref)
    term.show(release, _DETAIL_COLUMNS)
    if not term.as_json:
        term.table(releases.verdicts(release.id), _VERDICT_COLUMNS, empty="\nNo gate has judged it.", title="\nGates")
        approvals = releases.approvals(release=release.id)
        term.table(approvals, _APPROVAL_BRIEF, empty="Nobody has asked for approval.", title="\nApprovals")
        ended = [a.environment for a in approvals.items if a.state in ("withdrawn", "expired")]
        _print_reasons(term, releases, release.id, ended)


@app.command()
def diff(ctx: typer.Context, before: Ref, after: Ref) -> None:
    """What differs between two releases."""
    term = terminal(ctx)
    release_diff = Releases(term.http).diff(before, after)
    if term.as_json:
        term.show(release_diff)
        return
    columns: list[Column] = [("part", "path"), (release_diff.before, "before"), (release_diff.after, "after")]
    term.table(release_diff.changes, columns, empty=f"{release_diff.before} and {release_diff.after} hold the same.")


@app.command()
def evidence(ctx: typer.Context, ref: Ref) -> None:
    """The evidence page: contents, verdicts, approvals, lineage. Redirect it to a file for plain Markdown."""
    term = terminal(ctx)
    page = Releases(term.http).evidence(ref)
    if term.as_json:
        term.show(page)
    elif term.out.is_terminal:
        from rich.markdown import Markdown  # noqa: PLC0415 - brings pygments, which nothing else needs

        term.out.print(Markdown(page.markdown))
    else:
        term.out.print(page.markdown, markup=False, highlight=False, soft_wrap=True, end="")


@app.command()
def clearance(ctx: typer.Context, ref: Ref, environment: EnvironmentOption = "prod") -> None:
    """Whether a release may go to an environment, and if not, why not.

    Exits 0 when it may, 1 when it may not, 2 when all that is missing is a gate that was inconclusive.
    """
    term = terminal(ctx)
    columns: list[Column] = [
        ("allowed", "allowed"),
        ("environment", "environment"),
        ("gates", "verdict"),
        ("reasons", lambda c: "\n".join(c.reasons) or None),
    ]
    answer = Releases(term.http).clearance(ref, environment)
    term.show(answer, columns)
    if not answer.allowed:
        raise typer.Exit(2 if answer.verdict == "inconclusive" and len(answer.reasons) == 1 else 1)


@app.command()
def request(
    ctx: typer.Context,
    ref: Ref,
    environment: EnvironmentOption = "prod",
    note: Annotated[str, typer.Option(help="What the approver should know.")] = "",
    valid_hours: Annotated[int, typer.Option(min=1, help="After this the request, or the approval, lapses.")] = 168,
) -> None:
    """Request approval of a release for an environment."""
    term = terminal(ctx)
    approval = Releases(term.http).request(ref, environment=environment, note=note, valid_hours=valid_hours)
    term.show(approval, _APPROVAL_COLUMNS)


@app.command()
def approvals(
    ctx: typer.Context,
    release: Annotated[str | None, typer.Option(help="Only for this release.")] = None,
    environment: Annotated[str | None, typer.Option("--env", "-e", help="Only for this environment.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """Approvals in their present state, newest first."""
    term = terminal(ctx)
    page = Releases(term.http).approvals(release=release, environment=environment, cursor=cursor, limit=limit)
    empty = "Nobody has asked for approval. Ask: tidemill releases request NAME"
    term.table(page, _APPROVAL_COLUMNS, empty=empty)


@app.command()
def approve(
    ctx: typer.Context,
    target: Target,
    reason: ReasonOption,
    environment: EnvironmentOption = "prod",
    override: Annotated[str | None, typer.Option(help="Why it may go without a passed gate.")] = None,
) -> None:
    """Approve a request of somebody else. The gates' verdict is shown first."""
    term = terminal(ctx)
    releases = Releases(term.http)
    approval = _open_request(releases, target, environment)
    _show_verdicts(term, releases, approval)
    term.show(releases.approve(approval.id, reason=reason, override=override), _APPROVAL_COLUMNS)


@app.command()
def reject(ctx: typer.Context, target: Target, reason: ReasonOption, environment: EnvironmentOption = "prod") -> None:
    """Reject a request."""
    term = terminal(ctx)
    releases = Releases(term.http)
    approval = _open_request(releases, target, environment)
    term.show(releases.reject(approval.id, reason=reason), _APPROVAL_COLUMNS)


@app.command()
def withdraw(ctx: typer.Context, target: Target, reason: ReasonOption, environment: EnvironmentOption = "prod") -> None:
    """Take back an approval or a request: it is promoted no further there. What is live stays, and is named."""
    term = terminal(ctx)
    releases = Releases(term.http)
    approval = _find_approval(releases, target, environment, ("approved", "pending"))
    term.show(releases.withdraw(approval.id, reason=reason), _APPROVAL_COLUMNS)
    _print_reasons(term, releases, approval.release_id, [approval.environment])


def _print_reasons(term: Terminal, releases: Releases, release_id: str, environments: Sequence[str]) -> None:
    """Print why a release may go no further in these environments, and where it is live all the same."""
    if not term.as_json:
        for environment in dict.fromkeys(environments):
            for reason in releases.clearance(release_id, environment).reasons:
                term.print(f"{environment}: {reason}")


def _open_request(releases: Releases, target: str, environment: str) -> Approval:
    return _find_approval(releases, target, environment, ("pending",))


def _find_approval(releases: Releases, target: str, environment: str, states: Sequence[str]) -> Approval:
    if target.startswith("apr_"):
        return releases.approval(target)
    release = releases.get(target)
    for approval in releases.approvals(release=release.id, environment=environment):
        if approval.state in states:
            return approval
    raise ApprovalNotFound(
        f"No request for {release.ref} to go to {environment} is {' or '.join(states)}.",
        hint=f"Ask first: tidemill releases request {release.ref} --env {environment}",
    )


def _show_verdicts(term: Terminal, releases: Releases, approval: Approval) -> None:
    if not term.as_json:
        verdicts = releases.verdicts(approval.release_id)
        term.table(verdicts, _VERDICT_COLUMNS, empty="No gate has judged it.", title=f"Gates on {approval.release}")
        term.print("")
