"""Runs, comparisons and plans as a person reads them in a terminal."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tidemill.core.terminal import duration
from tidemill.evals.types import (
    BaselineTarget,
    Comparison,
    EndpointTarget,
    EvalPlan,
    EvalRun,
    LabelReport,
    Metric,
    MetricVerdict,
    RunMetrics,
)

_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "queued": "dim",
    "pass": "bold green",
    "fail": "bold red",
    "inconclusive": "bold yellow",
}


def _word(text: str) -> Text:
    return Text(text, style=_STYLES.get(text, ""))


def state(run: EvalRun) -> Text:
    """Return the state of a run in its colour."""
    return _word(run.state)


def target(run: EvalRun) -> str:
    """Return the run's target in a few words."""
    run_target = run.spec.target
    if isinstance(run_target, EndpointTarget):
        return f"{run_target.model} at {run_target.base_url}"
    return (
        f"naive bayes on {run_target.dataset}"
        if isinstance(run_target, BaselineTarget)
        else run.release or run_target.release
    )


def means(run: EvalRun) -> str | None:
    """Return every metric of a run on one line."""
    if run.figures is None:
        return None
    return "  ".join(f"{m.name} {m.mean:.3f}" for m in run.figures.metrics if m.mean is not None)


def _plain(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index == 0 else "right")
    return table


def run(eval_run: EvalRun, width: int | None = None) -> Iterator[RenderableType]:
    """Yield the renderables of a run, for a terminal of `width` characters (None: as wide as needed)."""
    yield Text.assemble((eval_run.id, "bold"), f"  {eval_run.eval_set}  by {target(eval_run)}  ", state(eval_run))
    if eval_run.error is not None:
        yield Text(eval_run.error.message, style="red")
    if eval_run.figures is None:
        return
    yield _metrics(eval_run.figures)
    yield _counts(eval_run.figures)
    for metric in eval_run.figures.metrics:
        if metric.labels is not None:
            yield Text("")
            yield from _labels(metric.labels, width)
    for warning in eval_run.figures.warnings:
        metric_name = f"{warning.metric}: " if warning.metric is not None else ""
        yield Text(f"Warning: {metric_name}{warning.message}", style="yellow")


def _metrics(figures: RunMetrics) -> Table:
    table = _plain("metric", "mean", "95% interval", "items", "invalid", "corpus")
    for metric in figures.metrics:
        table.add_row(metric.name, _number(metric.mean), _interval(metric), str(metric.items), *_rest(metric))
    return table


def _rest(metric: Metric) -> tuple[str, str]:
    return str(metric.invalid), _number(metric.corpus)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(metric: Metric) -> str:
    return "-" if metric.low is None or metric.high is None else f"{metric.low:.3f} to {metric.high:.3f}"


def _counts(figures: RunMetrics) -> Text:
    parts = [f"{figures.answers} answers", f"{figures.cached} from the cache", f"took {duration(figures.seconds)}"]
    if figures.latency_p50_ms is not None and figures.latency_p95_ms is not None:
        parts.append(f"latency p50 {figures.latency_p50_ms:.0f} ms, p95 {figures.latency_p95_ms:.0f} ms")
    if figures.output_tokens is not None:
        parts.append(f"{figures.output_tokens} tokens out")
    text = Text("  ".join(parts), style="dim")
    if figures.failures:
        kinds = ", ".join(f"{count} {code}" for code, count in figures.errors.items())
        text.append(f"\n{figures.failures} failures, in no metric: {kinds}", style="bold red")
    return text


