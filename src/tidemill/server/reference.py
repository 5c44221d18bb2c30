"""Reference pages generated from the code: settings, commands, OpenAPI. `make reference` writes them."""

import json
import sys
from pathlib import Path
from typing import Any

import typer
from pydantic_core import PydanticUndefined

from tidemill.cli import app
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.pipelines.types import PipelineSpec
from tidemill.server.app import build_api, build_kernel


def build_openapi(kernel: Kernel) -> dict[str, Any]:
    """Return the OpenAPI document of the management API."""
    return build_api(kernel).openapi()


def render_settings() -> str:
    """Return the page of settings: variable, default and meaning of each."""
    rows = [
        "# Settings",
        "",
        "Each is an environment variable.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        has_default = field.default is not PydanticUndefined
        default = (
            f"`{field.default}`"
            if has_default and field.default is not None
            else ("see right" if not has_default else "-")
        )
        rows.append(f"| `TIDEMILL_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def render_commands() -> str:
    """Return the page of commands: arguments and options of each."""
    lines = [
        "# Commands",
        "",
        "`--json`, anywhere on the line, prints JSON. Every command explains itself with `--help`.",
        "",
    ]
    root: Any = typer.main.get_command(app)
    _describe_group(root, "tidemill", lines)
    return "\n".join(lines).rstrip() + "\n"


def _describe_group(command: Any, name: str, lines: list[str]) -> None:
    children = getattr(command, "commands", None)
    if children is None:
        _describe_command(command, name, lines)
        return
    if name != "tidemill":
        lines += [f"## {name}", "", command.help or "", ""]
    for child in sorted(children):
        if not children[child].hidden:
            _describe_group(children[child], f"{name} {child}", lines)


def _describe_command(command: Any, name: str, lines: list[str]) -> None:
    visible = [p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    arguments = [p for p in visible if p.param_type_name == "argument"]
    arguments_text = [_argument_name(p) if p.required else f"[{_argument_name(p)}]" for p in arguments]
    lines += [f"### {' '.join([name, *arguments_text])}", "", (command.help or "").strip(), ""]
    for param in visible:
        label = _argument_name(param) if param in arguments else ", ".join([*param.opts, *param.secondary_opts])
        lines.append(f"- `{label}` {getattr(param, 'help', None) or ''}".rstrip())
    if visible:
        lines.append("")


def _argument_name(param: Any) -> str:
    return str(param.metavar or param.name).upper()


def render_pipeline_schema() -> str:
    """Return the JSON schema of `tidemill.yaml`, for editors."""
    return json.dumps(PipelineSpec.model_json_schema(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def write(root: Path, home: Path) -> None:
    """Write all reference files below `root`. `home` is the home of a temporary kernel."""
    folder = root / "docs" / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.md").write_text(render_settings(), encoding="utf-8")
    (folder / "cli.md").write_text(render_commands(), encoding="utf-8")
    (folder / "tidemill.schema.json").write_text(render_pipeline_schema(), encoding="utf-8")
    kernel = build_kernel(Settings(home=home))
    try:
        text = json.dumps(build_openapi(kernel), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        (root / "openapi.json").write_text(text, encoding="utf-8")
    finally:
        kernel.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
