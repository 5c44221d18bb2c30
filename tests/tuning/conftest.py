"""A llama model small enough to train in a second, with the packaged model's own tokenizer and template."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader

from tidemill.core.http import Http, InProcessTransport
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.data.sdk import Data
from tidemill.data.types import DatasetVersion
from tidemill.jobs.service import JobQueue
from tidemill.prompts.sdk import Prompts
from tidemill.registry.packaged import SMOLLM2, locate
from tidemill.registry.sdk import Models
from tidemill.server.app import build
from tidemill.tuning.compress import safetensors_file
from tidemill.tuning.compress.convert import convert
from tidemill.tuning.compress.dequantise import dequantise
from tidemill.tuning.compress.files import write_json
from tidemill.tuning.compress.quantise import quantise
from tidemill.tuning.compress.safetensors_file import Slot, kept_dtype
from tidemill.tuning.compress.vocabulary import tokenizer_config, tokenizer_json
from tidemill.tuning.sdk import Tuning
from tidemill.tuning.types import Lora, Proof, Training, TuneSubmit

WIDTH, INNER, LAYERS, HEADS, KEYS = 64, 128, 2, 4, 2


@pytest.fixture(scope="session")
def packaged() -> Path:
    """The packaged base model's GGUF file."""
    return locate(SMOLLM2)


@pytest.fixture(scope="session")
def fields(packaged: Path) -> dict[str, Any]:
    """Its metadata."""
    return {name: field.contents() for name, field in GGUFReader(packaged).fields.items()}


def _shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    narrow = WIDTH * KEYS // HEADS
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, WIDTH),
        "model.norm.weight": (WIDTH,),
    }
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        found |= {
            f"{at}.input_layernorm.weight": (WIDTH,),
            f"{at}.post_attention_layernorm.weight": (WIDTH,),
            f"{at}.self_attn.q_proj.weight": (WIDTH, WIDTH),
            f"{at}.self_attn.k_proj.weight": (narrow, WIDTH),
            f"{at}.self_attn.v_proj.weight": (narrow, WIDTH),
            f"{at}.self_attn.o_proj.weight": (WIDTH, WIDTH),
            f"{at}.mlp.gate_proj.weight": (INNER, WIDTH),
            f"{at}.mlp.up_proj.weight": (INNER, WIDTH),
            f"{at}.mlp.down_proj.weight": (WIDTH, INNER),
        }
    return found


@pytest.fixture(scope="session")
def tiny_gguf(fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model as a Q4_1 GGUF file, like the packaged one."""
    folder = tmp_path_factory.mktemp("tiny") / "random"
    folder.mkdir()
    chance = np.random.default_rng(7)
    shapes = _shapes(len(fields["tokenizer.ggml.tokens"]))

    def produce(name: str) -> np.ndarray:
        shape = shapes[name]
        return chance.normal(0, 0.08, shape) if len(shape) > 1 else np.ones(shape)

    slots = [Slot(name, shape, kept_dtype(shape)) for name, shape in sorted(shapes.items())]
    safetensors_file.write(folder / "model.safetensors", slots, produce)
    write_json(folder / "tokenizer.json", tokenizer_json(fields))
    write_json(folder / "tokenizer_config.json", tokenizer_config(fields))
    (folder / "chat_template.jinja").write_text(fields["tokenizer.chat_template"])
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEYS,
        "head_dim": WIDTH // HEADS,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    write_json(folder / "config.json", config)
    convert(folder, folder.parent / "f16.gguf", name="tiny")
    target = folder.parent / "tiny-q4_1.gguf"
    quantise(folder.parent / "f16.gguf", target, "q4_1")
    return target


@pytest.fixture(scope="session")
def tiny(tiny_gguf: Path) -> Path:
    """The same model as a safetensors folder."""
    folder = tiny_gguf.parent / "base"
    dequantise(tiny_gguf, folder)
    return folder


def sentence(number: int) -> tuple[str, str]:
    """A text and its label, which one word decides."""
    words = ("cat", "dog")
    label = number % 2
    return f"The {words[label]} number {number} sleeps.", words[label].upper()


@dataclass
class Bench:
    """The SDK on a home whose jobs run."""

    tuning: Tuning
    data: Data
    models: Models
    prompts: Prompts
    kernel: Kernel
    http: Http

    def dataset(self, folder: Path, rows: int = 160, **options: Any) -> DatasetVersion:
        """Sentences about cats and dogs, divided."""
        path = folder / "pets.jsonl"
        path.write_text(
            "".join(json.dumps(dict(zip(("text", "label"), sentence(n), strict=True))) + "\n" for n in range(rows))
        )
        split = {"ratios": {"train": 0.6, "validation": 0.4}, "near_duplicates": None}
        return self.data.import_(path, **{"name": "pets", "split": split, "recipe": {"steps": []}, **options})


def open_bench(home: Path, tiny_gguf: Path, **settings: Any) -> Iterator[Bench]:
    """A home with the tiny model in it, whose jobs run until the iterator ends."""
    application = build(Settings(home=home, threads=2, **settings))
    application.kernel.get(JobQueue).start(application.kernel)
    http = Http("http://tidemill.local", transport=InProcessTransport(application.asgi))
    try:
        made = Bench(Tuning(http), Data(http), Models(http), Prompts(http), application.kernel, http)
        made.models.add(tiny_gguf, name="tiny", licence="Apache-2.0")
        yield made
    finally:
        http.close()
        application.kernel.get(JobQueue).stop()
        application.kernel.close()


@pytest.fixture
def bench(home: Path, tiny_gguf: Path) -> Iterator[Bench]:
    """A home with the tiny model in it."""
    yield from open_bench(home, tiny_gguf)


def submission(**changes: Any) -> TuneSubmit:
    """A run that takes seconds."""
    given: dict[str, Any] = {
        "model": "tiny",
        "dataset": "pets",
        "answer_template": '{"pet": "{{label}}"}',
        "lora": Lora(rank=8, alpha=16),
        "training": Training(
            learning_rate=2e-2,
            max_steps=60,
            batch_size=16,
            eval_every=20,
            eval_rows=32,
            checkpoint_every=10,
            precision="fp32",
        ),
        "proof": Proof(rows=48, max_tokens=12),
    }
    return TuneSubmit.model_validate(given | changes)


__all__ = ["Bench", "open_bench", "sentence", "submission"]
