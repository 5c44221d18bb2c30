"""The jobs of tuning: a run from base to proved files, and more files of a finished run."""

from pathlib import Path
from typing import Any

from tidemill.jobs.context import JobContext
from tidemill.jobs.kinds import JobKind
from tidemill.jobs.types import JobProcessFailed
from tidemill.registry import service as registry
from tidemill.tuning import artifacts, checkpoints, memory, service, step_log, store, training_data
from tidemill.tuning.artifacts import python_process, write_spec
from tidemill.tuning.compress.files import read_json
from tidemill.tuning.types import ParityFailed, TrainingFailed, TrainingSummary, TuningRun

MOST_RESTARTS = 5
"""How often a killed training process is started again; each start must get further than the one before."""


def tune(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Train, register the adapter, merge, convert, quantise, and prove every hop."""
    run = _begin(job, args["run_id"])
    folder = training_data.folder_of(job.kernel, run.id)
    base = _trainable(job, run, folder)
    job.progress(message="preparing rows")
    job.step("prepare", _prepare, job, run, base["folder"], folder)
    _train(job, run, base, folder)
    builder = artifacts.ArtifactBuilder(job, run, Path(base["folder"]), folder)
    builder.register_trained(base["id"])
    if run.spec.then:
        _prove(job, builder, list(run.spec.then))
    job.step("tidy", builder.tidy, list(run.spec.then))
    with job.kernel.read(job.actor) as ctx:
        run = service.get(ctx, run.id)
    return {"run_id": run.id, "outputs": [o.model_dump() for o in run.outputs]}


def compress(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Make more files of a finished run, each with its proof."""
    with job.write() as ctx:
        run = service.get(ctx, args["run_id"])
    if "few_rows" in args:
        proof = run.spec.proof.model_copy(update={"few_rows": args["few_rows"]})
        run = run.model_copy(update={"spec": run.spec.model_copy(update={"proof": proof})})
    # Not the run's own folder: the run itself or another job like this one may be at work there.
    folder = training_data.folder_of(job.kernel, job.id)
    base = _trainable(job, run, folder)
    builder = artifacts.ArtifactBuilder(job, run, Path(base["folder"]), folder)
    job.step("restore", builder.restore)
    _prove(job, builder, list(args["to"]))
    job.step("tidy", builder.remove, list(args["to"]))
    with job.kernel.read(job.actor) as ctx:
        run = service.get(ctx, run.id)
    return {"run_id": run.id, "outputs": [o.model_dump() for o in run.outputs]}


def _prove(job: JobContext, builder: artifacts.ArtifactBuilder, forms: list[str]) -> None:
    """Make and prove files. After a failed proof a retry makes and proves them again: it may be mended by then."""
    with job.together("proof"):
        report = builder.files_and_proof(forms)
        if not report.passed:
            hop = next(h for h in report.hops if h.name == report.broken)
            accept = (
                f" Accept it as it is: tidemill tune compress {builder.run.name} --to {forms[0]} --few-rows accept; or "
                "give the evaluation split more rows."
            )
            raise ParityFailed(
                f"Parity of {hop.name}: {hop.verdict}. {hop.reason}",
                hint=f"What comes after it is not servable. `tidemill tune show {builder.run.id}` shows the figures."
                + (accept if hop.verdict == "inconclusive" else ""),
                details={"run": builder.run.id, "hop": hop.name},
            )


def _begin(job: JobContext, run_id: str) -> TuningRun:
    with job.write() as ctx:
        run = service.get(ctx, run_id)
        if run.state != "running":
            store.update(ctx.conn, run_id, state="running", error=None, finished_at=None)
        return run


def _trainable(job: JobContext, run: TuningRun, folder: Path) -> dict[str, str]:
    """Return the base as safetensors: found in the registry, or made from its GGUF file and registered."""

    def find() -> dict[str, str] | None:
        with job.write() as ctx:
            version = training_data.find_trainable(ctx, registry.get_version(ctx, run.base_version_id))
            return {"id": version.id} if version is not None else None

    trainable: dict[str, str] | None = job.step("find the base", find)
    if trainable is None:
        job.progress(message="reading the base model")
        with job.kernel.read(job.actor) as ctx:
            source = registry.weights_path(job.kernel, registry.get_version(ctx, run.base_version_id))
        target = folder / "base"
        task = {"do": "dequantise", "source": str(source), "target": str(target)}
        spec = write_spec(folder / "dequantise.json", {"tasks": [task]})
        python_process(job, "dequantise", "tidemill.tuning.compress", spec)
        trainable = job.step("register the base", _register_base, job, run, target)
    with job.write() as ctx:
        version = registry.get_version(ctx, trainable["id"])
    return {"id": version.id, "folder": str(registry.materialise(job.kernel, version))}


def _register_base(job: JobContext, run: TuningRun, target: Path) -> dict[str, str]:
    with job.kernel.read(job.actor) as ctx:
        base = registry.get_version(ctx, run.base_version_id)
    # Both before the transaction: others must write meanwhile.
    body = training_data.trainable_form(base, registry.ingest_folder(job.kernel, target))
    inspection = registry.inspect_blobs(job.kernel, body)
    with job.write() as ctx:
        return {"id": registry.add_version(ctx, body, inspection).id}


def _prepare(job: JobContext, run: TuningRun, base: str, folder: Path) -> dict[str, Any]:
    with job.kernel.read(job.actor) as ctx:
        estimate = training_data.prepare(ctx, run, Path(base), folder)
    with job.write() as ctx:
        store.update(ctx.conn, run.id, estimate=estimate.model_dump(mode="json"))
    return {"bytes": estimate.bytes}


def _train(job: JobContext, run: TuningRun, base: dict[str, str], folder: Path) -> None:
    """Run the training process to its end; a killed one goes on from its checkpoint as long as it gets further."""
    with job.write() as ctx:
        name = registry.get_version(ctx, base["id"]).ref
        estimate = service.get(ctx, run.id).estimate
    bound = estimate.micro_batch_tokens if estimate is not None else None  # chosen once: a resumed run keeps it
    write_spec(
        folder / "spec.json",
        {
            "base": base["folder"],
            "base_name": name,
            "train": str(folder / "train.jsonl"),
            "eval": str(folder / "eval.jsonl"),
            "proof": str(folder / "proof.jsonl"),
            "max_tokens": run.spec.proof.max_tokens,
            "method": run.spec.method,
            "lora": run.spec.lora.model_dump(),
            "training": run.spec.training.model_dump(),
            "threads": job.kernel.settings.threads,
            "micro_batch_tokens": bound or memory.MICRO_BATCH_TOKENS,
        },
    )
    job.progress(message="starting to train")
    reached = -1
    for start in range(1, MOST_RESTARTS + 2):
        try:
            watcher = _StepLogReader(job, run, folder)
            python_process(job, f"train-{start}", "tidemill.tuning.train", folder / "spec.json", watch=watcher.update)
            break
        except JobProcessFailed as error:
            now = job.step(
                f"checkpoint {start}", lambda: getattr(checkpoints.latest(folder / "checkpoints"), "step", 0)
            )
            killed = (error.details or {}).get("exit_code") == -9
            if not killed or now <= reached or start > MOST_RESTARTS:
                raise TrainingFailed(error.message, hint=error.hint, details=error.details) from error
            reached = now
            job.log(f"The training process was killed; it goes on from step {now}.", level="warning")
    watcher.update("")
    job.step("keep the books", _store_results, job, run, folder)


class _StepLogReader:
    """Copies new records of a run's step log into the database and into the job's progress."""

    def __init__(self, job: JobContext, run: TuningRun, folder: Path) -> None:
        self.job, self.run, self.folder = job, run, folder
        self.last_step, self.total = 0, 0

    def update(self, text: str) -> None:
        """Take the trainer's output as it comes, and write the records that are new."""
        for line in text.splitlines():
            if line.startswith("step "):
                self.total = int(line.split()[1].split("/")[1])
        records = step_log.read(self.folder / "progress.jsonl", after=self.last_step)
        if not records:
            return
        with self.job.write() as ctx:
            store.add_steps(ctx.conn, self.run.id, records)
            if self.total:
                store.update(ctx.conn, self.run.id, total_steps=self.total)
        last = records[-1]
        self.last_step = last.step
        figures = {"loss": last.loss, "tokens_per_s": last.tokens_per_s, "eta_s": last.eta_s}
        evaluated = next((r for r in reversed(records) if r.eval_loss is not None), None)
        if evaluated is not None:
            figures |= {"eval_loss": evaluated.eval_loss or 0.0, "exact_match": evaluated.exact_match or 0.0}
        self.job.progress(last.step, self.total or None, "training", unit="steps", **figures)


def _store_results(job: JobContext, run: TuningRun, folder: Path) -> dict[str, Any]:
    """Store the summary and the trainer's own answers, which every later proof is measured against."""
    summary = TrainingSummary.model_validate(read_json(folder / "summary.json"))
    record_hash = artifacts.store_record(job.kernel, folder)
    with job.write() as ctx:
        store.add_steps(ctx.conn, run.id, step_log.read(folder / "progress.jsonl"))
        store.update(
            ctx.conn,
            run.id,
            summary=summary.model_dump(mode="json"),
            total_steps=summary.steps,
            record_hash=record_hash,
        )
    return {"steps": summary.steps}


RUN = JobKind(run=tune, heavy=True, ended=service.ended)
COMPRESS = JobKind(run=compress, heavy=True)
