"""The last chapters: two people decide, the release goes dev, qa, prod, and answers; then where it came from."""

from openai import OpenAI

from tidemill.demo.context import PEOPLE, DemoContext
from tidemill.demo.evaluation import RELEASE
from tidemill.deployments.types import Deployment
from tidemill.governance.cli import tree

QUESTIONS = ("Who wrote the opera Carmen ?", "How many islands does Greece have ?")


def promote(demo: DemoContext) -> None:
    """Deploy the tuned release to dev, then to qa."""
    for environment in ("dev", "qa"):
        deployment = _deploy(demo, environment)
        demo.say(f"{environment}: {deployment.release} is {deployment.state}.")


def approval(demo: DemoContext) -> None:
    """Ask for prod; somebody else looks at the gate's verdict and approves."""
    release = demo.results["tuned_release"]
    clearance = demo.dana.releases.clearance(release.ref, "prod")
    request = clearance.approval
    if not clearance.allowed and (request is None or request.state != "pending"):
        demo.say(f"Before: prod says {'; '.join(clearance.reasons)}")
        request = demo.dana.releases.request(release.ref, environment="prod", note="passes its gate")
        demo.say(f"{PEOPLE['dana'][0]} asks that {release.ref} may go to prod.")
    if request is not None and request.state == "pending":
        request = demo.amir.releases.approve(request.id, reason="better than the base by far, and the proof holds")
    if request is None:
        return
    demo.results["approval"] = request
    demo.say(
        f"{request.decided_by_name} saw the verdict '{request.verdict}' and {request.state} it: '{request.reason}'"
    )


def production(demo: DemoContext) -> None:
    """Deploy the approved release to prod."""
    deployment = _deploy(demo, "prod")
    demo.say(f"prod: {deployment.release} is {deployment.state}.")


def _deploy(demo: DemoContext, environment: str) -> Deployment:
    release = demo.results["tuned_release"]
    deployments = demo.dana.deployments.list(environment=environment, name=RELEASE)
    deployment = next(
        (d for d in deployments if d.release_id == release.id and d.state not in ("failed", "stopped")), None
    )
    if deployment is None:
        deployment = demo.dana.deployments.deploy(release.ref, environment)
    # When the demo goes on, a later release may have taken its place.
    return deployment if deployment.state == "superseded" else demo.dana.deployments.wait(deployment.id)


def ask(demo: DemoContext) -> None:
    """Two questions through the gateway, with the `openai` package."""
    model = f"prod/{RELEASE}"
    with OpenAI(base_url=f"{demo.owner.http.base_url}/v1", api_key=demo.keys["dana"], max_retries=2) as client:
        for question in QUESTIONS:
            reply = client.chat.completions.create(model=model, messages=[{"role": "user", "content": question}])
            demo.say(f"{question}  ->  {reply.choices[0].message.content}")
            demo.results["answer"] = reply.id


def origin(demo: DemoContext) -> None:
    """From the answer back to the data."""
    graph = demo.dana.governance.lineage(demo.results["answer"])
    demo.show(tree(graph.node, graph.up, "was made from", up=True, calls={}))
