"""The manifest of a release: freeze its parts, hash them, and compare two."""

from typing import Any

from pydantic import ValidationError

from tidemill.core.value_faults import first_fault
from tidemill.core.wire import content_hash
from tidemill.prompts.types import PromptVersion
from tidemill.registry.types import ModelVersion
from tidemill.releases.types import (
    FrozenMessage,
    FrozenModel,
    FrozenPrompt,
    InvalidRelease,
    Manifest,
    ManifestChange,
    Sampling,
)


def freeze_model(version: ModelVersion) -> FrozenModel:
    """Return a model version as a release stores it."""
    return FrozenModel(
        version_id=version.id,
        ref=version.ref,
        kind=version.kind,
        format=version.format,
        files=version.files,
        content_hash=version.content_hash,
        chat_template_hash=version.chat_template_hash,
    )


def freeze_prompt(version: PromptVersion) -> FrozenPrompt:
    """Return a prompt version as a release stores it. Raises InvalidRelease for a text prompt."""
    ref = f"{version.name}@{version.number}"
    if version.messages is None:
        raise InvalidRelease(
            f"The prompt {ref} is plain text; a release needs a chat prompt.",
            hint=f"tidemill prompts create {version.name} --system '…'",
            param="prompt",
        )
    messages = [FrozenMessage(role=m.role, content=m.content) for m in version.messages]
    return FrozenPrompt(version_id=version.id, ref=ref, messages=messages)


def merge_sampling(prompt: PromptVersion | None, overrides: Sampling) -> Sampling:
    """Return the prompt's parameters with `overrides` applied. Raises InvalidRelease for those that do not fit."""
    if prompt is None or not prompt.parameters:
        return overrides
    unknown = sorted(set(prompt.parameters) - set(Sampling.model_fields))
    if unknown:
        raise InvalidRelease(
            f"The prompt {prompt.name}@{prompt.number} carries parameters that a release does not know: "
            f"{', '.join(unknown)}.",
            hint=f"Known: {', '.join(Sampling.model_fields)}.",
            param="prompt",
        )
    try:
        return Sampling.model_validate(prompt.parameters | overrides.model_dump(exclude_unset=True))
    except ValidationError as error:
        name, why = first_fault(error)
        raise InvalidRelease(
            f"The prompt {prompt.name}@{prompt.number} carries a parameter that does not fit: {name} {why}.",
            hint=f"Save the prompt with another value, or set {name} of the release.",
            param="prompt",
        ) from error


def hashed_content(manifest: Manifest) -> dict[str, Any]:
    """Return the hashed part of a manifest as plain JSON: without row ids and defaults.

    So the same parts have the same hash in every installation, and a new field does not change old hashes.
    """
    return manifest.model_dump(
        mode="json",
        exclude_defaults=True,
        exclude={"model": {"version_id"}, "adapter": {"version_id"}, "prompt": {"version_id"}},
    )


def manifest_hash(manifest: Manifest) -> str:
    """Return the content hash of a release."""
    return content_hash(hashed_content(manifest))


def diff(before: Manifest, after: Manifest) -> list[ManifestChange]:
    """Return the differences between two manifests, ordered by path."""
    old, new = _flatten(hashed_content(before)), _flatten(hashed_content(after))
    paths = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
    return [ManifestChange(path=path, before=old.get(path), after=new.get(path)) for path in paths]


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        items = [(str(key), entry) for key, entry in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        items = [(str(i), entry) for i, entry in enumerate(value)]
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, entry in items:
        flat |= _flatten(entry, f"{prefix}.{key}" if prefix else key)
    return flat
