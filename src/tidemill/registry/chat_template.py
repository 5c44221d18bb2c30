"""Finding a model's chat template, and giving equal templates equal hashes wherever they are kept."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidemill.core.parsing import parse_json
from tidemill.registry.types import CorruptModelFile


def template_hash(template: str | None) -> str | None:
    """Return the hash of a template; None for none.

    Line ends become `\\n` and one line end at the very end is dropped: Jinja does both before it renders, so
    templates that differ only there give the same text.
    """
    if template is None:
        return None
    plain = template.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    return "sha256:" + hashlib.sha256(plain.encode()).hexdigest()


def find_template(files: Mapping[str, Path]) -> str | None:
    """Return the chat template of a safetensors or PEFT folder, given as path in the folder -> local file.

    `chat_template.jinja` wins over `tokenizer_config.json`, as in transformers.
    """
    jinja = files.get("chat_template.jinja")
    if jinja is not None:
        return jinja.read_text(encoding="utf-8")
    for name in ("tokenizer_config.json", "chat_template.json"):
        if name in files:
            template = _configured(read_json(files[name], name).get("chat_template"))
            if template is not None:
                return template
    return None


def _configured(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list):  # several named templates
        named = {e.get("name"): e.get("template") for e in value if isinstance(e, dict)}
        default = named.get("default")
        return default if isinstance(default, str) else None
    return None


def read_json(path: Path, label: str) -> dict[str, Any]:
    """Return a JSON object from a side file. Raises CorruptModelFile."""
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, ValueError) as error:
        raise CorruptModelFile(
            f"{label} is not JSON: {error}.", hint="Export the model again.", param="files"
        ) from error
    if not isinstance(value, dict):
        raise CorruptModelFile(f"{label} is not a JSON object.", hint="Export the model again.", param="files")
    return value
