"""Whether eval runs may be evidence for a gate: newer than its terms, and of exactly what the release froze."""

from tidemill.core import lineage
from tidemill.core.kernel import Context
from tidemill.evals import service as evals
from tidemill.evals.types import AskSampling, EvalRun, ReleaseTarget, RunCreate
from tidemill.releases.lookup import get_release
from tidemill.releases.types import Gate, GateEvaluate, Release, RunBeforeGate, UnfitEvidence


def check_evidence(ctx: Context, body: GateEvaluate, release: Release, gate: Gate) -> tuple[EvalRun, EvalRun]:
    """Return the baseline and the candidate run. Raises RunBeforeGate or UnfitEvidence unless both may count."""
    baseline, candidate = evals.get_run(ctx, body.baseline_run), evals.get_run(ctx, body.candidate_run)
    if baseline.id == candidate.id:
        raise UnfitEvidence(
            "Baseline and candidate are the same run.", hint="Give the run of what is to be compared with."
        )
    for run in (baseline, candidate):
        _check_set(run, gate)
        _check_age(run, gate)
    _check_candidate(ctx, release, candidate)
    for run in (baseline, candidate):
        if isinstance(run.spec.target, ReleaseTarget):
            check_frozen(get_release(ctx, run.spec.target.release), run.spec, f"The run {run.id}")
    return baseline, candidate


def check_frozen(release: Release, spec: RunCreate, who: str) -> None:
    """Raise UnfitEvidence when a run sends sampling parameters other than those that the release froze."""
    differing = [
        f"{name} {_text(asked_value)} in place of {_text(frozen)}"
        for name in AskSampling.model_fields
        if (asked_value := getattr(spec.sampling, name)) is not None
        and asked_value != (frozen := getattr(release.manifest.sampling, name))
    ]
    if spec.repeats > 1 and spec.sampling.seed is not None and not differing:
        differing = [f"another seed with each of {spec.repeats} repeats"]
    if differing:
        raise UnfitEvidence(
            f"{who} asked {release.ref} with {', '.join(differing)}: that is not what the release would answer.",
            hint=f"Run it without sampling parameters of its own: {_command(spec, release.ref)} - or make a release "
            "that freezes these, and evaluate that one.",
            details={"release": release.ref, "differs": differing},
        )


def _text(value: object) -> str:
    return "the engine's own" if value is None else repr(value)


def _check_set(run: EvalRun, gate: Gate) -> None:
    if run.eval_set_id != gate.eval_set:
        raise UnfitEvidence(
            f"The run {run.id} answered {run.eval_set} ({run.eval_set_id}), and {gate.ref} asks for {gate.eval_set}.",
            hint="Run the evaluation on the gate's eval set.",
        )


def _check_age(run: EvalRun, gate: Gate) -> None:
    declared = f"{gate.declared_at:%Y-%m-%d %H:%M:%S} UTC"
    if run.created_at < gate.declared_at:
        raise RunBeforeGate(
            f"The run {run.id} was started {run.created_at:%Y-%m-%d %H:%M:%S} UTC, before {gate.ref} was declared "
            f"at {declared}.",
            hint="A gate is declared before the evaluation. Start a new run now and use that one.",
            details={"run": run.id, "started_at": run.created_at.isoformat()},
        )
    figures = run.figures
    if figures is None or not figures.cached:
        return
    oldest = figures.oldest_answer_at
    if oldest is not None and oldest >= gate.declared_at:
        return
    age = f"the oldest at {oldest:%Y-%m-%d %H:%M:%S} UTC" if oldest is not None else "and nobody knows when"
    raise RunBeforeGate(
        f"{figures.cached} of {figures.answers} answers of {run.id} were taken from earlier runs, {age}; {gate.ref} "
        f"was declared at {declared}.",
        hint=f"Ask anew and use that run: {_command(run.spec, run.release)} --no-cache",
        details={
            "run": run.id,
            "cached": figures.cached,
            "oldest_answer_at": oldest.isoformat() if oldest is not None else None,
            "declared_at": gate.declared_at.isoformat(),
        },
    )


def _command(spec: RunCreate, release: str | None) -> str:
    target = f"--release {release}" if release is not None else "with the same options"
    return f"tidemill evals run {spec.eval_set} {target}"


def _check_candidate(ctx: Context, release: Release, candidate: EvalRun) -> None:
    target = candidate.spec.target
    node = lineage.find(ctx.conn, "release", target.release) if isinstance(target, ReleaseTarget) else None
    if node is None or node.id != release.id:
        subject = node.label if node is not None else target.model_dump_json(exclude_none=True)
        raise UnfitEvidence(
            f"The candidate run {candidate.id} asked {subject}, not {release.ref}.",
            hint=f"Evaluate {release.ref} itself: tidemill evals run … --release {release.ref}",
        )
