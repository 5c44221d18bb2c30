"""Running a recipe over rows that need not fit into memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidemill.data.duplicates import find_duplicates, meaning_keys, near_pairs, same_meaning
from tidemill.data.groups import MinHashIndex, first_of_equal
from tidemill.data.row_steps import RowStep, StepCounter, row_step
from tidemill.data.schemas import RowBatch, Schema
from tidemill.data.shingles import I64, U64, digests
from tidemill.data.spool import Mask, Spool, SpoolWriter
from tidemill.data.types import ExactStep, NearStep, Recipe, Scope, Step, StepReport

Checkpoint = Callable[[str], None]


@dataclass(frozen=True)
class CleanedRows:
    """What a recipe leaves: rows on disk, which of them count, and what each step did."""

    spool: Spool
    keep: Mask
    steps: list[StepReport]
    raw: U64
    """One digest of the input text of every row as it was read, before any cleaning."""


class RecipeRunner:
    """Runs the steps in order. Row-wise steps that follow each other share one pass over the rows."""

    def __init__(self, schema: Schema, folder: Path, sources: list[str], checkpoint: Checkpoint) -> None:
        self.schema = schema
        self.folder = folder
        self.sources = sources
        self.checkpoint = checkpoint
        self.tallies: list[StepCounter] = []
        self.spools = 0

    def run(self, batches: Iterable[RowBatch], recipe: Recipe) -> CleanedRows:
        """Run every step of the recipe over `batches`; return the remaining rows and the report of each step."""
        steps = list(recipe.steps)
        raw: list[U64] = []
        spool = self._rowwise(_add_digests(batches, self.schema, raw), _leading(steps))
        keep = np.ones(len(spool), dtype=bool)
        while steps:
            step = steps.pop(0)
            counter = self._counter(step.step)
            if isinstance(step, NearStep):
                keep = self._near(spool, keep, step, counter)
            elif isinstance(step, ExactStep):
                keep = self._exact(spool, keep, step, counter)
            if following := _leading(steps):
                before, spool = spool, self._rowwise(spool.batches(keep), following)
                before.close()
                keep = np.ones(len(spool), dtype=bool)
        joined = np.concatenate(raw) if raw else np.zeros((0, 2), dtype=np.uint64)
        return CleanedRows(spool, keep, [counter.report() for counter in self.tallies], joined)

    def _counter(self, name: str) -> StepCounter:
        counter = StepCounter(name, self.sources)
        self.tallies.append(counter)
        return counter

    def _rowwise(self, batches: Iterable[RowBatch], specs: list[Step]) -> Spool:
        running: list[RowStep] = [row_step(spec, self.schema, self._counter(spec.step)) for spec in specs]
        self.spools += 1
        writer = SpoolWriter(self.folder / f"spool{self.spools}.arrow", self.schema)
        for batch in batches:
            self.checkpoint(", ".join(step.counter.step for step in running) or "reading")
            for step in running:
                if len(batch):
                    batch = step.run(batch)
            writer.add(batch)
        return writer.finish()

    def _exact(self, spool: Spool, keep: Mask, step: ExactStep, counter: StepCounter) -> Mask:
        scope = step.on or self.schema.duplicates_on
        rows = np.flatnonzero(keep)
        keys = texts_digest(spool, self.schema, keep, scope, self.checkpoint)
        first = first_of_equal(keys)
        duplicate = first != np.arange(len(rows))
        counter.passed(len(rows), int((~duplicate).sum()))
        self._note_duplicates(spool, counter, rows, np.flatnonzero(duplicate), first)
        remaining = keep.copy()
        remaining[rows[duplicate]] = False
        return remaining

    def _note_duplicates(self, spool: Spool, counter: StepCounter, rows: I64, duplicates: I64, first: I64) -> None:
        self._count_lost_answers(spool, counter, rows[duplicates], rows[first[duplicates]])
        for place in duplicates[:5].tolist():
            self._example(spool, counter, int(rows[place]), int(rows[first[place]]), "the same as")

    def _count_lost_answers(self, spool: Spool, counter: StepCounter, dropped: I64, kept_rows: I64) -> None:
        """Count dropped rows whose label or answer is another than that of the row that stays."""
        if self.schema.name == "text" or not len(dropped):
            return
        answers = np.concatenate([digests(_encoded(self.schema.answers(batch))) for batch in spool.batches()])
        other = int((answers[dropped] != answers[kept_rows]).any(axis=1).sum())
        name = "other_label" if self.schema.name == "classification" else "other_answer"
        if other or name == "other_label":
            counter.figures[name] = other

    def _example(self, spool: Spool, counter: StepCounter, row: int, like: int, reason: str) -> None:
        dropped, original = spool.row(row), spool.row(like)
        where = f"{self.sources[original.files[0]]}:{original.lines[0]}"
        counter.example(dropped, 0, self.schema.row_texts(dropped)[0], None, f"{reason} {where}")

    def _near(self, spool: Spool, keep: Mask, step: NearStep, counter: StepCounter) -> Mask:
        scope = step.on or self.schema.duplicates_on
        documents = self.schema.name == "text"
        rows = np.flatnonzero(keep)
        index = minhash_index(spool, self.schema, rows, self.folder / f"near{len(self.tallies)}", step, scope)

        def same(left: int, right: int) -> bool:
            return not step.same_meaning or same_meaning(index.text_of(left), index.text_of(right), documents=documents)

        for batch in spool.batches(keep):
            self.checkpoint("near_duplicates")
            texts = self.schema.row_texts(batch, scope)
            keys = meaning_keys(texts, self.schema.answers(batch), documents=documents) if step.same_meaning else None
            index.add(texts, keys)
        like = find_duplicates(index, same, lambda: self.checkpoint("near_duplicates"))
        duplicates = np.flatnonzero(like >= 0)
        counter.passed(len(rows), len(rows) - len(duplicates))
        self._count_lost_answers(spool, counter, rows[duplicates], rows[like[duplicates]])
        for pair in near_pairs(like, index, 5):
            self._example(spool, counter, int(rows[pair.row]), int(rows[pair.like]), f"{pair.similarity:.2f} like")
        remaining = keep.copy()
        remaining[rows[duplicates]] = False
        return remaining


def _encoded(texts: list[str]) -> list[bytes]:
    return [text.encode("utf-8", "surrogatepass") for text in texts]


def _leading(steps: list[Step]) -> list[Step]:
    """Take the row-wise steps from the front of the list."""
    rowwise: list[Step] = []
    while steps and not isinstance(steps[0], ExactStep | NearStep):
        rowwise.append(steps.pop(0))
    return rowwise


def _add_digests(batches: Iterable[RowBatch], schema: Schema, into: list[U64]) -> Iterator[RowBatch]:
    for batch in batches:
        into.append(digests([text.encode() for text in schema.row_texts(batch, "input")]))
        yield batch


def texts_digest(spool: Spool, schema: Schema, keep: Mask, scope: Scope, checkpoint: Checkpoint) -> U64:
    """Return one digest of each kept row's text."""
    parts = []
    for batch in spool.batches(keep):
        checkpoint("exact_duplicates")
        if scope == "row" and schema.name != "chat":
            parts.append(digests(schema.identities(batch)))
        else:
            parts.append(digests([text.encode() for text in schema.row_texts(batch, scope)]))
    return np.concatenate(parts) if parts else np.zeros((0, 2), dtype=np.uint64)


def minhash_index(spool: Spool, schema: Schema, rows: I64, folder: Path, step: NearStep, scope: Scope) -> MinHashIndex:
    """Return an index over the given rows of a spool."""

    def text_of(place: int) -> str:
        return schema.row_texts(spool.row(int(rows[place])), scope)[0]

    return MinHashIndex(folder, threshold=step.threshold, ngram=step.ngram, text_of=text_of)


def label_numbers(spool: Spool) -> tuple[I64, list[str]]:
    """Return the label of every row as a number, and the labels in alphabetical order."""
    number_of: dict[str, int] = {}
    parts = []
    for column in spool.column("label"):
        encoded = column.dictionary_encode()
        numbers = [number_of.setdefault(label, len(number_of)) for label in encoded.dictionary.to_pylist()]
        parts.append(np.array(numbers, dtype=np.int64)[encoded.indices.to_numpy()])
    names = sorted(number_of)
    rank = np.empty(len(names), dtype=np.int64)
    for place, name in enumerate(names):
        rank[number_of[name]] = place
    joined = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    return rank[joined], names
