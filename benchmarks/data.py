"""How fast data comes in: import and clean in MB/s, whole and per step, beside a plain in-memory script.

    python benchmarks/data.py [megabytes]
    python benchmarks/data.py 0.05    # the smallest

The text is real: the source files of Python's standard library, cut into rows of about a kilobyte, copied a second
time in part so that there are duplicates to find. The peer reads with polars, drops exact duplicates, trims, and finds
near-duplicates with rensa, all in memory and without any of the checks, masking, splitting or reporting.
"""

import argparse
import json
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars
import rensa
from rich.console import Console
from rich.table import Table

from tidemill.data.builder import ENGINE, Builder
from tidemill.data.types import (
    ExactStep,
    ImportPlan,
    LanguageStep,
    LengthStep,
    MapSpec,
    NearStep,
    PiiStep,
    ReadSpec,
    Recipe,
    SourceRef,
    SplitSpec,
    UnicodeStep,
    WhitespaceStep,
    default_recipe,
)

ROW_CHARS = 1000
ONE = {"train": 1.0}
THREE = {"train": 0.8, "validation": 0.1, "test": 0.1}
STEPS = (
    UnicodeStep(),
    WhitespaceStep(),
    LengthStep(),
    LanguageStep(keep=["en"]),
    PiiStep(),
    ExactStep(),
    NearStep(),
)


def rows(megabytes: float) -> Iterator[str]:
    """Real text in rows; every fourth row comes a second time."""
    remaining = megabytes * 1e6
    number = 0
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"))
    for file in files:
        text = file.read_text(encoding="utf-8", errors="ignore")
        for begin in range(0, len(text), ROW_CHARS):
            row = text[begin : begin + ROW_CHARS]
            number += 1
            for _ in range(2 if number % 4 == 0 else 1):
                remaining -= len(row)
                yield row
            if remaining <= 0:
                return


def write(folder: Path, megabytes: float) -> dict[str, Path]:
    """The same rows as JSONL, CSV and Parquet."""
    frame = polars.DataFrame({"text": list(rows(megabytes))})
    paths = {kind: folder / f"rows.{kind}" for kind in ("jsonl", "csv", "parquet")}
    paths["jsonl"].write_text("".join(json.dumps({"text": t}) + "\n" for t in frame["text"]), encoding="utf-8")
    frame.write_csv(paths["csv"])
    frame.write_parquet(paths["parquet"])
    return paths


@dataclass(frozen=True)
class Took:
    """What one run took and left."""

    seconds: float
    processor: float
    rows: int


def timed(work: Callable[[], int]) -> Took:
    """Measure `work`, which returns the rows left. Processor seconds count all threads and no other process."""
    began, used = time.perf_counter(), time.process_time()
    row_count = work()
    return Took(time.perf_counter() - began, time.process_time() - used, row_count)


def build(path: Path, recipe: Recipe, ratios: dict[str, float]) -> Took:
    """Import with a recipe."""
    plan = ImportPlan(
        engine=ENGINE,
        sources=[SourceRef(name=path.name, hash="sha256:" + "0" * 64)],
        row_schema="text",
        read=ReadSpec(),
        mapping=MapSpec(fields={"text": "text"}),
        recipe=recipe,
        split=SplitSpec(ratios=ratios),
    )
    with tempfile.TemporaryDirectory() as folder:
        builder = Builder(plan, [path], Path(folder), lambda stage, count: None)
        return timed(lambda: sum(builder.build().rows.values()))


def peer(path: Path) -> int:
    """A plain script that reads, trims and removes duplicates in memory."""
    frame = (
        polars.read_ndjson(path).with_columns(polars.col("text").str.strip_chars()).unique("text", maintain_order=True)
    )
    index = rensa.RMinHashDeduplicator(threshold=0.8, num_perm=126, use_lsh=True, num_bands=21)
    texts = frame["text"].to_list()
    keep_mask = index.add_pairs(
        (str(n), [t[i : i + 5] for i in range(max(1, len(t) - 4))]) for n, t in enumerate(texts)
    )
    frame.filter(polars.Series(keep_mask)).write_parquet(path.with_suffix(".peer"))
    return sum(keep_mask)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("megabytes", type=float, nargs="?", default=10.0, help="how much text; default: 10")
    megabytes = parser.parse_args().megabytes
    table = Table(title=f"import + clean, {megabytes:g} MB of rows of {ROW_CHARS} characters")
    for heading in ("what", "s", "processor s", "MB/s", "MB per processor s", "rows left"):
        table.add_column(heading, justify="left" if heading == "what" else "right")

    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder), megabytes)
        size = paths["jsonl"].stat().st_size / 1e6

        def add(what: str, took: Took, above: Took | None = None) -> None:
            seconds = max(took.seconds - (above.seconds if above else 0), 0.01)
            processor = max(took.processor - (above.processor if above else 0), 0.01)
            speeds = (f"{size / seconds:.1f}", f"{size / processor:.1f}")
            table.add_row(what, f"{seconds:.2f}", f"{processor:.2f}", *speeds, f"{took.rows:,}")

        build(paths["jsonl"], Recipe(steps=[LanguageStep(keep=["en"])]), ONE)  # loads the language model
        bare = {kind: build(path, Recipe(), ONE) for kind, path in paths.items()}
        for kind, took in bare.items():
            add(f"read {kind}, no steps, write", took)
        for step in STEPS:
            add(f"+ {step.step} alone (above reading)", build(paths["jsonl"], Recipe(steps=[step]), ONE), bare["jsonl"])
        add("default recipe, one split", build(paths["jsonl"], default_recipe(), ONE))
        add("default recipe, three splits free of leaks", build(paths["jsonl"], default_recipe(), THREE))
        add("peer: polars + rensa in memory, duplicates only", timed(lambda: peer(paths["jsonl"])))
    Console().print(table)


if __name__ == "__main__":
    main()
