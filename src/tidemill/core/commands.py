"""A command group that loads a command's module when the command is called, and not before."""

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from tidemill.core.imports import import_at_once


class Lazy(NamedTuple):
    """Where a command lives: a function, or a `typer.Typer` with commands of its own."""

    module: str
    attribute: str
    help: str
    """What `--help` of the group says, without loading the module. A test compares it with the command's own."""


class _Commands(MutableMapping[str, Any]):
    """The commands of a group by name. Looking one up imports it; going over the names does not."""

    def __init__(self, table: Mapping[str, Lazy], loaded: MutableMapping[str, Any]) -> None:
        self.table = {name: entry for name, entry in table.items() if " " not in name}
        self.grafted = {name: entry for name, entry in table.items() if " " in name}
        self.loaded = loaded

    def __getitem__(self, name: str) -> Any:
        if name not in self.loaded:
            command = self.loaded[name] = load(name, self.table[name])
            for path, entry in self.grafted.items():
                group, _, child = path.partition(" ")
                if group == name:
                    command.commands[child] = load(child, entry)
        return self.loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self.loaded[name] = command

    def __delitem__(self, name: str) -> None:
        self.table.pop(name, None)
        self.loaded.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        yield from self.table
        yield from (name for name in self.loaded if name not in self.table)

    def __len__(self) -> int:
        return len({*self.table, *self.loaded})

    def stubs(self) -> dict[str, Any]:
        """Commands that only know their name and help, for a list of all. What is loaded is itself."""
        return {
            name: self.loaded[name] if name in self.loaded else TyperCommand(name=name, help=self.table[name].help)
            for name in self
        }


def load(name: str, entry: Lazy) -> Any:
    """Import a command and return it as the parser needs it."""
    command = getattr(import_at_once(entry.module), entry.attribute)
    if not isinstance(command, typer.Typer):
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
        alone.command(name)(command)
        command = alone
        return typer.main.get_command(command)
    holder = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    holder.add_typer(command, name=name)
    return typer.main.get_group(holder).commands[name]


class LazyGroup(TyperGroup):
    """A group over a table of names. A subclass gives the table.

    A name of two words is a command that another module adds to a group: it loads with the group.
    """

    table: Mapping[str, Lazy] = {}

    def __init__(self, *, commands: Any = None, **attributes: Any) -> None:
        super().__init__(commands=commands, **attributes)
        self.commands: Any = _Commands(self.table, dict(commands or {}))

    def list_commands(self, ctx: Any) -> list[str]:
        """Return all names, in the order of the table; those that are no part of it follow."""
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. What an option must be is said as everywhere else, not in the words of pydantic."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            if type(error.__cause__).__name__ == "ValidationError":
                error.message = import_at_once("tidemill.core.value_faults").first_fault(error.__cause__)[1]
            raise

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help with the help lines of the table."""
        self._listed().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Complete with the names of the table."""
        return TyperGroup.shell_complete(self._listed(), ctx, incomplete)

    def _listed(self) -> TyperGroup:
        """Return this group as a plain one, with stubs for commands that are not loaded."""
        return TyperGroup(
            name=self.name,
            commands=self.commands.stubs(),
            params=self.params,
            callback=self.callback,
            help=self.help,
            epilog=self.epilog,
            rich_markup_mode=self.rich_markup_mode,
            no_args_is_help=self.no_args_is_help,
        )
