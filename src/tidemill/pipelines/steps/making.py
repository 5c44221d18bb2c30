"""Steps that make the candidate: prompt, base model, tuning, its proof, the release."""

from typing import Any

from tidemill.core import lineage
from tidemill.core.kernel import Context
from tidemill.pipelines.steps.turn import Facts, Outcome, Reads, Turn
from tidemill.pipelines.types import PromptSection, StepFailed
from tidemill.prompts import service as prompts
from tidemill.prompts.types import Message, PromptCreate, PromptUnchanged, PromptVersion
from tidemill.registry import service as registry
from tidemill.releases import service as releases
from tidemill.releases.types import ReleaseCreate
from tidemill.tuning import service as tuning
from tidemill.tuning.types import TuneSubmit, TuningRun


def _messages(section: PromptSection) -> list[Message]:
    if section.system is not None:
        return [Message(role="system", content=section.system)]
    return [Message(role=m.role, content=m.content) for m in section.messages]


def reads_prompt(ctx: Context, facts: Facts) -> Reads:
    """The messages, or the version that is there."""
    wanted = facts.spec.prompt
    if isinstance(wanted, PromptSection):
        return {"name": wanted.name, "messages": [m.model_dump() for m in _messages(wanted)], "labels": wanted.labels}
    return {"version": prompts.get(ctx, str(wanted)).id}


def do_prompt(turn: Turn) -> Outcome:
    """Save the prompt; the newest version if it says the same already."""
    wanted = turn.spec.prompt
    with turn.at.write() as ctx:
        if not isinstance(wanted, PromptSection):
            version = prompts.get(ctx, str(wanted))
        else:
            version = _saved(ctx, wanted, turn.run_ref)
    ref = f"{version.name}@{version.number}"
    return Outcome({"version_id": version.id, "ref": ref}, ref)


def _saved(ctx: Context, wanted: PromptSection, run: str) -> PromptVersion:
    body = PromptCreate(name=wanted.name, messages=_messages(wanted), note=f"by {run}", labels=wanted.labels)
    try:
        return prompts.create(ctx, body)
    except PromptUnchanged:
        return prompts.get(ctx, wanted.name)


def reads_base(ctx: Context, facts: Facts) -> Reads:
    """The version that the name stands for now."""
    return {"version": registry.get_version(ctx, str(facts.spec.model)).id}


def do_base(turn: Turn) -> Outcome:
    """Find the base model."""
    with turn.at.write() as ctx:
        version = registry.get_version(ctx, str(turn.spec.model))
    return Outcome({"version_id": version.id, "ref": version.ref}, version.ref)


def reads_tune(ctx: Context, facts: Facts) -> Reads:
    """Base model, rows, prompt and every setting."""
    assert facts.spec.tuning is not None
    return {
        "base": facts.of("base")["version_id"],
        "dataset": facts.training_data["version_id"],
        "prompt": facts.prompt_id,
        "tuning": facts.spec.tuning.model_dump(mode="json"),
    }


def do_tune(turn: Turn) -> Outcome:
    """Tune, convert, and prove every hop."""
    wanted = turn.spec.tuning
    assert wanted is not None

    def submit(ctx: Context) -> str:
        given: dict[str, Any] = wanted.model_dump(exclude={"serve"}) | {
            "model": turn.of("base")["version_id"],
            "dataset": turn.training_data["version_id"],
            "prompt": turn.prompt_id,
        }
        return tuning.submit(ctx, TuneSubmit.model_validate(given)).job_id

    job = turn.child(submit)
    assert job is not None
    with turn.at.write() as ctx:
        run = tuning.get(ctx, str(job.subject))
    served = f"{wanted.serve or wanted.then[-1]}"
    output = next((o for o in run.outputs if o.kind == served), None)
    if output is None:
        raise StepFailed(f"The tuning run {run.id} has made no {served}.", hint=f"tidemill tune show {run.id}")
    outputs = {"run_id": run.id, "version_id": output.version_id, "ref": output.ref}
    return Outcome(outputs, f"{output.ref}{_trained(run)}")


def _trained(run: TuningRun) -> str:
    done = run.summary
    return f": {done.steps} steps on {done.rows:,} rows in {done.seconds:.0f} s" if done is not None else ""


def reads_parity(ctx: Context, facts: Facts) -> Reads:
    """The tuning run."""
    return {"run": facts.of("tune")["run_id"]}


def do_parity(turn: Turn) -> Outcome:
    """Read the proof that every form answers as the trainer did. The tuning has failed already when one does not."""
    with turn.at.write() as ctx:
        run = tuning.get(ctx, turn.of("tune")["run_id"])
    report = run.parity
    if report is None or not report.passed:
        raise StepFailed(
            f"The parity proof of {run.id} has not passed"
            + (f": {report.broken} is broken." if report is not None else "."),
            hint=f"tidemill tune show {run.id}",
        )
    last = report.hops[-1]
    note = f"{len(report.hops)} hops pass; {last.name} gives {last.same_share:.0%} equal answers on {last.n} rows"
    return Outcome({"passed": True, "hops": [h.name for h in report.hops], "same": last.same_share}, note)


def _release(facts: Facts, model: str) -> ReleaseCreate:
    wanted = facts.spec.release
    assert wanted is not None
    return ReleaseCreate(
        name=wanted.name, model=model, prompt=facts.prompt_id, sampling=wanted.sampling, note=wanted.note
    )


def reads_release(ctx: Context, facts: Facts) -> Reads:
    """All that is frozen."""
    model = facts.of("tune" if facts.spec.tuning is not None else "base")["version_id"]
    return _release(facts, str(model)).model_dump(mode="json")


def do_release(turn: Turn) -> Outcome:
    """Freeze the candidate, and note that this run has made it."""
    made_by = turn.of("tune" if turn.spec.tuning is not None else "base")
    with turn.at.write() as ctx:
        release = releases.create_release(ctx, _release(turn, str(made_by["version_id"])))
        node = lineage.find(ctx.conn, "release", release.id)
        assert turn.run is not None
        assert node is not None
        lineage.record(ctx, lineage.LineageNode(id=turn.run.id, kind="pipeline_run", label=turn.run.ref))
        lineage.record(ctx, node, [(turn.run.id, "made_by")])
    return Outcome({"release_id": release.id, "ref": release.ref}, f"{release.ref} {release.content_hash[:19]}…")
