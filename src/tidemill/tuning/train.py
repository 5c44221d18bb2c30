"""Fine-tune a model: `python -m tidemill.tuning.train <folder>/spec.json`. Read it from top to bottom.

The folder gets `progress.jsonl` (the step log), `checkpoints/step-…` (to resume from), `best/` (the best weights so
far) and at the end `adapter/` or `merged/`, `answers.jsonl` (the trainer's own answers for the parity proof) and
`summary.json`. Started again after a kill, it resumes from the newest checkpoint and ends with the same weights.
"""

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import Field

from tidemill.core.wire import Body
from tidemill.tuning import answers, batches, checkpoints, examples, memory, outputs, step_log
from tidemill.tuning import model as training_model
from tidemill.tuning.batches import BatchSchedule, TrainingExample
from tidemill.tuning.chat_template import ChatEncoder
from tidemill.tuning.compress.files import read_json, write_json
from tidemill.tuning.types import Lora, Method, NoTrainingRows, StepRecord, Training, TrainingSummary


class TrainSpec(Body):
    """The file `spec.json` that the training process reads. Paths are the server's own."""

    base: str = Field(description="Folder of the base model (safetensors).")
    base_name: str
    train: str = Field(description="JSON lines: id, messages (the last is the answer), start.")
    eval: str
    proof: str
    max_tokens: int = Field(description="Longest answer in the parity proof.")
    method: Method
    lora: Lora
    training: Training
    threads: int
    micro_batch_tokens: int = Field(default=memory.MICRO_BATCH_TOKENS, description="Most tokens in one pass.")


def main(path: Path) -> None:
    """Train as the spec at `path` says; write the outputs beside it."""
    import torch

    spec = TrainSpec.model_validate(read_json(path))
    folder = path.parent
    torch.set_num_threads(spec.threads)
    TrainingLoop(spec, folder).run()


