"""The first chapters: from a file of questions to a tuned model whose every hop is proved."""

from tidemill.core.errors import NotFound
from tidemill.core.terminal import duration, size
from tidemill.data.samples import trec_questions
from tidemill.data.types import DatasetVersion
from tidemill.demo.context import DemoContext
from tidemill.prompts.types import PromptUnchanged, PromptVersion
from tidemill.registry.types import ModelVersion
from tidemill.tuning.recipes import QUESTION_TYPES
from tidemill.tuning.types import TuneSubmit, TuningRun

DATASET = "trec"
PROMPT = "question-type"
BASE = "smollm2"
TUNED = "trec-smollm2"
QUICK_TRAINING = {"batch_size": 16, "eval_every": 32, "eval_rows": 32, "checkpoint_every": 4}
SPLIT = {"train": 0.8, "validation": 0.1, "test": 0.1}


def data(demo: DemoContext) -> DatasetVersion:
    """Import the questions; show what the recipe dropped and which leak it caught."""
    sample = trec_questions()
    version = demo.dana.data.import_(
        sample.path,
        name=DATASET,
        row_schema="classification",
        read=sample.read,
        mapping=sample.mapping,
        split={"ratios": SPLIT, "seed": 7},
        catalogue={
            "description": sample.description,
            "licence": sample.licence,
            "owner": "dana",
            "purpose": "demo: question types",
        },
    )
    demo.rows(
        ["step", "rows in", "rows out", "dropped", "changed"],
        [[s.step, s.rows_in, s.rows_out, s.dropped, s.changed] for s in version.steps],
    )
    for leak in version.leaks.uncleaned:
        if (leak.split, leak.against) == ("test", "train"):
            demo.say(
                f"Without the recipe {leak.share:.0%} of the test rows would also stand in {leak.against}:"
                " the model would be asked what it has learnt by heart.",
                style="yellow",
            )
    leaked = sum(leak.exact + leak.near for leak in version.leaks.found)
    parts = ", ".join(f"{s.name} {s.rows:,}" for s in version.splits)
    demo.say(f"{version.dataset}@{version.version}: {parts}; rows leaking between splits: {leaked}.")
    demo.results["dataset"] = version
    return version


def base(demo: DemoContext) -> ModelVersion:
    """Register the base model that came with a package."""
    try:
        version = demo.dana.models.get(f"{BASE}@1")
    except NotFound:
        version = demo.dana.models.add_packaged(BASE)
    demo.say(f"{version.ref}: {version.format}, {size(version.size)}, licence {version.licence}.")
    demo.results["base"] = version
    return version


def prompt(demo: DemoContext) -> PromptVersion:
    """Write the prompt that training and serving share."""
    messages = [{"role": "system", "content": QUESTION_TYPES.system or ""}]
    try:
        version = demo.dana.prompts.create(PROMPT, messages=messages, note="the demo's", labels=["production"])
    except PromptUnchanged:
        version = demo.dana.prompts.get(PROMPT)
    demo.say(f"{version.name}@{version.number}: {QUESTION_TYPES.system}")
    demo.results["prompt"] = version
    return version


def tune(demo: DemoContext) -> TuningRun:
    """Tune with LoRA, merge, convert, quantise, and prove every hop."""
    dataset: DatasetVersion = demo.results["dataset"]
    prompt: PromptVersion = demo.results["prompt"]
    training, proof = QUESTION_TYPES.training, QUESTION_TYPES.proof
    if demo.size.steps is not None:
        training = training.model_copy(update=QUICK_TRAINING | {"max_steps": demo.size.steps})
    if demo.size.proof_rows is not None:
        proof = proof.model_copy(update={"rows": demo.size.proof_rows, "margin": 0.5, "min_same": 0.2})
    run = demo.dana.tuning.run(
        TuneSubmit(
            model=demo.results["base"].ref,
            dataset=f"{dataset.dataset}@{dataset.version}",
            name=TUNED,
            prompt=f"{prompt.name}@{prompt.number}",
            answer_template=QUESTION_TYPES.answer_template,
            lora=QUESTION_TYPES.lora,
            training=training,
            then=QUESTION_TYPES.then,
            proof=proof,
            key=f"demo-{training.max_steps}",
        )
    )
    if run.state != "succeeded":
        demo.wait(run.job_id, "tuning")
        run = demo.dana.tuning.get(run.id)
    _report(demo, run)
    demo.results["tuning"] = run
    demo.results["tuned"] = demo.dana.models.get(next(o.version_id for o in run.outputs if o.kind == "gguf:q8_0"))
    return run


def _report(demo: DemoContext, run: TuningRun) -> None:
    summary = run.summary
    if summary is not None:
        demo.say(
            f"{summary.steps} steps on {summary.rows:,} rows in {duration(summary.seconds)}:"
            f" {summary.tokens_per_s:,.0f} tokens/s, {summary.precision}, {summary.trainable:,} trained weights,"
            f" peak memory {size(summary.peak_memory)}, best step {summary.best_step}."
        )
    if run.parity is None:
        return
    demo.say(f"Parity proof on {run.parity.rows} held-out questions, each hop against the trainer's own answers:")
    demo.rows(
        ["hop", "verdict", "prompts", "same answer", "quality", "change"],
        [
            [
                hop.name,
                hop.verdict,
                "-" if hop.prompts_equal is None else f"{hop.prompts_equal}/{hop.n}",
                f"{hop.same_share:.1%} ({hop.same_low:.0%} to {hop.same_high:.0%})",
                "-" if hop.quality is None else f"{hop.quality:.1%}",
                "-" if hop.delta is None else f"{100 * hop.delta:+.1f} points",
            ]
            for hop in run.parity.hops
        ],
    )
