"""`tidemill access`."""

from datetime import datetime, timedelta
from typing import Annotated

import typer

from tidemill.access.sdk import Access
from tidemill.core.actors import ROLES, Role
from tidemill.core.errors import BadRequest
from tidemill.core.terminal import Column, CursorOption, LimitOption, terminal
from tidemill.core.wire import utc_now

app = typer.Typer(help="People, roles and API keys.", no_args_is_help=True)

MOST_DAYS = 36_500
"""The longest life of a key in days: a hundred years."""

Roles = Annotated[list[str] | None, typer.Option("--role", help=f"One of {', '.join(ROLES)}; give it again for more.")]
PersonArgument = Annotated[str, typer.Argument(help="The person's name.")]


def _roles(names: list[str]) -> list[Role]:
    roles = [role for role in ROLES if role in names]
    unknown = sorted(set(names) - set(ROLES))
    if unknown:
        raise BadRequest(f"There is no role {unknown[0]!r}.", hint=f"Roles are {', '.join(ROLES)}.")
    return roles


@app.command()
def whoami(ctx: typer.Context) -> None:
    """Who the key in use belongs to."""
    term = terminal(ctx)
    term.show(Access(term.http).whoami())


@app.command()
def people(ctx: typer.Context) -> None:
    """List all people, by name."""
    term = terminal(ctx)
    columns: list[Column] = [
        ("name", "name"),
        ("display name", "display_name"),
        ("e-mail", "email"),
        ("roles", "roles"),
        ("disabled", "disabled"),
        ("since", "created_at"),
    ]
    empty = "Nobody yet. Add somebody: tidemill access add ana --role developer"
    term.table(Access(term.http).people(), columns, empty=empty)


@app.command()
def add(
    ctx: typer.Context,
    name: PersonArgument,
    role: Roles = None,
    display_name: Annotated[str | None, typer.Option(help="As people write it.")] = None,
    email: Annotated[str | None, typer.Option(help="For notices.")] = None,
) -> None:
    """Create a person."""
    term = terminal(ctx)
    roles = _roles(role or ["viewer"])
    term.show(Access(term.http).create_person(name, roles, display_name=display_name, email=email))


@app.command()
def change(
    ctx: typer.Context,
    name: PersonArgument,
    role: Roles = None,
    disabled: Annotated[bool | None, typer.Option("--disable/--enable", help="End or restore all access.")] = None,
) -> None:
    """Change a person's roles, or disable them."""
    term = terminal(ctx)
    term.show(Access(term.http).update_person(name, roles=_roles(role) if role else None, disabled=disabled))


@app.command()
def keys(
    ctx: typer.Context,
    person: Annotated[str | None, typer.Option(help="Only this person's.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """API keys, newest first, without their secrets."""
    term = terminal(ctx)
    columns: list[Column] = [
        ("id", "id"),
        ("person", "person"),
        ("name", "name"),
        ("prefix", "hint"),
        ("expires", "expires_at"),
        ("revoked", "revoked_at"),
        ("last used", "last_used_at"),
    ]
    term.table(Access(term.http).keys(person=person, cursor=cursor, limit=limit), columns, empty="No keys yet.")


@app.command("key")
def create_key(
    ctx: typer.Context,
    person: PersonArgument,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    days: Annotated[
        float | None, typer.Option(help="Days until it expires, such as 30 or 0.5; without, it does not.")
    ] = None,
) -> None:
    """Create a key. Its secret is shown only now."""
    term = terminal(ctx)
    created = Access(term.http).create_key(person, name=name, expires_at=_expiry(days))
    if term.as_json:
        term.show(created)
        return
    term.out.print(created.secret, markup=False, highlight=False, soft_wrap=True)
    term.err.print("Keep it: it is not shown again. Use it with TIDEMILL_API_KEY.", style="dim")


def _expiry(days: float | None) -> datetime | None:
    if days is None:
        return None
    if not 0 < days <= MOST_DAYS:  # nan is refused as well
        raise BadRequest(
            f"A key cannot live for {days:g} days.",
            hint=f"Give more than 0 and at most {MOST_DAYS} days; without --days it does not expire.",
        )
    return utc_now() + timedelta(days=days)


@app.command()
def revoke(ctx: typer.Context, key_id: Annotated[str, typer.Argument(help="The key's id.")]) -> None:
    """Revoke a key at once."""
    term = terminal(ctx)
    term.show(Access(term.http).revoke_key(key_id))
