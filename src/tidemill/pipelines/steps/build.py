"""Steps that make the candidate: prompt, base model, tuning, its proof, the release."""

from typing import Any

from tidemill.core import lineage
from tidemill.core.kernel import Context
from tidemill.pipelines.steps.context import CacheInputs, StepContext, StepInputs, StepResult
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


def prompt_inputs(ctx: Context, inputs: StepInputs) -> CacheInputs:
    """Return the messages, or the version that is there."""
    section = inputs.spec.prompt
    if isinstance(section, PromptSection):
        return {
            "name": section.name,
            "messages": [m.model_dump() for m in _messages(section)],
            "labels": section.labels,
        }
    return {"version": prompts.get(ctx, str(section)).id}


def run_prompt(context: StepContext) -> StepResult:
    """Save the prompt; the newest version if it says the same already."""
    section = context.spec.prompt
    with context.job_context.write() as ctx:
        if not isinstance(section, PromptSection):
            version = prompts.get(ctx, str(section))
        else:
            version = _save_prompt(ctx, section, context.run_ref)
    ref = f"{version.name}@{version.number}"
    return StepResult({"version_id": version.id, "ref": ref}, ref)


def _save_prompt(ctx: Context, section: PromptSection, run: str) -> PromptVersion:
    body = PromptCreate(name=section.name, messages=_messages(section), note=f"by {run}", labels=section.labels)
    try:
        return prompts.create(ctx, body)
    except PromptUnchanged:
        return prompts.get(ctx, section.name)


def base_inputs(ctx: Context, inputs: StepInputs) -> CacheInputs:
    """Return the model version that the name refers to now."""
    return {"version": registry.get_version(ctx, str(inputs.spec.model)).id}


def run_base(context: StepContext) -> StepResult:
    """Return the version of the base model that the document names."""
    with context.job_context.write() as ctx:
        version = registry.get_version(ctx, str(context.spec.model))
    return StepResult({"version_id": version.id, "ref": version.ref}, version.ref)


def tune_inputs(ctx: Context, inputs: StepInputs) -> CacheInputs:
    """Base model, rows, prompt and every setting."""
    assert inputs.spec.tuning is not None
    return {
        "base": inputs.outputs_of("base")["version_id"],
        "dataset": inputs.training_data["version_id"],
        "prompt": inputs.prompt_id,
        "tuning": inputs.spec.tuning.model_dump(mode="json"),
    }


def run_tune(context: StepContext) -> StepResult:
    """Tune, convert and prove; return the served model version."""
    section = context.spec.tuning
    assert section is not None

    def submit(ctx: Context) -> str:
        fields: dict[str, Any] = section.model_dump(exclude={"serve"}) | {
            "model": context.outputs_of("base")["version_id"],
            "dataset": context.training_data["version_id"],
            "prompt": context.prompt_id,
        }
        return tuning.submit(ctx, TuneSubmit.model_validate(fields)).job_id

    job = context.run_child_job(submit)
    assert job is not None
    with context.job_context.write() as ctx:
        run = tuning.get(ctx, str(job.subject))
    served = f"{section.serve or section.then[-1]}"
    output = next((o for o in run.outputs if o.kind == served), None)
    if output is None:
        raise StepFailed(f"The tuning run {run.id} has made no {served}.", hint=f"tidemill tune show {run.id}")
    outputs = {"run_id": run.id, "version_id": output.version_id, "ref": output.ref}
    return StepResult(outputs, f"{output.ref}{_training_note(run)}")


def _training_note(run: TuningRun) -> str:
    done = run.summary
    return f": {done.steps} steps on {done.rows:,} rows in {done.seconds:.0f} s" if done is not None else ""


def parity_inputs(ctx: Context, inputs: StepInputs) -> CacheInputs:
    """Return the tuning run whose artefacts are proved."""
    return {"run": inputs.outputs_of("tune")["run_id"]}


def run_parity(context: StepContext) -> StepResult:
    """Read the proof that every form answers as the trainer did. The tuning has failed already when one does not."""
    with context.job_context.write() as ctx:
        run = tuning.get(ctx, context.outputs_of("tune")["run_id"])
    report = run.parity
    if report is None or not report.passed:
        raise StepFailed(
            f"The parity proof of {run.id} has not passed"
            + (f": {report.broken} is broken." if report is not None else "."),
            hint=f"tidemill tune show {run.id}",
        )
    last = report.hops[-1]
    passing = len(report.hops) - len(report.accepted)
    accepted = f", accepted though inconclusive: {', '.join(report.accepted)}" if report.accepted else ""
    note = (
        f"{passing} hops pass{accepted}; {last.name} gives {last.same_share:.0%} equal answers on {last.n} rows"
        + "".join(f" Warning: {warning.message}" for warning in last.warnings)
    )
    return StepResult({"passed": True, "hops": [h.name for h in report.hops], "same": last.same_share}, note)


def _release(inputs: StepInputs, model: str) -> ReleaseCreate:
    section = inputs.spec.release
    assert section is not None
    return ReleaseCreate(
        name=section.name, model=model, prompt=inputs.prompt_id, sampling=section.sampling, note=section.note
    )


def release_inputs(ctx: Context, inputs: StepInputs) -> CacheInputs:
    """Return everything that the release freezes."""
    model = inputs.outputs_of("tune" if inputs.spec.tuning is not None else "base")["version_id"]
    return _release(inputs, str(model)).model_dump(mode="json")


def run_release(context: StepContext) -> StepResult:
    """Create the candidate release, and record it as made by this run."""
    made_by = context.outputs_of("tune" if context.spec.tuning is not None else "base")
    with context.job_context.write() as ctx:
        release = releases.create_release(ctx, _release(context, str(made_by["version_id"])))
        node = lineage.find(ctx.conn, "release", release.id)
        assert context.run is not None
        assert node is not None
        lineage.record(ctx, lineage.LineageNode(id=context.run.id, kind="pipeline_run", label=context.run.ref))
        lineage.record(ctx, node, [(context.run.id, "made_by")])
    return StepResult({"release_id": release.id, "ref": release.ref}, f"{release.ref} {release.content_hash[:19]}…")