def _labels(report: LabelReport, width: int | None) -> Iterator[Table]:
    """Yield the figures of each label beside its row of the confusion matrix, in parts that the terminal holds."""
    rows = list(zip(report.classes, report.confusion.counts, strict=True))
    figures = ["precision", "recall", "F1", "items"]
    answered = [f"→ {column}" for column in report.confusion.columns]
    label_width = max(cell_len(label) for label in ("expected", "macro mean", *report.confusion.labels))
    sizes = [
        max(cell_len(heading), *(len(str(counts[n])) for _, counts in rows)) + 1 for n, heading in enumerate(answered)
    ]
    figures_width = sum(len(heading) + 1 for heading in figures)
    together = width is None or label_width + figures_width + sum(sizes) <= width
    table = _plain("expected", *figures, *(answered if together else []))
    for label, counts in rows:
        shares = (f"{v:.3f}" for v in (label.precision, label.recall, label.f1))
        table.add_row(label.label, *shares, str(label.support), *(_counts_of(counts) if together else []))
    macro = (f"{v:.3f}" for v in (report.macro_precision, report.macro_recall, report.macro_f1))
    table.add_row(Text("macro mean", style="bold"), *macro)
    yield table
    for part in [] if together or width is None else _parts(sizes, width - label_width):
        matrix = _plain("expected", *(answered[n] for n in part))
        for label, counts in rows:
            matrix.add_row(label.label, *_counts_of([counts[n] for n in part]))
        yield matrix


def _counts_of(counts: Sequence[int]) -> list[str]:
    return [str(n) if n else "·" for n in counts]


def _parts(sizes: Sequence[int], room: int) -> Iterator[list[int]]:
    """Yield the columns that fit beside each other, at least one at a time."""
    part: list[int] = []
    for n, size in enumerate(sizes):
        if part and sum(sizes[m] for m in part) + size > room:
            yield part
            part = []
        part.append(n)
    yield part


def comparison(verdict: Comparison) -> Iterator[RenderableType]:
    """Yield the renderables of a verdict and its evidence."""
    yield Text.assemble("Verdict: ", _word(verdict.outcome), f"   {verdict.id}")
    table = _plain("metric", "baseline → candidate", "delta", "95% interval", "p", "verdict")
    metrics = (verdict.primary, *verdict.guardrails)
    for metric in metrics:
        table.add_row(*_verdict_cells(metric))
    yield table
    for metric in metrics:
        yield Text(metric.summary)
    yield _evidence(verdict)
    for warning in verdict.warnings:
        yield Text(f"Note: {warning}", style="yellow")


def _verdict_cells(verdict: MetricVerdict) -> list[str | Text]:
    difference = verdict.difference
    return [
        verdict.metric,
        f"{difference.baseline_mean:.3g} → {difference.candidate_mean:.3g}",
        f"{difference.delta:+.3g}",
        f"{difference.low:+.3g} to {difference.high:+.3g}",
        f"{verdict.p_adjusted:.2g}",
        _word(verdict.outcome),
    ]


def _evidence(verdict: Comparison) -> Text:
    difference = verdict.primary.difference
    parts = [
        f"{difference.wins} won, {difference.losses} lost, {difference.ties} tied",
        f"{difference.n_clusters} clusters, design effect {difference.design_effect:.2f}, "
        f"worth {difference.n_eff:.0f} independent pairs",
        f"test {difference.test.replace('_', ' ')}, Wilcoxon p {difference.wilcoxon_p:.3g}",
    ]
    if difference.effect_size is not None:
        parts.append(f"effect size {difference.effect_size:+.2f} sd")
    if verdict.minimum_detectable_effect is not None:
        parts.append(f"smallest detectable difference {verdict.minimum_detectable_effect:.3g}")
    return Text("\n".join(parts), style="dim")


def plan(eval_plan: EvalPlan) -> Iterator[RenderableType]:
    """Yield the renderables of a power analysis."""
    yield Text(eval_plan.summary, style="bold")
    clusters = f"{eval_plan.clusters} clusters, worth {eval_plan.n_eff:.0f} independent items"
    spread = (
        f"sd of differences {eval_plan.sd:.3g}, icc {eval_plan.icc:.2g}, design effect {eval_plan.design_effect:.2f}"
    )
    yield Text(f"{clusters}; {spread}; alpha {eval_plan.alpha:g}", style="dim")
    if eval_plan.assumed:
        yield Text(f"Assumed: {', '.join(eval_plan.assumed)}. Two pilot runs would tell: --pilot.", style="yellow")
