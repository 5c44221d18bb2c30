"""Every kind of step, and the order in which a document's steps stand."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tidemill.core.kernel import Context
from tidemill.jobs.types import Job
from tidemill.pipelines.steps import build, data, deploy, evaluate, feedback, monitor
from tidemill.pipelines.steps.context import CacheInputs, StepContext, StepInputs, StepResult
from tidemill.pipelines.types import PipelineSpec
from tidemill.releases import service as releases
from tidemill.tuning import service as tuning


@dataclass(frozen=True)
class StepKind:
    """What a step of one name needs, does, and how it goes on."""

    inputs: Callable[[Context, StepInputs], CacheInputs]
    """All that decides its outputs. A step with the inputs of an earlier one takes over its outputs."""
    run: Callable[[StepContext], StepResult]
    """Run the step. Called again after a crash, so it must be idempotent."""
    resume: Callable[[Context, Job], None] | None = None
    """How its failed job is resumed; by default the job is retried."""


def _resume_tuning(ctx: Context, job: Job) -> None:
    tuning.resume(ctx, str(job.subject))


KINDS: dict[str, StepKind] = {
    "data": StepKind(data.data_inputs, data.run_data),
    "prompt": StepKind(build.prompt_inputs, build.run_prompt),
    "base": StepKind(build.base_inputs, build.run_base),
    "eval-set": StepKind(evaluate.set_inputs, evaluate.run_set),
    "gate": StepKind(evaluate.gate_inputs, evaluate.run_gate),
    "feedback": StepKind(deploy.uncacheable_inputs, feedback.run_feedback),
    "join": StepKind(feedback.join_inputs, feedback.run_join),
    "tune": StepKind(build.tune_inputs, build.run_tune, _resume_tuning),
    "parity": StepKind(build.parity_inputs, build.run_parity),
    "release": StepKind(build.release_inputs, build.run_release),
    "naive-bayes": StepKind(evaluate.naive_bayes_inputs, evaluate.run_naive_bayes),
    "evaluate": StepKind(evaluate.candidate_inputs, evaluate.run_candidate),
    "baseline": StepKind(evaluate.baseline_inputs, evaluate.run_baseline),
    "judge": StepKind(evaluate.judge_inputs, evaluate.run_judge),
    "approve": StepKind(deploy.uncacheable_inputs, deploy.run_approve),
    "deploy": StepKind(deploy.uncacheable_inputs, deploy.run_deploy),
    "rollout": StepKind(deploy.uncacheable_inputs, deploy.run_rollout),
    "watch": StepKind(deploy.uncacheable_inputs, monitor.run_watch),
}

UNCACHEABLE = frozenset({"approve", "deploy", "rollout", "feedback", "watch"})
"""Kinds whose work depends on the state of things at that moment."""


def names(spec: PipelineSpec) -> list[str]:
    """Return the names of a run's steps in order, such as `data`, `tune`, `judge/quality`, `deploy/prod`."""
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
            if environment.approval is not None or releases.get_policy(environment.name).approval:
                yield f"approve/{environment.name}"
            yield f"{'deploy' if environment.rollout is None else 'rollout'}/{environment.name}"
    yield from ["watch"] if spec.watches else []


def kind_of(name: str) -> str:
    """Return the kind of a step: `judge` of `judge/quality`."""
    return name.partition("/")[0]
