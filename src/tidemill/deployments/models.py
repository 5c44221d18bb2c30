"""Resolve model names to releases or bare model versions, with what their engines and requests need."""

from dataclasses import dataclass, field
from typing import Any

from tidemill.core.errors import NotFound
from tidemill.core.kernel import Context
from tidemill.core.wire import iterate_pages
from tidemill.deployments import store
from tidemill.deployments.retirements import store as retirements
from tidemill.engines.replica import RunningReplica
from tidemill.engines.service import list_formats
from tidemill.engines.types import Servable
from tidemill.gateway.types import ModelObject, ReplicaTarget, unknown_model
from tidemill.prompts.types import Message
from tidemill.registry import service as registry
from tidemill.registry.types import InvalidModelReference
from tidemill.releases import service as releases
from tidemill.releases.types import ModelNotServable, Release


@dataclass(frozen=True)
class ServedModel:
    """A servable, and what goes with every request to it: a release's prompt, sampling and tools."""

    servable: Servable
    release_id: str | None = None
    prompt: tuple[Message, ...] = ()
    prompt_ref: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)

    def target(self, replica: RunningReplica, environment: str | None, deployment_id: str | None) -> ReplicaTarget:
        """Return one of its replicas as the gateway sees it."""
        return ReplicaTarget(
            base_url=replica.base_url,
            replica_id=replica.id,
            label=self.servable.label,
            model_version_id=self.servable.model.id,
            release_id=self.release_id,
            deployment_id=deployment_id,
            environment=environment,
            prompt=self.prompt,
            prompt_ref=self.prompt_ref,
            sampling=self.sampling,
            supports_tools=replica.supports_tools,
        )


def resolve_release(ctx: Context, ref: str) -> ServedModel:
    """Return the served model of a release. Raises ReleaseNotFound."""
    return _from_release(ctx, releases.get_release(ctx, ref))


def resolve_name(ctx: Context, name: str) -> ServedModel:
    """Return what `name`, `name@3`, `rel_…`, `model@alias` or `mv_…` means. Raises UnknownModel, ModelNotServable."""
    try:
        return resolve_release(ctx, name)
    except NotFound:
        pass  # no release: it may be a model
    try:
        version = registry.get_version(ctx, name)
    except (NotFound, InvalidModelReference):
        raise unknown_model(name, [card.id for card in list_cards(ctx)]) from None
    if not version.servable:
        raise ModelNotServable(
            f"{version.ref} has no passed parity proof, so it is not served.",
            hint=f"`tidemill models show {version.ref}` shows its evidence.",
        )
    return ServedModel(Servable(key=version.id, label=name if "@" in name else version.ref, model=version))


def list_cards(ctx: Context) -> list[ModelObject]:
    """Return every model name that can be requested: environments first, then releases and aliases."""
    cards: dict[str, ModelObject] = {}
    formats = list_formats(ctx.kernel.plugins, ctx.kernel.settings)
    sunsets = {r.model: int(r.sunset.timestamp()) for r in retirements.list_uncancelled(ctx.conn)}
    for deployment in store.list_active(ctx.conn):
        if deployment.state == "live":
            name = f"{deployment.environment}/{deployment.name}"
            created = int(deployment.requested_at.timestamp())
            cards.setdefault(name, ModelObject(id=name, created=created, shutdown_date=sunsets.get(name)))
    for release in iterate_pages(lambda cursor, limit: releases.list_releases(ctx, cursor=cursor, limit=limit)):
        _add(cards, release.name, release.created_at.timestamp())
        _add(cards, release.ref, release.created_at.timestamp())
    for model in iterate_pages(lambda cursor, limit: registry.list_models(ctx, cursor=cursor, limit=limit)):
        for change in registry.list_aliases(ctx, model.name).items:
            if change.version_id is not None:
                _add(cards, f"{model.name}@{change.alias}", change.at.timestamp())
        newest = registry.list_versions(ctx, model.name, cursor=None, limit=1).items
        if newest and newest[0].servable and newest[0].format in formats:
            _add(cards, newest[0].ref, newest[0].created_at.timestamp())
    return list(cards.values())


def _add(cards: dict[str, ModelObject], name: str, created: float) -> None:
    cards.setdefault(name, ModelObject(id=name, created=int(created)))


def _from_release(ctx: Context, release: Release) -> ServedModel:
    manifest = release.manifest
    sampling = manifest.sampling.model_dump(exclude_none=True, exclude_defaults=True)
    if manifest.tools:
        sampling["tools"] = manifest.tools
    messages = manifest.prompt.messages if manifest.prompt is not None else []
    return ServedModel(
        servable=Servable(
            key=release.id,
            label=release.ref,
            model=registry.get_version(ctx, manifest.model.version_id),
            adapter=registry.get_version(ctx, manifest.adapter.version_id) if manifest.adapter is not None else None,
        ),
        release_id=release.id,
        prompt=tuple(Message.model_validate(m.model_dump()) for m in messages),
        prompt_ref=manifest.prompt.ref if manifest.prompt is not None else None,
        sampling=sampling,
    )
