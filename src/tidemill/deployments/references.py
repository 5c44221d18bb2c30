"""What a reference to a deployment means."""

from tidemill.core.errors import nearest
from tidemill.core.kernel import Context
from tidemill.deployments import store
from tidemill.deployments.types import Deployment, DeploymentAmbiguous, DeploymentNotFound


def get_deployment(ctx: Context, ref: str) -> Deployment:
    """Return the deployment that `ref` means: a `dep_` id, `prod/name` (what is live there), `name`, or `name@3`.

    Raises DeploymentNotFound, and DeploymentAmbiguous for a name that several environments serve.
    """
    deployment = store.get(ctx.conn, ref)
    if deployment is not None:
        return deployment
    active = store.list_active(ctx.conn)
    environment, slash, rest = ref.partition("/")
    release_ref = rest if slash else ref
    matches = [d for d in active if release_ref in (d.name, d.release) and (not slash or d.environment == environment)]
    places = sorted({f"{d.environment}/{d.name}" for d in matches})
    if len(places) > 1:
        raise DeploymentAmbiguous(
            f"{ref!r} is served in {len(places)} places: {', '.join(places)}.",
            hint=f"Say which, such as {places[0]}.",
            details={"candidates": places},
        )
    if not matches:
        raise DeploymentNotFound(f"There is no deployment {ref!r}.", hint=_hint(ref, active))
    # Of one that is live and one that starts beside it, the one that answers is meant.
    return next((d for d in matches if d.state == "live"), matches[-1])


def _hint(ref: str, active: list[Deployment]) -> str:
    places = sorted({f"{d.environment}/{d.name}" for d in active})
    near = nearest(ref, places) or [place for place in places if place.partition("/")[2] == ref.partition("/")[2]]
    if near:
        return f"Did you mean {', '.join(near)}?"
    served = f"Served now: {', '.join(places[:8])}. " if places else "Nothing is served now. "
    return served + "`tidemill deployments history` lists those that ended."
