"""From trained weights to proved files: merge, convert, quantise, replay, judge, register."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tidemill.core.kernel import Context, Kernel
from tidemill.engines.service import load_engine
from tidemill.jobs.compute import Resources
from tidemill.jobs.context import JobContext
from tidemill.registry import service as registry
from tidemill.registry.types import Kind, ModelVersion, ParentRef, ParityEvidence, VersionCreate
from tidemill.tuning import answers, examples, intermediates, parity, replay, service, store
from tidemill.tuning.compress.files import read_json, replacing, write_json
from tidemill.tuning.outputs import PROVENANCE
from tidemill.tuning.parity import ProofAnswer, ProofPrompt
from tidemill.tuning.types import Hop, Output, ParityReport, TuningRun

PARALLEL = 4
"""Prompts that the engine decodes together in a replay."""


def write_spec(path: Path, value: Mapping[str, Any]) -> Path:
    """Write what a process will read, and return where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, value)
    return path


def python_process(
    job: JobContext, name: str, module: str, spec: Path, *, watch: Callable[[str], None] | None = None
) -> None:
    """Run one of our modules on a spec, as a step that survives this process."""
    argv = [sys.executable, "-m", module, str(spec)]
    threads = Resources(threads=job.kernel.settings.threads)
    # Threads that wait for each other spin for a moment, then sleep. Sleeping at once costs 40% on a quiet machine;
    # the library's own long spinning made training up to five times slower on one that does other work.
    briefly = {"GOMP_SPINCOUNT": "1000"}
    job.run_process(name, argv, spec.parent, env=briefly, resources=threads, watch=watch)


def store_record(kernel: Kernel, folder: Path) -> str:
    """Store the proof's prompts and the trainer's own answers as one blob; returns its hash."""
    record = {
        "proof": [row.model_dump() for row in examples.read(folder / "proof.jsonl")],
        "answers": [row.model_dump() for row in answers.read(folder / "answers.jsonl")],
        "device": read_json(folder / "device.json"),
    }
    return kernel.blobs.put_bytes(json.dumps(record, ensure_ascii=False, sort_keys=True).encode()).hash


