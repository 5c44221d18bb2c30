"""`tidemill ask`, `tidemill chat` and `tidemill calls`."""

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.text import Text

from tidemill.core.errors import BadRequest, TidemillError
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, duration, terminal
from tidemill.gateway.accumulator import CompletionAccumulator
from tidemill.gateway.sdk import Gateway, Messages

app = typer.Typer(help="Every call through /v1.", no_args_is_help=True)

ModelArgument = Annotated[str, typer.Argument(help="env/name, a release (name, name@3) or model@alias.")]
VariableOption = Annotated[
    list[str] | None, typer.Option("--variable", help="A value for the release's prompt, name=value.")
]

_COLUMNS: list[Column] = [
    ("call", "id"),
    ("model", "model"),
    ("status", lambda c: c.status if c.error_code is None else f"{c.status} ({c.error_code})"),
    ("tokens", lambda c: f"{'?' if c.prompt_tokens is None else c.prompt_tokens} + {c.completion_tokens}"),
    ("first token", lambda c: f"{c.ttft_ms:.0f} ms" if c.ttft_ms is not None else None),
    ("took", lambda c: duration(c.latency_ms / 1000)),
    ("caller", "caller_name"),
    ("at", "started_at"),
]


@app.command("list")
def list_calls(
    ctx: typer.Context,
    environment: Annotated[str | None, typer.Option("--env", help="Only calls to this environment.")] = None,
    release: Annotated[str | None, typer.Option(help="Only calls answered by it: name, name@3 or an id.")] = None,
    caller: Annotated[str | None, typer.Option(help="Only calls of this person.")] = None,
    user: Annotated[str | None, typer.Option(help="Only calls for this user of the application.")] = None,
    status: Annotated[str | None, typer.Option(help="ok, error or aborted.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """Calls, newest first."""
    term = terminal(ctx)
    calls = Gateway(term.http).calls(
        environment=environment,
        release_id=term.http.release_id(release),
        caller=caller,
        user=user,
        status=status,
        cursor=cursor,
        limit=limit,
    )
    term.table(calls, _COLUMNS, empty="No calls yet. Ask something: tidemill ask MODEL 'question'.")


@app.command()
def show(ctx: typer.Context, call: Annotated[str, typer.Argument(help="Id of a reply, or its x-request-id.")]) -> None:
    """One call with all that is known about it."""
    term = terminal(ctx)
    term.show(Gateway(term.http).call(call))


def ask(
    ctx: typer.Context,
    model: ModelArgument,
    question: Annotated[str, typer.Argument(help="The question; - for standard input.")],
    system: Annotated[str | None, typer.Option(help="A system message before the question.")] = None,
    variable: VariableOption = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None,
) -> None:
    """Ask a model one question; the answer appears as it is written."""
    term = terminal(ctx)
    messages: Messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": sys.stdin.read() if question == "-" else question})
    fields = {"max_tokens": max_tokens, "temperature": temperature}
    fields_set = {name: value for name, value in fields.items() if value is not None}
    variables = _variables(variable)
    if variables:
        fields_set["prompt_variables"] = variables  # type: ignore[assignment]
    gateway = Gateway(term.working_http)
    if term.as_json:
        sys.stdout.write(json.dumps(gateway.ask(model, messages, **fields_set), ensure_ascii=False, indent=2) + "\n")
        return
    _write(gateway.stream(model, messages, **fields_set))


def chat(
    ctx: typer.Context,
    model: ModelArgument,
    system: Annotated[str | None, typer.Option(help="A system message at the start.")] = None,
    variable: VariableOption = None,
) -> None:
    """Talk with a model; an empty line or Ctrl-D ends it."""
    term = terminal(ctx)
    gateway = Gateway(term.working_http)
    messages: Messages = [{"role": "system", "content": system}] if system else []
    variables = _variables(variable)
    fields: dict[str, Any] = {"prompt_variables": variables} if variables else {}
    while (question := _read_question(term)) is not None:
        messages.append({"role": "user", "content": question})
        try:
            answer = _write(gateway.stream(model, messages, **fields))
        except TidemillError as error:
            term.err.print(f"{error.message} {error.hint or ''}")
            messages.pop()
        else:
            messages.append({"role": "assistant", "content": answer})


def _read_question(term: Terminal) -> str | None:
    try:
        question = term.out.input(Text("you> ", style="bold")).strip()
    except EOFError:
        return None
    return question or None


def _variables(assignments: list[str] | None) -> dict[str, str]:
    pairs = {}
    for one in assignments or []:
        name, sign, value = one.partition("=")
        if not sign:
            raise BadRequest(f"--variable {one!r} has no `=`.", hint="Write --variable name=value.")
        pairs[name] = value
    return pairs


def _write(chunks: Iterator[dict[str, Any]]) -> str:
    answer = CompletionAccumulator()
    for chunk in chunks:
        answer.add(chunk)
        for choice in chunk.get("choices", ()):
            sys.stdout.write((choice.get("delta") or {}).get("content") or "")
            sys.stdout.flush()
    sys.stdout.write("\n")
    return answer.text()
