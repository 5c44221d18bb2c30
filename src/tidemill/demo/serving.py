"""The last chapters: two people decide, the release goes dev, qa, prod, and answers; then where it came from."""

from openai import OpenAI

from tidemill.demo.judging import RELEASE
from tidemill.demo.stage import PEOPLE, Stage
from tidemill.deployments.types import Deployment
from tidemill.governance.cli import tree

QUESTIONS = ("Who wrote the opera Carmen ?", "How many islands does Greece have ?")


def stairs(stage: Stage) -> None:
    """Deploy the tuned release to dev, then to qa."""
    for environment in ("dev", "qa"):
        found = _deploy(stage, environment)
        stage.say(f"{environment}: {found.release} is {found.state}.")


def approval(stage: Stage) -> None:
    """Ask for prod; somebody else looks at the gate's verdict and approves."""
    release = stage.facts["tuned_release"]
    clearance = stage.dana.releases.clearance(release.ref, "prod")
    asked = clearance.approval
    if not clearance.allowed and (asked is None or asked.state != "pending"):
        stage.say(f"Before: prod says {'; '.join(clearance.reasons)}")
        asked = stage.dana.releases.request(release.ref, environment="prod", note="passes its gate")
        stage.say(f"{PEOPLE['dana'][0]} asks that {release.ref} may go to prod.")
    if asked is not None and asked.state == "pending":
        asked = stage.amir.releases.approve(asked.id, reason="better than the base by far, and the proof holds")
    if asked is None:
        return
    stage.facts["approval"] = asked
    stage.say(f"{asked.decided_by_name} saw the verdict «{asked.verdict}» and {asked.state} it: «{asked.reason}»")


def production(stage: Stage) -> None:
    """Deploy to prod."""
    found = _deploy(stage, "prod")
    stage.say(f"prod: {found.release} is {found.state}.")


def _deploy(stage: Stage, environment: str) -> Deployment:
    release = stage.facts["tuned_release"]
    known = stage.dana.deployments.list(environment=environment, name=RELEASE, limit=100).items
    found = next((d for d in known if d.release_id == release.id and d.state not in ("failed", "stopped")), None)
    if found is None:
        found = stage.dana.deployments.deploy(release.ref, environment)
    # When the demo goes on, a later release may have taken its place.
    return found if found.state == "superseded" else stage.dana.deployments.wait(found.id)


def ask(stage: Stage) -> None:
    """Two questions through the gateway, with the `openai` package."""
    model = f"prod/{RELEASE}"
    with OpenAI(base_url=f"{stage.owner.http.base_url}/v1", api_key=stage.keys["dana"], max_retries=2) as client:
        for question in QUESTIONS:
            reply = client.chat.completions.create(model=model, messages=[{"role": "user", "content": question}])
            stage.say(f"{question}  ->  {reply.choices[0].message.content}")
            stage.facts["answer"] = reply.id


def origin(stage: Stage) -> None:
    """From the answer back to the data."""
    found = stage.dana.governance.lineage(stage.facts["answer"])
    stage.show(tree(found.node, found.up, "was made from", up=True, calls={}))
