"""The tiny model of all tests, and a home with it whose jobs run."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import quick
from tests.shared import make_once
from tests.tiny import make_tiny, packaged_fields
from tidemill.core.http import Http, InProcessTransport
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.data.sdk import Data
from tidemill.data.types import DatasetVersion
from tidemill.jobs.service import JobQueue
from tidemill.prompts.sdk import Prompts
from tidemill.registry.sdk import Models
from tidemill.server.app import build
from tidemill.tuning.sdk import Tuning
from tidemill.tuning.types import Lora, Proof, Training, TuneSubmit


@pytest.fixture(scope="session")
def fields() -> dict[str, Any]:
    """The metadata of the packaged base model's GGUF file."""
    return packaged_fields()


@pytest.fixture(scope="session")
@quick.needs("tune")  # quantising loads the engine's library
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model as a Q4_1 GGUF file, like the packaged one. Shared: nobody writes to it."""
    return make_once(tmp_path_factory, "tiny", make_tiny) / "tiny-q4_1.gguf"


@pytest.fixture(scope="session")
def tiny(tiny_gguf: Path) -> Path:
    """The same model as a safetensors folder. Shared: nobody writes to it."""
    return tiny_gguf.parent / "base"


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
        new_bench = Bench(Tuning(http), Data(http), Models(http), Prompts(http), application.kernel, http)
        new_bench.models.add(tiny_gguf, name="tiny", licence="Apache-2.0")
        yield new_bench
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
    fields_given: dict[str, Any] = {
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
    return TuneSubmit.model_validate(fields_given | changes)


__all__ = ["Bench", "open_bench", "sentence", "submission"]
