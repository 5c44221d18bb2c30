"""Every kind of step, and the order in which a document's steps stand."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tidemill.core.kernel import Context
from tidemill.jobs.types import Job
from tidemill.pipelines.steps import data, feedback, making, measuring, shipping, watching
from tidemill.pipelines.steps.turn import Facts, Outcome, Reads, Turn
from tidemill.pipelines.types import PipelineSpec
from tidemill.releases import service as releases
from tidemill.tuning import service as tuning


@dataclass(frozen=True)
class StepKind:
    """One kind of step."""

    reads: Callable[[Context, Facts], Reads]
    """All that decides what it makes. Two steps that read the same make the same, so the second is not done."""
    do: Callable[[Turn], Outcome]
    """Do it. It may be called again after a crash and must bear that."""
    resume: Callable[[Context, Job], None] | None = None
    """How its failed job is taken up again; by default the job is retried."""


def _resume_tuning(ctx: Context, job: Job) -> None:
    tuning.resume(ctx, str(job.subject))


KINDS: dict[str, StepKind] = {
    "data": StepKind(data.reads_data, data.do_data),
    "prompt": StepKind(making.reads_prompt, making.do_prompt),
    "base": StepKind(making.reads_base, making.do_base),
    "eval-set": StepKind(measuring.reads_set, measuring.do_set),
    "gate": StepKind(measuring.reads_gate, measuring.do_gate),
    "feedback": StepKind(shipping.reads_world, feedback.do_feedback),
    "join": StepKind(feedback.reads_join, feedback.do_join),
    "tune": StepKind(making.reads_tune, making.do_tune, _resume_tuning),
    "parity": StepKind(making.reads_parity, making.do_parity),
    "release": StepKind(making.reads_release, making.do_release),
    "naive-bayes": StepKind(measuring.reads_bayes, measuring.do_bayes),
    "evaluate": StepKind(measuring.reads_candidate, measuring.do_candidate),
    "baseline": StepKind(measuring.reads_baseline, measuring.do_baseline),
    "judge": StepKind(measuring.reads_judge, measuring.do_judge),
    "approve": StepKind(shipping.reads_world, shipping.do_approve),
    "deploy": StepKind(shipping.reads_world, shipping.do_deploy),
    "rollout": StepKind(shipping.reads_world, shipping.do_rollout),
    "watch": StepKind(shipping.reads_world, watching.do_watch),
}

WORLD = frozenset({"approve", "deploy", "rollout", "feedback", "watch"})
"""Kinds whose work depends on the state of things at that moment."""


def names(spec: PipelineSpec) -> list[str]:
    """The steps of a run in order, such as `data`, `tune`, `judge/quality`, `deploy/prod`."""
    return list(_names(spec))


def _names(spec: PipelineSpec) -> Iterator[str]:
    yield from ["data"] if spec.data is not None else []
    yield from ["prompt"] if spec.prompt is not None else []
    yield from ["base"] if spec.model is not None else []
    yield from (f"eval-set/{e.name}" for e in spec.evals)
    yield from (f"gate/{g.name}" for g in spec.gates)
    yield from ["feedback", "join"] if spec.data is not None and spec.data.feedback is not None else []
    yield from ["tune", "parity"] if spec.tuning is not None else []
    yield from ["release"] if spec.release is not None else []
    yield from (f"naive-bayes/{e.name}" for e in spec.evals if e.naive_bayes is not None)
    if spec.release is not None:
        yield from (f"evaluate/{e.name}" for e in spec.evals)
        for gate in spec.gates:
            yield from (f"baseline/{gate.name}", f"judge/{gate.name}")
        for environment in spec.environments:
            if environment.approval is not None or releases.policy_of(environment.name).approval:
                yield f"approve/{environment.name}"
            yield f"{'deploy' if environment.rollout is None else 'rollout'}/{environment.name}"
    yield from ["watch"] if spec.watches else []


def kind_of(name: str) -> str:
    """`judge` of `judge/quality`."""
    return name.partition("/")[0]
