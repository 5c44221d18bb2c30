"""Specs in YAML, in four dialects."""

import pytest

from tidemill.tuning import spec_file
from tidemill.tuning.recipes import RECIPES
from tidemill.tuning.types import InvalidTuningSpec

HEAD = "dataset: trec@1\n"


@pytest.mark.parametrize(
    "text",
    [
        "model: smollm2\nmethod: lora\nrank: 8\nalpha: 16\nmax_length: 256\nbatch_size: 4\n"
        "gradient_accumulation: 2\nepochs: 3\nlearning_rate: 1e-3\nschedule: cosine\ncompletion_only: true\n",
        "base_model: smollm2\nadapter: lora\nlora_r: 8\nlora_alpha: 16\nsequence_len: 256\nsample_packing: true\n"
        "micro_batch_size: 4\ngradient_accumulation_steps: 2\nnum_epochs: 3\nlearning_rate: 0.001\n"
        "lr_scheduler: cosine\ntrain_on_inputs: false\nload_in_4bit: false\n",
        "model_name_or_path: smollm2\nstage: sft\nfinetuning_type: lora\nlora_rank: 8\nlora_alpha: 16\n"
        "cutoff_len: 256\n"
        "per_device_train_batch_size: 4\ngradient_accumulation_steps: 2\nnum_train_epochs: 3.0\n"
        "learning_rate: 1.0e-3\n"
        "lr_scheduler_type: cosine\ntrain_on_prompt: false\nlora_target: all\n",
        "model_name_or_path: smollm2\nr: 8\nlora_alpha: 16\ntarget_modules: all-linear\nmax_length: 256\n"
        "packing: false\n"
        "per_device_train_batch_size: 4\ngradient_accumulation_steps: 2\nnum_train_epochs: 3\nlearning_rate: 1e-3\n"
        "lr_scheduler_type: cosine\ncompletion_only_loss: true\n",
    ],
    ids=["ours", "axolotl", "llama-factory", "trl"],
)
def test_the_four_dialects_mean_the_same(text: str) -> None:
    spec = spec_file.read(HEAD + text)
    assert (spec.model, spec.method, spec.lora.rank, spec.lora.alpha) == ("smollm2", "lora", 8, 16)
    assert len(spec.lora.targets) == 7
    hparams = spec.training
    assert (hparams.max_length, hparams.batch_size, hparams.gradient_accumulation, hparams.epochs) == (256, 4, 2, 3.0)
    assert (hparams.learning_rate, hparams.schedule, hparams.completion_only) == (1e-3, "cosine", True)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("lora_rnk: 8", "lora_rnk"),
        ("load_in_4bit: true", "load_in_4bit"),
        ("rl: dpo", "not possible"),
        ("stage: dpo", "stage"),
        ("adapter: qlora", "qlora"),
        ("learning_rate: fast", "learning_rate"),
        ("- a list", "not YAML"),
        ("then: [gguf:q3_k]", "then"),
    ],
)
def test_what_cannot_be_is_refused_by_name(line: str, match: str) -> None:
    with pytest.raises(InvalidTuningSpec, match=match):
        spec_file.read(f"model: smollm2\n{HEAD}{line}\n")


def test_a_wrong_key_gets_a_suggestion() -> None:
    with pytest.raises(InvalidTuningSpec) as failed:
        spec_file.read(HEAD + "model: smollm2\nlearnin_rate: 1e-3\n")
    assert "learning_rate" in (failed.value.hint or "")


def test_every_recipe_is_a_valid_spec() -> None:
    for recipe in RECIPES.values():
        fields = recipe.model_dump(include={"answer_template", "lora", "training", "then", "proof"})
        spec = spec_file.build({"model": "smollm2", "dataset": "trec@1", **fields})
        assert spec.training == recipe.training
