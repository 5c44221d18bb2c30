"""What a training process needs on disk: the base as safetensors, the rows, and an estimate that it will fit."""

from pathlib import Path

from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import iterate_pages
from tidemill.data import service as data
from tidemill.prompts import service as prompts
from tidemill.registry import service as registry
from tidemill.registry.types import ModelFile, ModelVersion, ParentRef, VersionCreate
from tidemill.tuning import examples, memory
from tidemill.tuning.batches import TrainingExample, shared_prefix
from tidemill.tuning.chat_template import ChatEncoder, Message
from tidemill.tuning.compress.files import read_json
from tidemill.tuning.examples import ChatExample
from tidemill.tuning.types import DatasetSchemaUnfit, MemoryEstimate, NoTrainingRows, TuningRun


def folder_of(kernel: Kernel, owner: str) -> Path:
    """Return where the files of a run, or of a job that makes more of one, lie until they are in the registry."""
    return kernel.folder("tuning", owner)


def trainable_name(model: str) -> str:
    """Name of the line that keeps a GGUF model's safetensors form, so that `model` still means what is served."""
    return f"{model[:51]}-safetensors"


def find_trainable(ctx: Context, base: ModelVersion) -> ModelVersion | None:
    """Return the safetensors form of `base`: itself, or the version that was made from it before."""
    if base.format == "safetensors":
        return base
    if trainable_name(base.model) not in _model_names(ctx):
        return None
    name = trainable_name(base.model)
    conversions = iterate_pages(lambda cursor, limit: registry.list_versions(ctx, name, cursor=cursor, limit=limit))
    return next((v for v in conversions if any(p.id == base.id for p in v.parents)), None)


def _model_names(ctx: Context) -> set[str]:
    models = iterate_pages(lambda cursor, limit: registry.list_models(ctx, cursor=cursor, limit=limit))
    return {model.name for model in models}


def trainable_form(base: ModelVersion, files: list[ModelFile]) -> VersionCreate:
    """Return what keeps the safetensors form of a GGUF base in the registry, so that it is made once."""
    return VersionCreate(
        model=trainable_name(base.model),
        kind="base",
        files=files,
        parents=[ParentRef(version=base.id, relation="converted_from")],
        licence=base.licence,
        description=f"{base.model} as float16 safetensors, the form that is tuned.",
    )


def prefix_of(ctx: Context, run: TuningRun) -> list[Message]:
    """Return the messages of the run's prompt version, which stand before every row."""
    if run.prompt_version_id is None:
        return []
    rendered = prompts.render(ctx, run.prompt_version_id, {})
    if rendered.messages is None:
        return [{"role": "system", "content": rendered.text or ""}]
    return [m.model_dump() for m in rendered.messages]


def prepare(ctx: Context, run: TuningRun, base: Path, folder: Path) -> MemoryEstimate:
    """Write `train.jsonl`, `eval.jsonl` and `proof.jsonl`; refuse what cannot fit into memory."""
    dataset = data.get_version(ctx, run.dataset_version_id)
    prefix = prefix_of(ctx, run)
    chats: dict[str, list[ChatExample]] = {}
    for split in dict.fromkeys((run.spec.train_split, run.spec.eval_split)):
        table = data.rows(ctx.kernel, dataset, split)
        examples.check_schema(dataset.row_schema, table.column_names, dataset=dataset.ref)
        chats[split] = [
            ChatExample(
                id=row["id"],
                cluster=str(row.get("cluster_id") or row["id"]),
                messages=examples.chat_of(row, dataset.row_schema, prefix, run.spec.answer_template),
                start=len(prefix),
                exact=dataset.row_schema == "classification",
            )
            for row in table.to_pylist()
        ]
    held_out = sorted(chats[run.spec.eval_split], key=lambda chat: chat.id)  # ids are hashes: a fixed shuffle
    if len(held_out) < 8:
        raise NoTrainingRows(
            f"The split {run.spec.eval_split!r} has {len(held_out)} rows; the parity proof needs at least 8.",
            hint="Give the evaluation split more rows.",
            param="eval_split",
        )
    examples.write(folder / "train.jsonl", chats[run.spec.train_split])
    examples.write(folder / "eval.jsonl", held_out)
    examples.write(folder / "proof.jsonl", held_out[: run.spec.proof.rows])
    memory_estimate = _estimate(run, base, chats[run.spec.train_split])
    memory.check(memory_estimate, run.spec.training)
    return memory_estimate


def _estimate(run: TuningRun, base: Path, chats: list[ChatExample]) -> MemoryEstimate:
    """From the rows with the longest text, which are the ones that decide."""
    encoder = ChatEncoder(base)
    hparams = run.spec.training
    longest = sorted(chats, key=lambda c: -sum(len(str(m["content"])) for m in c.messages))[:64]
    encoded = [TrainingExample(*encoder.example(c.messages, start=c.start)) for c in longest]
    fitting = [e for e in encoded if len(e.ids) <= hparams.max_length]
    if not any(any(e.loss_mask) for e in encoded):
        raise DatasetSchemaUnfit("No row has an answer to learn.", hint="Check the mapping of the import.")
    width = max((len(e.ids) for e in fitting), default=hparams.max_length)
    prefix = 0 if hparams.gradient_checkpointing else shared_prefix(fitting)
    config = read_json(base / "config.json")
    return memory.estimate(config, run.spec.method, run.spec.lora, hparams, longest=width, prefix=prefix)
