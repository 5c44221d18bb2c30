"""The manifest of a release: freezing its parts, hashing them, and telling two apart."""

from typing import Any

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
    """A model version as a release holds it."""
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
    """A prompt version as a release holds it. Raises InvalidRelease for a text prompt."""
    ref = f"{version.name}@{version.number}"
    if version.messages is None:
        raise InvalidRelease(
            f"The prompt {ref} is plain text; a release needs a chat prompt.",
            hint=f"tidemill prompts create {version.name} --system '…'",
            param="prompt",
        )
    messages = [FrozenMessage(role=m.role, content=m.content) for m in version.messages]
    return FrozenPrompt(version_id=version.id, ref=ref, messages=messages)


def merge_sampling(prompt: PromptVersion | None, given: Sampling) -> Sampling:
    """What is given, over the parameters that travel with the prompt. Raises InvalidRelease for unknown ones."""
    if prompt is None or not prompt.parameters:
        return given
    unknown = sorted(set(prompt.parameters) - set(Sampling.model_fields))
    if unknown:
        raise InvalidRelease(
            f"The prompt {prompt.name}@{prompt.number} carries parameters that a release does not know: "
            f"{', '.join(unknown)}.",
            hint=f"Known: {', '.join(Sampling.model_fields)}.",
            param="prompt",
        )
    return Sampling.model_validate(prompt.parameters | given.model_dump(exclude_unset=True))


def content(manifest: Manifest) -> dict[str, Any]:
    """What shapes an answer, as plain JSON: no row ids, and nothing that is left at its default.

    So the same parts have the same hash in every installation, and a field that comes later does not change it.
    """
    return manifest.model_dump(
        mode="json",
        exclude_defaults=True,
        exclude={"model": {"version_id"}, "adapter": {"version_id"}, "prompt": {"version_id"}},
    )


def manifest_hash(manifest: Manifest) -> str:
    """The one hash of a release."""
    return content_hash(content(manifest))


def diff(before: Manifest, after: Manifest) -> list[ManifestChange]:
    """Every place where two manifests differ."""
    old, new = _flat(content(before)), _flat(content(after))
    paths = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
    return [ManifestChange(path=path, before=old.get(path), after=new.get(path)) for path in paths]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        items = [(str(key), entry) for key, entry in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        items = [(str(i), entry) for i, entry in enumerate(value)]
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, entry in items:
        flat |= _flat(entry, f"{prefix}.{key}" if prefix else key)
    return flat
