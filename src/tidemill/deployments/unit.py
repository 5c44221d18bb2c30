"""What one pool of engines serves: a release, or a bare model version; and what a model name means."""

from dataclasses import dataclass, field
from typing import Any

from tidemill.core.errors import NotFound
from tidemill.core.kernel import Context
from tidemill.deployments import store
from tidemill.deployments.retirements import service as retirements
from tidemill.gateway.types import ModelCard, Target, unknown_model
from tidemill.prompts.types import Message
from tidemill.registry import service as registry
from tidemill.registry.types import InvalidModelReference, ModelVersion
from tidemill.releases import service as releases
from tidemill.releases.types import ModelNotServable, Release

_LISTED = 500


@dataclass(frozen=True)
class Unit:
    """A release or a model version, with all that its engines and their requests need."""

    key: str
    """The id of the release or of the model version."""
    label: str
    model: ModelVersion
    adapter: ModelVersion | None = None
    release_id: str | None = None
    prompt: tuple[Message, ...] = ()
    prompt_ref: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)

    def target(self, base_url: str, replica_id: str, environment: str | None, deployment_id: str | None) -> Target:
        """A replica of this unit as the gateway sees it."""
        return Target(
            base_url=base_url,
            replica_id=replica_id,
            label=self.label,
            model_version_id=self.model.id,
            release_id=self.release_id,
            deployment_id=deployment_id,
            environment=environment,
            prompt=self.prompt,
            prompt_ref=self.prompt_ref,
            sampling=self.sampling,
        )


def of_release(ctx: Context, ref: str) -> Unit:
    """The unit of a release. Raises ReleaseNotFound."""
    return _from_release(ctx, releases.get_release(ctx, ref))


def named(ctx: Context, name: str) -> Unit:
    """What `name`, `name@3`, `rel_…`, `model@alias` or `mv_…` means. Raises UnknownModel, ModelNotServable."""
    try:
        return of_release(ctx, name)
    except NotFound:
        pass  # no release: it may be a model
    try:
        version = registry.get_version(ctx, name)
    except (NotFound, InvalidModelReference):
        raise unknown_model(name, [card.id for card in cards(ctx)]) from None
    if not version.servable:
        raise ModelNotServable(
            f"{version.ref} has no passed parity proof, so it is not served.",
            hint=f"`tidemill models show {version.ref}` shows its evidence.",
        )
    return Unit(key=version.id, label=name if "@" in name else version.ref, model=version)


def cards(ctx: Context) -> list[ModelCard]:
    """Every name that can be asked for: environments first, then releases and aliases."""
    found: dict[str, ModelCard] = {}
    ending = {r.model: int(r.sunset.timestamp()) for r in retirements.standing(ctx)}
    for deployment in store.active(ctx.conn):
        if deployment.state == "live":
            name = f"{deployment.environment}/{deployment.name}"
            created = int(deployment.requested_at.timestamp())
            found.setdefault(name, ModelCard(id=name, created=created, shutdown_date=ending.get(name)))
    for release in releases.list_releases(ctx, cursor=None, limit=_LISTED).items:
        _add(found, release.name, release.created_at.timestamp())
        _add(found, release.ref, release.created_at.timestamp())
    for model in registry.list_models(ctx, cursor=None, limit=_LISTED).items:
        for change in registry.list_aliases(ctx, model.name).items:
            if change.version_id is not None:
                _add(found, f"{model.name}@{change.alias}", change.at.timestamp())
        newest = registry.list_versions(ctx, model.name, cursor=None, limit=1).items
        if newest and newest[0].servable and newest[0].format == "gguf":
            _add(found, newest[0].ref, newest[0].created_at.timestamp())
    return list(found.values())


def _add(found: dict[str, ModelCard], name: str, created: float) -> None:
    found.setdefault(name, ModelCard(id=name, created=int(created)))


def _from_release(ctx: Context, release: Release) -> Unit:
    manifest = release.manifest
    sampling = manifest.sampling.model_dump(exclude_none=True, exclude_defaults=True)
    if manifest.tools:
        sampling["tools"] = manifest.tools
    messages = manifest.prompt.messages if manifest.prompt is not None else []
    return Unit(
        key=release.id,
        label=release.ref,
        model=registry.get_version(ctx, manifest.model.version_id),
        adapter=registry.get_version(ctx, manifest.adapter.version_id) if manifest.adapter is not None else None,
        release_id=release.id,
        prompt=tuple(Message.model_validate(m.model_dump()) for m in messages),
        prompt_ref=manifest.prompt.ref if manifest.prompt is not None else None,
        sampling=sampling,
    )
