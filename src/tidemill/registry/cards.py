"""The model card: metadata with Hugging Face's names, prose in Markdown, both drafted from what is known."""

import json
from typing import Any

from tidemill.core.terminal import size
from tidemill.registry.types import Card, Format, Kind, ModelFacts, ModelVersion, Relation

RELATIONS: dict[Relation, str] = {
    "adapter_of": "adapter",
    "finetuned_from": "finetune",
    "merged_from": "merge",
    "converted_from": "quantized",
    "quantised_from": "quantized",
}
"""Our word for how a version came from its parent -> Hugging Face's `base_model_relation`."""

_LIBRARIES: dict[Format, str] = {"gguf": "gguf", "safetensors": "transformers", "peft": "peft"}


def draft(
    name: str,
    *,
    kind: Kind,
    form: Format,
    facts: ModelFacts,
    licence: str | None,
    parents: list[tuple[str, Relation]],
    declared: Card | None,
) -> Card:
    """Return a card made of the facts; what `declared` says wins.

    `parents` are the references of model versions with their relation.
    """
    metadata: dict[str, Any] = {
        "model_name": name,
        "library_name": _LIBRARIES[form],
        "pipeline_tag": "text-generation",
        "tags": [tag for tag in (kind, form, facts.quantisation) if tag],
    }
    if licence:
        metadata["license"] = licence.lower()
    bases = [(ref, RELATIONS[relation]) for ref, relation in parents if relation in RELATIONS]
    if bases:
        metadata["base_model"] = [ref for ref, _ in bases]
        metadata["base_model_relation"] = bases[0][1]
    elif facts.base_model:
        metadata["base_model"] = [facts.base_model]
        metadata["base_model_relation"] = "adapter"
    metadata |= declared.metadata if declared is not None else {}
    text = declared.text if declared is not None and declared.text else f"# {name}\n"
    return Card(text=text, metadata=metadata)


def render(version: ModelVersion) -> str:
    """Return the card as a Markdown file with its metadata in front, as model hubs expect it."""
    # A JSON value is a YAML value, so the front matter needs no YAML library.
    front = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in sorted(version.card.metadata.items())]
    rows = [
        ("Version", version.ref),
        ("Kind", version.kind),
        ("Format", version.format),
        ("Size", size(version.size)),
        ("Content", version.content_hash),
        ("Chat template", version.chat_template_hash),
        ("Licence", version.licence),
        *((key.replace("_", " ").capitalize(), value) for key, value in version.facts.model_dump().items()),
    ]
    table = [f"| {name} | {_cell(value)} |" for name, value in rows if value not in (None, [])]
    files = [f"| {f.path} | {size(f.size)} | `{f.hash}` |" for f in version.files]
    return "\n".join(
        [
            "---",
            *front,
            "---",
            version.card.text.strip(),
            "",
            "## Technical specifications",
            "",
            "| | |",
            "|---|---|",
            *table,
            "",
            "| File | Size | Hash |",
            "|---|---|---|",
            *files,
            "",
        ]
    )


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
