"""Recipes that were measured, so that a newcomer's first run is a good one."""

from pydantic import Field

from tidemill.core.wire import Value
from tidemill.tuning.types import Form, Lora, Proof, Training


class TuningRecipe(Value):
    """Settings for one kind of task, and what they gave."""

    name: str
    purpose: str
    system: str | None = Field(description="System message that was trained with.")
    answer_template: str | None
    lora: Lora
    training: Training
    then: list[Form]
    proof: Proof
    measured: dict[str, float] = Field(description="Figures by name, from the run that found the recipe.")


QUESTION_TYPES = TuningRecipe(
    name="question-types",
    purpose="Short texts with a few labels, answered as JSON (TREC questions, SmolLM2-135M-Instruct).",
    system="Answer with the type of the question as JSON. Types: ABBR, DESC, ENTY, HUM, LOC, NUM.",
    answer_template='{"type": "{{label}}"}',
    lora=Lora(rank=16, alpha=32),
    training=Training(learning_rate=1e-3, batch_size=16, max_steps=150, eval_every=75, eval_rows=128, max_length=256),
    then=["gguf:q8_0"],
    proof=Proof(rows=128, margin=0.08, max_tokens=16),
    # Two cores with AVX512-BF16, 120 steps: 128 held-out questions at each hop, 450 others for `accuracy_test_…`.
    # 150 steps gave 0.938 on another split, without near-duplicates held together, against 0.81 of Naive Bayes.
    measured={
        "accuracy_trainer": 0.906,
        "accuracy_gguf_q8_0": 0.898,
        "accuracy_gguf_q4_k_m": 0.898,
        "same_answers_gguf_f16": 0.984,
        "same_answers_gguf_q8_0": 0.977,
        "same_answers_gguf_q4_k_m": 0.945,
        "accuracy_test_gguf_q8_0": 0.873,
        "accuracy_test_gguf_q4_k_m": 0.862,
        "peak_gib": 3.25,
    },
)

RECIPES = {recipe.name: recipe for recipe in (QUESTION_TYPES,)}
