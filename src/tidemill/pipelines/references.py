"""Names in a document that mean something else in it, or something on the server: do they exist?"""

from collections.abc import Callable, Iterator

from tidemill.core.errors import TidemillError, nearest
from tidemill.core.kernel import Context
from tidemill.data import service as data
from tidemill.deployments import service as deployments
from tidemill.pipelines import store
from tidemill.pipelines.faults import Fault
from tidemill.pipelines.types import PipelineSpec
from tidemill.pipelines.yaml_locations import Path
from tidemill.prompts import service as prompts
from tidemill.registry import service as registry
from tidemill.releases import service as releases

BASELINE_KINDS = ("base_model", "naive_bayes")


def unknown_name(path: Path, what: str, word: str, names: list[str]) -> Fault:
    """Return a fault that suggests the most similar name."""
    near = nearest(word, names, count=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"There is {', '.join(names)}." if names else None
    return Fault(path, f"there is no {what} {word!r}", hint)


# ---------------------------------------------------------------------- within the document


def inner_faults(spec: PipelineSpec) -> Iterator[Fault]:
    """Yield the faults in references to other sections of the document."""
    yield from _missing_sections(spec)
    yield from _duplicates(spec)
    yield from _splits(spec)
    yield from _gates(spec)


def _missing_sections(spec: PipelineSpec) -> Iterator[Fault]:
    if spec.tuning is not None and spec.data is None:
        yield Fault(("tuning",), "tuning needs rows", "Add a section `data`.")
    if (spec.tuning is not None or spec.release is not None) and spec.model is None:
        section = "tuning" if spec.tuning is not None else "release"
        yield Fault((section,), f"{section} needs a base model", "Add `model: smollm2`, or another model's name.")
    if spec.release is None:
        for section in ("gates", "environments"):
            if getattr(spec, section):
                yield Fault((section,), f"{section} need a release", "Add a section `release`.")
    yield from _rows_needed(spec)


def _rows_needed(spec: PipelineSpec) -> Iterator[Fault]:
    for i, section in enumerate(spec.evals):
        if section.dataset is None and spec.data is None:
            yield Fault(("evals", i), "an eval set needs rows", "Add `dataset`, or a section `data`.")
        if section.naive_bayes is not None and spec.data is None:
            yield Fault(("evals", i, "naive_bayes"), "Naive Bayes needs rows to learn from", "Add a section `data`.")
    feedback = spec.data.feedback if spec.data is not None else None
    if feedback is not None and spec.tuning is None:
        yield Fault(("data", "feedback"), "feedback teaches nothing without tuning", "Add a section `tuning`.")
    if feedback is not None and feedback.release is None and spec.release is None:
        yield Fault(("data", "feedback"), "whose traces is not said", "Add `release: NAME`.")


def _duplicates(spec: PipelineSpec) -> Iterator[Fault]:
    for section in ("evals", "gates", "environments"):
        names: set[str] = set()
        for i, item in enumerate(getattr(spec, section)):
            if item.name in names:
                yield Fault((section, i, "name"), f"{item.name!r} is there twice", "Give one of them another name.")
            names.add(item.name)


def _splits(spec: PipelineSpec) -> Iterator[Fault]:
    if spec.data is None or spec.data.split is None:
        return
    split_names = list(spec.data.split.ratios)
    if spec.tuning is not None:
        for field in ("train_split", "eval_split"):
            word = getattr(spec.tuning, field)
            if word not in split_names:
                yield _unknown_split(("tuning", field), word, split_names)
    for i, section in enumerate(spec.evals):
        if section.dataset is None and section.split not in split_names:
            yield _unknown_split(("evals", i, "split"), section.split, split_names)
        if section.naive_bayes is not None and section.naive_bayes not in split_names:
            yield _unknown_split(("evals", i, "naive_bayes"), section.naive_bayes, split_names)


def _unknown_split(path: Path, word: str, names: list[str]) -> Fault:
    near = nearest(word, names, count=1)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    cure = f"`data.split.ratios` makes {', '.join(names)}: add `{word}: 0.1` there and take 0.1 from another"
    return Fault(path, f"there is no split {word!r}", f"{guess}{cure}, or name one of these.")


def _gates(spec: PipelineSpec) -> Iterator[Fault]:
    sections = {e.name: e for e in spec.evals}
    for i, gate in enumerate(spec.gates):
        section = sections.get(gate.eval)
        if section is None:
            yield unknown_name(("gates", i, "eval"), "eval set in `evals` called", gate.eval, list(sections))
            continue
        metrics = [s.metric for s in section.scorers]
        references: list[tuple[Path, str]] = [(("gates", i, "metric"), gate.metric)]
        references += [(("gates", i, "guardrails", j, "metric"), g.metric) for j, g in enumerate(gate.guardrails)]
        for path, word in references:
            if word not in (*metrics, "latency_ms"):
                yield unknown_name(path, f"metric in {section.name!r} called", word, metrics)


# ---------------------------------------------------------------------- on the server


def outer_faults(ctx: Context, spec: PipelineSpec) -> Iterator[Fault]:
    """Yield the faults in references to things on the server."""
    yield from _environments(ctx, spec)
    yield from _triggers(ctx, spec)
    scorers = ctx.kernel.plugins.names("tidemill.scorers")
    for i, section in enumerate(spec.evals):
        for j, scorer in enumerate(section.scorers):
            if scorer.scorer not in scorers:
                yield unknown_name(("evals", i, "scorers", j, "scorer"), "scorer", scorer.scorer, scorers)
    yield from _server_objects(ctx, spec)


def _environments(ctx: Context, spec: PipelineSpec) -> Iterator[Fault]:
    names = [e.name for e in deployments.list_environments(ctx).items]
    for i, environment in enumerate(spec.environments):
        if environment.name not in names:
            yield unknown_name(("environments", i), "environment", environment.name, names)
    for i, gate in enumerate(spec.gates):
        if gate.against not in names:
            yield unknown_name(("gates", i, "against"), "environment", gate.against, names)


def _triggers(ctx: Context, spec: PipelineSpec) -> Iterator[Fault]:
    names = [*store.list_names(ctx.conn), spec.name]
    for i, trigger in enumerate(spec.triggers):
        if trigger.pipeline and trigger.pipeline not in names:
            yield unknown_name(("triggers", i, "pipeline"), "pipeline", trigger.pipeline, names)


def _server_objects(ctx: Context, spec: PipelineSpec) -> Iterator[Fault]:
    references: list[tuple[Path, str | None, Callable[[Context, str], object]]] = [
        (("model",), spec.model, registry.get_version),
        (("prompt",), spec.prompt if isinstance(spec.prompt, str) else None, prompts.get),
    ]
    if spec.data is not None and not spec.data.sources:
        references.append((("data", "dataset"), spec.data.dataset, data.get_version))
    for i, section in enumerate(spec.evals):
        references.append((("evals", i, "dataset"), section.dataset, data.get_version))
    for i, gate in enumerate(spec.gates):
        release = gate.otherwise if gate.otherwise not in BASELINE_KINDS else None
        references.append((("gates", i, "otherwise"), release, releases.get_release))
    for path, ref, get in references:
        if ref is None:
            continue
        try:
            get(ctx, ref)
        except TidemillError as error:
            yield Fault(path, error.message.rstrip("."), error.hint)