class TrainingLoop:
    """One training run in one folder: model, rows, optimiser and state of the steps."""

    def __init__(self, spec: TrainSpec, folder: Path) -> None:
        import torch

        self.spec, self.folder, self.hparams = spec, folder, spec.training
        self.step_log = folder / "progress.jsonl"
        self.encoder = ChatEncoder(Path(spec.base))
        self.rows, self.dropped = self._encoded(Path(spec.train))
        self.held_out = self._encoded(Path(spec.eval))[0][: self.hparams.eval_rows]
        if not self.rows or not self.held_out:
            kind = "training" if not self.rows else "evaluation"
            raise NoTrainingRows(
                f"No {kind} row is left: {self.dropped} are longer than {self.hparams.max_length} tokens.",
                hint="Raise `max_length`, or check the split.",
            )
        self.prefix = 0 if self.hparams.gradient_checkpointing else batches.shared_prefix([*self.rows, *self.held_out])
        self.schedule = BatchSchedule(
            [len(e.ids) for e in self.rows],
            batch_size=self.hparams.batch_size,
            accumulation=self.hparams.gradient_accumulation,
            seed=self.hparams.seed,
        )
        self.total = self.schedule.total_steps(self.hparams.epochs, self.hparams.max_steps)
        torch.manual_seed(self.hparams.seed)
        self.device = self._device()
        self.model = self._model()
        self.trained = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self.optimiser = torch.optim.AdamW(
            list(self.trained.values()), lr=0.0, weight_decay=self.hparams.weight_decay, fused=False
        )
        self.best: dict[str, Any] = {"step": 0, "score": None}
        self.stopping = False

    def _encoded(self, path: Path) -> tuple[list[TrainingExample], int]:
        encoded, dropped = [], 0
        for row in examples.read(path):
            example = TrainingExample(
                *self.encoder.example(row.messages, start=row.start, completion_only=self.hparams.completion_only)
            )
            if len(example.ids) > self.hparams.max_length:
                dropped += 1
            else:
                encoded.append(example)
        return encoded, dropped

    def _device(self) -> training_model.Device:
        """Return the device of `device.json`, chosen once: a resumed run must not change its arithmetic."""
        path = self.folder / "device.json"
        if path.exists():
            return training_model.Device(**read_json(path))
        device = training_model.choose_device(self.hparams.precision)
        write_json(path, device._asdict())
        return device

    def _model(self) -> Any:
        model = training_model.load(Path(self.spec.base), self.device)
        if self.spec.method == "lora":
            model = training_model.add_lora(model, self.spec.lora, self.device, name=self.spec.base_name)
        if self.hparams.gradient_checkpointing:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        return model

    def run(self) -> None:
        """Resume from the newest checkpoint, or start; then train, keep the best weights and write the outputs.

        Raises SystemExit with 143 after SIGTERM, once the step is saved.
        """
        signal.signal(signal.SIGTERM, self._stop)
        first = self._restore() + 1
        self.model.train()
        for step in range(first, self.total + 1):
            record = self._step(step)
            step_log.append(self.step_log, record)
            sys.stdout.write(f"step {step}/{self.total} loss {record.loss:.4f} {record.tokens_per_s:.0f} tokens/s\n")
            sys.stdout.flush()
            if step % self.hparams.checkpoint_every == 0 or step == self.total or self.stopping:
                self._save(step)
            if self.stopping:
                raise SystemExit(143)
        self._finish()

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _step(self, step: int) -> StepRecord:
        """Make one optimiser step, evaluate when it is due, and return what the step log says about it."""
        import torch

        start = time.perf_counter()
        peak, warmup, schedule = self.hparams.learning_rate, self.hparams.warmup_ratio, self.hparams.schedule
        rate = batches.learning_rate(step, self.total, peak, warmup, schedule)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        bound = self.hparams.micro_batch_tokens or self.spec.micro_batch_tokens
        microbatches = [
            part
            for indices in self.schedule.step(step)
            for part in batches.micro_batches([self.rows[i] for i in indices], bound, self.prefix)
        ]
        answer_tokens = sum(sum(e.loss_mask) for batch in microbatches for e in batch)
        nats = 0.0
        for batch in microbatches:
            loss = training_model.batch_loss(self.model, batch, self.prefix, self.device)
            (loss.nats / answer_tokens).backward()  # the mean over the whole step, however it is cut into batches
            nats += float(loss.nats.detach())
        norm = torch.nn.utils.clip_grad_norm_(list(self.trained.values()), self.hparams.max_grad_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - start
        tokens = sum(len(e.ids) for batch in microbatches for e in batch)
        self.pace = 0.8 * getattr(self, "pace", seconds) + 0.2 * seconds
        eval_loss, exact = self._evaluate(step)
        return StepRecord(
            step=step,
            loss=nats / answer_tokens,
            learning_rate=rate,
            grad_norm=float(norm),
            tokens=tokens,
            seconds=seconds,
            tokens_per_s=tokens / seconds,
            eta_s=self.pace * (self.total - step),
            eval_loss=eval_loss,
            exact_match=exact,
        )

    def _evaluate(self, step: int) -> tuple[float | None, float | None]:
        """Return loss and exact-match share when an evaluation is due, else None twice. Saves the best weights."""
        if step % self.hparams.eval_every and step != self.total:
            return None, None
        loss, exact = training_model.evaluate(self.model, self.held_out, self.prefix, self.device)
        score = [-loss, exact] if self.hparams.best_by == "eval_loss" else [exact, -loss]
        if self.best["score"] is None or score > self.best["score"]:
            self.best = {"step": step, "score": score, "eval_loss": loss, "exact_match": exact}
            checkpoints.save(self.folder, "best", {"weights": self.trained}, self.best)
        return loss, exact

    def _save(self, step: int) -> None:
        import torch

        state = checkpoints.flatten(self.optimiser.state_dict())
        rng_state = {"cpu": torch.get_rng_state()}
        if self.device.name == "cuda":
            rng_state["cuda"] = torch.cuda.get_rng_state()
        tensors = {"weights": self.trained, "optimiser": state, checkpoints.RNG_STATE: rng_state}
        folder = self.folder / "checkpoints"
        checkpoints.save(folder, f"step-{step:08d}", tensors, {"step": step, "best": self.best})
        checkpoints.prune(folder, keep=2)

    def _restore(self) -> int:
        """Load the newest checkpoint and truncate the step log to it; return its step, 0 when there is none."""
        import torch
        from safetensors.torch import load_file

        checkpoint = checkpoints.latest(self.folder / "checkpoints")
        done = checkpoint.step if checkpoint is not None else 0
        starts = self.folder / "starts.json"
        write_json(starts, [*(read_json(starts) if starts.exists() else []), done])
        step_log.truncate(self.step_log, done)
        if checkpoint is None:
            return 0
        self._load_weights(load_file(checkpoint.folder / "weights.safetensors"))
        state = self.optimiser.state_dict()
        state["state"] = checkpoints.unflatten(load_file(checkpoint.folder / "optimiser.safetensors"))
        self.optimiser.load_state_dict(state)
        rng_state = load_file(checkpoints.rng_state_path(checkpoint.folder))
        torch.set_rng_state(rng_state["cpu"])
        if "cuda" in rng_state:
            torch.cuda.set_rng_state(rng_state["cuda"])
        self.best = checkpoints.read_state(checkpoint.folder)["best"]
        return done

    def _load_weights(self, weights: dict[str, Any]) -> None:
        for name, value in weights.items():
            self.trained[name].data.copy_(value)

    def _finish(self) -> None:
        """Write the best weights in the registry's form, the trainer's answers, and the summary last."""
        from safetensors.torch import load_file

        self._load_weights(load_file(checkpoints.saved(self.folder, "best") / "weights.safetensors"))
        if self.spec.method == "lora":
            outputs.write_adapter(self.model, Path(self.spec.base), self.folder / "adapter")
        else:
            outputs.write_model(self.model, Path(self.spec.base), self.folder / "merged")
        answers.write(
            self.folder / "answers.jsonl",
            self.model,
            self.encoder,
            Path(self.spec.proof),
            self.device,
            max_tokens=self.spec.max_tokens,
        )
        write_json(self.folder / "summary.json", self._summary().model_dump(mode="json"))

    def _summary(self) -> TrainingSummary:
        records = step_log.read(self.step_log)
        tokens, seconds = sum(r.tokens for r in records), sum(r.seconds for r in records)
        starts = read_json(self.folder / "starts.json")
        return TrainingSummary(
            steps=len(records),
            best_step=self.best["step"],
            eval_loss=self.best["eval_loss"],
            exact_match=self.best["exact_match"],
            rows=len(self.rows),
            dropped=self.dropped,
            tokens=tokens,
            seconds=seconds,
            tokens_per_s=tokens / seconds,
            peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            precision="bf16" if self.device.bf16 else "fp32",
            device=self.device.name,
            trainable=sum(p.numel() for p in self.trained.values()),
            resumed=sum(1 for s in starts[1:] if s > 0),
        )


if __name__ == "__main__":
    # The number of threads must stand before torch's libraries are loaded.
    os.environ.setdefault("OMP_NUM_THREADS", str(read_json(Path(sys.argv[1]))["threads"]))
    main(Path(sys.argv[1]))