class ArtifactBuilder:
    """Builds and registers what is made of one run's weights. Every method may be repeated after a crash."""

    def __init__(self, job: JobContext, run: TuningRun, base: Path, folder: Path) -> None:
        self.job, self.run, self.base, self.folder = job, run, base, folder
        self.kernel = job.kernel

    def gguf(self, form: str) -> Path:
        """Return where the GGUF file of a form (`f16`, `q8_0`) lies."""
        return self.folder / f"{self.run.name}-{form}.gguf"

    def register_trained(self, base_id: str) -> None:
        """Register the adapter, or the fully tuned model."""
        lora = self.run.spec.method == "lora"
        kind, source = ("adapter", "adapter") if lora else ("tuned", "merged")
        parents = [
            ParentRef(version=base_id, relation="adapter_of" if lora else "finetuned_from"),
            ParentRef(version=self.run.id, relation="trained_by"),
            ParentRef(version=self.run.dataset_version_id, relation="trained_on"),
        ]
        self.job.step(f"register {kind}", self._register, kind, kind, self.folder / source, parents)

    def _register(self, name: str, kind: Kind, path: Path, parents: list[ParentRef]) -> dict[str, str]:
        with self.kernel.read(self.job.actor) as ctx:
            licence = registry.get_version(ctx, self.run.base_version_id).licence
            spec = service.get(ctx, self.run.id).spec
        if path.is_dir():
            # The spec as it was submitted, byte for byte: the same weights are the same version, also for a later
            # proof with another choice, or by a Tidemill that knows more settings.
            write_json(
                path / PROVENANCE, {"run": self.run.id, "spec": spec.model_dump(mode="json", exclude_unset=True)}
            )
        # Both before the transaction: others must write meanwhile.
        files = registry.ingest_folder(self.kernel, path)
        body = VersionCreate(model=self.run.name, kind=kind, files=files, parents=parents, licence=licence)
        inspection = registry.inspect_blobs(self.kernel, body)
        with self.job.write() as ctx:
            version = registry.add_version(ctx, body, inspection)
            output = Output(kind=name, version_id=version.id, ref=version.ref, servable=version.servable)
            store.put_output(ctx.conn, self.run.id, output)
        return {"id": version.id}

    def restore(self) -> dict[str, bool]:
        """Bring the trained weights and the trainer's record into an empty work folder, for a proof."""
        with self.kernel.read(self.job.actor) as ctx:
            record_hash = store.record_hash(ctx.conn, self.run.id)
            trained = self._output(ctx, "adapter" if self.run.spec.method == "lora" else "tuned")
        weights = registry.materialise(self.kernel, trained)
        target = self.folder / ("adapter" if self.run.spec.method == "lora" else "merged")
        if not target.exists():
            target.symlink_to(weights, target_is_directory=True)
        if record_hash is not None and not (self.folder / "answers.jsonl").exists():
            record = json.loads(self.kernel.blobs.path(record_hash).read_bytes())
            write_json(self.folder / "device.json", record["device"])
            for name in ("proof", "answers"):
                with replacing(self.folder / f"{name}.jsonl") as file:
                    for row in record[name]:
                        file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        return {"restored": True}

    def clear(self) -> dict[str, bool]:
        """Remove what an earlier proof made, so that everything is made again."""
        names = ("*.gguf", "gguf-*.json", "served-*.json", "files.done.json", "adapter.jsonl", "merged.jsonl")
        for path in [path for name in names for path in self.folder.glob(name)]:
            path.unlink()
        if self.run.spec.method == "lora":  # else it is what was trained
            shutil.rmtree(self.folder / "merged", ignore_errors=True)
        return {"cleared": True}

    def tidy(self, forms: list[str]) -> dict[str, bool]:
        """Remove what the registry holds or nobody needs any more; the step log and the answers stay."""
        self._settle_f16(forms)
        for path in self.folder.iterdir():
            if path.is_symlink() or path.suffix == ".gguf" or path.name in ("train.jsonl", "eval.jsonl"):
                path.unlink()  # the rows are in the dataset, from where an erasure takes them
            elif path.is_dir():
                shutil.rmtree(path)
        return {"tidied": True}

    def remove(self, forms: list[str]) -> dict[str, bool]:
        """Remove the work folder."""
        self._settle_f16(forms)
        shutil.rmtree(self.folder, ignore_errors=True)
        return {"removed": True}

    def _settle_f16(self, forms: list[str]) -> None:
        """Let the F16 file go, or, when this job was asked for it and another let it go meanwhile, put it back."""
        with self.job.write() as ctx:
            run = service.get(ctx, self.run.id)
            if intermediates.F16 not in forms:
                intermediates.remove_f16(ctx, run)
            version = intermediates.find_f16(ctx, run)
        removed = version is not None and version.files_removed_at is not None
        if removed and intermediates.F16 in forms and self.gguf("f16").exists():
            before = "merged" if self.run.spec.method == "lora" else "tuned"
            self._register_from(intermediates.F16, "merged", self.gguf("f16"), before)

    def _output(self, ctx: Context, kind: str) -> ModelVersion:
        run = service.get(ctx, self.run.id)
        return registry.get_version(ctx, next(o.version_id for o in run.outputs if o.kind == kind))

    def files_and_proof(self, forms: list[str]) -> ParityReport:
        """Make the files of `forms` (`gguf:q8_0`, ...), replay the proof on every hop, judge and register."""
        quantisations = [form.removeprefix("gguf:") for form in forms]
        self.job.step("clear", self.clear)
        self.job.progress(message="merging, converting, quantising")
        spec = write_spec(self.folder / "files.json", {"tasks": self._tasks(quantisations)})
        python_process(self.job, "files", "tidemill.tuning.compress", spec)
        self._register_files(quantisations)
        self.job.progress(message="proving parity: trainer, adapter, merged")
        subjects = [{"folder": str(self.folder / "merged"), "out": str(self.folder / "merged.jsonl")}]
        if self.run.spec.method == "lora":
            adapter = {"folder": str(self.base), "adapter": str(self.folder / "adapter")}
            subjects.insert(0, adapter | {"out": str(self.folder / "adapter.jsonl")})
        spec = write_spec(
            self.folder / "answers.json",
            {
                "proof": str(self.folder / "proof.jsonl"),
                "subjects": subjects,
                "max_tokens": self.run.spec.proof.max_tokens,
                # As in training, so that these hops change nothing but the weights' form.
                "device": read_json(self.folder / "device.json"),
                "threads": self.kernel.settings.threads,
            },
        )
        python_process(self.job, "answers", "tidemill.tuning.answers", spec)
        for form in dict.fromkeys(("f16", *quantisations)):
            self.job.progress(message=f"proving parity: gguf:{form}")
            self.job.step(f"replay {form}", self._replay, form, form in quantisations)
        return ParityReport.model_validate(self.job.step("judge", self._judge, quantisations))

    def _tasks(self, quantisations: list[str]) -> list[dict[str, Any]]:
        merged, f16 = self.folder / "merged", self.gguf("f16")
        tasks: list[dict[str, Any]] = []
        if self.run.spec.method == "lora":
            paths = {"base": str(self.base), "adapter": str(self.folder / "adapter"), "target": str(merged)}
            tasks.append({"do": "merge", **paths})
        tasks.append(
            {"do": "convert", "source": str(merged), "target": str(f16), "name": self.run.name, "run": self.run.id}
        )
        for form in quantisations:
            if form != "f16":
                tasks.append({"do": "quantise", "source": str(f16), "target": str(self.gguf(form)), "to": form})
        return tasks

    def _register_files(self, quantisations: list[str]) -> None:
        """The form named first is registered last, so that the model's bare name means it."""
        before = "adapter" if self.run.spec.method == "lora" else "tuned"
        if before == "adapter":
            self.job.step("register merged", self._register_from, "merged", "merged", self.folder / "merged", before)
            before = "merged"
        self.job.step("register gguf:f16", self._register_from, "gguf:f16", "merged", self.gguf("f16"), before)
        for form in reversed([w for w in quantisations if w != "f16"]):
            name = f"gguf:{form}"
            self.job.step(f"register {name}", self._register_from, name, "quantised", self.gguf(form), "gguf:f16")

    def _register_from(self, name: str, kind: Kind, path: Path, before: str) -> dict[str, str]:
        with self.job.write() as ctx:
            parent = self._output(ctx, before)
        relations = {"merged": "merged_from", "gguf:f16": "converted_from"}
        parents = [ParentRef(version=parent.id, relation=relations.get(name, "quantised_from"))]
        if name == "merged":
            base = next(p.id for p in parent.parents if p.relation == "adapter_of")
            parents.append(ParentRef(version=base, relation="merged_from"))
        return self._register(name, kind, path, parents)

    def _replay(self, form: str, served: bool) -> dict[str, float]:
        """Ask the engine that serves a form: by token ids, and, for a form to be served, as a caller would."""
        proof, record = examples.read(self.folder / "proof.jsonl"), answers.read(self.folder / "answers.jsonl")
        most = self.run.spec.proof.max_tokens
        prompts = [row.prompt_ids for row in record]
        chats = [row.messages[:-1] for row in proof]
        engine = load_engine(self.kernel.plugins, self.kernel.settings)
        process = engine.start(
            self.gguf(form),
            log=self.folder / f"engine-{form}.log",
            threads=self.kernel.settings.threads,
            context=max(len(p) for p in prompts) + most + 8,
            parallel=PARALLEL,
        )
        try:
            process.wait_ready(120.0)
            start = time.monotonic()
            replies = replay.by_tokens(process.base_url, prompts, max_tokens=most, parallel=PARALLEL)
            self._keep(f"gguf-{form}", replies)
            middle = time.monotonic()
            if served:
                replies = replay.by_chat(process.base_url, chats, max_tokens=most, parallel=PARALLEL)
                self._keep(f"served-{form}", replies)
            return {"tokens_s": middle - start, "chat_s": time.monotonic() - middle}
        finally:
            process.stop()

    def _keep(self, name: str, replies: list[ProofAnswer]) -> None:
        write_json(self.folder / f"{name}.json", [r._asdict() for r in replies])

    def _judge(self, quantisations: list[str]) -> ParityReport:
        """Compare every hop with the trainer, store the report and say which versions may be served."""
        proof = examples.read(self.folder / "proof.jsonl")
        questions = [ProofPrompt(r.id, r.messages[-1]["content"], r.cluster) for r in proof]
        record = _read_answers(self.folder / "answers.jsonl")
        with self.job.write() as ctx:
            version_ids = {o.kind: o.version_id for o in service.get(ctx, self.run.id).outputs}
        # Labels are right or wrong; prose is more or less good.
        exact = all(r.exact for r in proof)
        hops = [parity.trainer_hop(questions, record, exact=exact)]
        for name, replies in self._replies(quantisations):
            version = version_ids.get(name.replace("served:", "gguf:"), version_ids.get("tuned"))
            hops.append(
                parity.judge(name, questions, record, replies, self.run.spec.proof, exact=exact, version_id=version)
            )
        report = parity.report(hops, self.run.spec.proof)
        with self.job.write() as ctx:
            store.lock(ctx.conn, f"tuning run {self.run.id}")  # two jobs may add to one run's report
            self._mark(ctx, report, quantisations)
            self._store(ctx, report)
        return report

    def _replies(self, quantisations: list[str]) -> list[tuple[str, list[ProofAnswer]]]:
        replies = []
        for name in ("adapter", "merged"):
            path = self.folder / f"{name}.jsonl"
            if path.exists():
                replies.append((name, _read_answers(path)))
        for form in dict.fromkeys(("f16", *quantisations)):
            replies.append((f"gguf:{form}", [ProofAnswer(**r) for r in read_json(self.folder / f"gguf-{form}.json")]))
        for form in quantisations:
            replies.append(
                (f"served:{form}", [ProofAnswer(**r) for r in read_json(self.folder / f"served-{form}.json")])
            )
        return replies

    def _mark(self, ctx: Context, report: ParityReport, quantisations: list[str]) -> None:
        """A form may be served when every hop on its own way passed."""
        by_name = {hop.name: hop for hop in report.hops}
        reference = self._output(ctx, "adapter" if self.run.spec.method == "lora" else "tuned")
        outputs = {o.kind: o for o in service.get(ctx, self.run.id).outputs}
        for form in quantisations:
            path_names = ["trainer", "adapter", "merged", "gguf:f16", f"gguf:{form}", f"served:{form}"]
            hops = [by_name[name] for name in path_names if name in by_name]
            evidence = _evidence(hops, form, reference.id, report.accepted)
            output = outputs[f"gguf:{form}"]
            registry.mark_servable(ctx, output.version_id, evidence)
            store.put_output(ctx.conn, self.run.id, output.model_copy(update={"servable": evidence.passed}))

    def _store(self, ctx: Context, report: ParityReport) -> None:
        before = service.get(ctx, self.run.id).parity
        names = {hop.name for hop in report.hops}
        earlier_hops = [hop for hop in before.hops if hop.name not in names] if before is not None else []
        accepted = [*report.accepted, *(before.accepted if before is not None else [])]
        accepted = [name for name in accepted if name in report.accepted or name not in names]
        full_report = parity.report([*report.hops, *earlier_hops], self.run.spec.proof, accepted=accepted)
        store.update(ctx.conn, self.run.id, parity=full_report.model_dump(mode="json"))


def _read_answers(path: Path) -> list[ProofAnswer]:
    return [ProofAnswer(r.prompt_ids, r.answer) for r in answers.read(path)]


def _evidence(hops: list[Hop], form: str, against: str, accepted: list[str]) -> ParityEvidence:
    broken = next((hop for hop in hops if hop.verdict != "pass" and hop.name not in accepted), None)
    last = hops[-1]
    doubts = [warning.message for warning in last.warnings]
    doubts += [f"Accepted though inconclusive, {hop.name}: {hop.reason}" for hop in hops if hop.name in accepted]
    if broken is not None:
        summary = f"Broken at {broken.name}: {broken.reason}"
    else:
        quality = f"quality {last.quality:.3f} against {last.quality_before:.3f}"
        summary = " ".join([f"{last.same} of {last.n} answers are the trainer's; {quality}.", *doubts])
    return ParityEvidence(
        passed=broken is None,
        hop=broken.name if broken is not None else f"trainer -> served:{form}",
        against=against,
        summary=summary,
        report={"hops": [hop.model_dump(mode="json") for hop in hops]},
    )
