"""The steps of a recipe that look at one row at a time."""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from tidemill.data.pii import PiiFinder, all_kinds_finder, mask_matches
from tidemill.data.schemas import RowBatch, Schema
from tidemill.data.types import (
    Example,
    LanguageStep,
    LengthStep,
    PiiStep,
    RecipeInvalid,
    StepReport,
    UnicodeStep,
    WhitespaceStep,
)

EXAMPLES = 5
_EXAMPLE_CHARS = 200
_LANGUAGE_CHARS = 600
"""A language shows in this much text."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SEPARATORS = re.compile(r"[\x0b\x1c-\x1f]")
_SEPARATED = {0x0B: "\n", **dict.fromkeys(range(0x1C, 0x20), " ")}
"""Control characters that part words: the soft line break of office programs, and the four separators."""
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n ?")
_EMPTY_LINES = re.compile(r"\n{3,}")


def excerpt(text: str) -> str:
    """Return a text as it may be shown in a report: masked, short, and storable."""
    safe = all_kinds_finder().mask(text[: 4 * _EXAMPLE_CHARS]).replace("\x00", "\ufffd")
    return safe if len(safe) <= _EXAMPLE_CHARS else safe[:_EXAMPLE_CHARS] + "…"


class StepCounter:
    """Counts what a step does and keeps a few examples."""

    def __init__(self, step: str, sources: list[str]) -> None:
        self.step = step
        self.sources = sources
        self.rows_in = 0
        self.rows_out = 0
        self.changed = 0
        self.figures: Counter[str] = Counter()
        self.examples: list[Example] = []

    def passed(self, rows_in: int, rows_out: int) -> None:
        """Count the rows that entered and left the step."""
        self.rows_in += rows_in
        self.rows_out += rows_out

    def example(self, batch: RowBatch, row: int, before: str, after: str | None, reason: str) -> None:
        """Store an example, up to EXAMPLES of them."""
        if len(self.examples) < EXAMPLES:
            source = f"{self.sources[batch.files[row]]}:{batch.lines[row]}"
            after_excerpt = None if after is None else excerpt(after)
            self.examples.append(Example(source=source, before=excerpt(before), after=after_excerpt, reason=reason))

    def report(self) -> StepReport:
        """Return the counts as a StepReport."""
        return StepReport(
            step=self.step,
            rows_in=self.rows_in,
            rows_out=self.rows_out,
            changed=self.changed,
            figures=dict(sorted(self.figures.items())),
            examples=self.examples,
        )


class RowStep(Protocol):
    """A step that needs to see one row at a time."""

    counter: StepCounter

    def run(self, batch: RowBatch) -> RowBatch:
        """Return the batch without dropped rows and with changed texts."""


class ChangeText:
    """Changes every text by a function."""

    def __init__(self, schema: Schema, counter: StepCounter, change: Callable[[str], str], reason: str) -> None:
        self.schema = schema
        self.counter = counter
        self.change = change
        self.reason = reason

    def run(self, batch: RowBatch) -> RowBatch:
        """Return the batch with its texts changed."""
        before = self.schema.cells(batch)
        after = list(map(self.change, before))
        self.counter.passed(len(batch), len(batch))
        if before == after:
            return batch
        rows = self.schema.cell_rows(batch)
        differing = [cell for cell, text in enumerate(after) if text != before[cell]]
        self.counter.changed += len({rows[cell] for cell in differing})
        for cell in differing[:EXAMPLES]:
            self.counter.example(batch, rows[cell], before[cell], after[cell], self.reason)
        return self.schema.with_cells(batch, after)


def repair(text: str) -> str:
    """Return the text with wrong decoding undone, and control characters removed or made the space they stand for."""
    if _SEPARATORS.search(text) is not None:
        text = text.translate(_SEPARATED)
    if text.isascii() and _CONTROLS.search(text) is None:
        return text
    import ftfy

    return unicodedata.normalize("NFC", ftfy.fix_text(text, _repair_config()))


@functools.cache
def _repair_config() -> Any:
    import ftfy

    return ftfy.TextFixerConfig(unescape_html=False, uncurl_quotes=False, fix_latin_ligatures=False, explain=False)


def trim(text: str) -> str:
    """Trim, and shorten runs of spaces and of empty lines."""
    text = text.strip()
    if "\n" not in text:
        return text if text.isascii() and text.isprintable() and "  " not in text else _SPACES.sub(" ", text)
    return _EMPTY_LINES.sub("\n\n", _LINES.sub("\n", _SPACES.sub(" ", text)))


class KeepLanguage:
    """Drops rows in other languages."""

    def __init__(self, schema: Schema, counter: StepCounter, spec: LanguageStep) -> None:
        self.schema = schema
        self.counter = counter
        self.spec = spec
        languages = language_identifier().labels
        for code in spec.keep:
            if code not in languages:
                raise RecipeInvalid(
                    f"The language {code!r} is not known.",
                    hint=f"Use ISO 639-1 codes: {', '.join(sorted(languages)[:200])}.",
                    param="recipe",
                )

    def run(self, batch: RowBatch) -> RowBatch:
        """Return the rows in the accepted languages."""
        identifier = language_identifier()
        mask = []
        for row, text in enumerate(self.schema.row_texts(batch)):
            if len(text) < self.spec.min_chars:
                mask.append(True)
                self.counter.figures["too_short"] += 1
                continue
            language, probability = identifier.classify(text[:_LANGUAGE_CHARS])
            accepted = language in self.spec.keep and probability >= self.spec.min_probability
            self.counter.figures[language] += 1
            mask.append(accepted)
            if not accepted:
                self.counter.example(batch, row, text, None, f"{language} with probability {probability:.2f}")
        remaining = batch.keep(mask)
        self.counter.passed(len(batch), len(remaining))
        return remaining


@functools.cache
def language_identifier() -> Any:
    """Return the language model of py3langid, loaded on first use."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


class KeepLength:
    """Drops rows that are too short or too long. Every required text must have the least length."""

    def __init__(self, schema: Schema, counter: StepCounter, spec: LengthStep) -> None:
        self.schema = schema
        self.counter = counter
        self.spec = spec

    def run(self, batch: RowBatch) -> RowBatch:
        """Return the rows whose length is within the bounds."""
        texts = self.schema.row_texts(batch, "row")
        shortest = list(map(len, texts))
        for name in set(self.schema.required) & set(self.schema.texts) - {"messages"}:
            shortest = [min(low, len(text)) for low, text in zip(shortest, batch.columns[name], strict=True)]
        upper = self.spec.max_chars if self.spec.max_chars is not None else max(map(len, texts), default=0)
        mask = [low >= self.spec.min_chars and len(text) <= upper for low, text in zip(shortest, texts, strict=True)]
        if not all(mask):
            self._note(batch, texts, mask)
        remaining = batch.keep(mask)
        self.counter.passed(len(batch), len(remaining))
        return remaining

    def _note(self, batch: RowBatch, texts: list[str], mask: list[bool]) -> None:
        for row in (row for row, fits in enumerate(mask) if not fits):
            long = self.spec.max_chars is not None and len(texts[row]) > self.spec.max_chars
            self.counter.figures["too_long" if long else "too_short"] += 1
            self.counter.example(batch, row, texts[row], None, f"{len(texts[row])} characters")


class HandlePii:
    """Masks personal data, drops rows that hold any, or only counts it."""

    def __init__(self, schema: Schema, counter: StepCounter, spec: PiiStep) -> None:
        self.schema = schema
        self.counter = counter
        self.spec = spec
        self.finder = PiiFinder(tuple(spec.kinds), tuple(spec.regions))

    def run(self, batch: RowBatch) -> RowBatch:
        """Return the batch with personal data masked, dropped or only counted, as the step says."""
        cells = self.schema.cells(batch)
        finds = {cell: matches for cell, text in enumerate(cells) if (matches := self.finder.finds(text))}
        if not finds:
            self.counter.passed(len(batch), len(batch))
            return batch
        rows = self.schema.cell_rows(batch)
        touched = {rows[cell] for cell in finds}
        after = list(cells)
        for cell, matches in finds.items():
            self.counter.figures.update(find.kind for find in matches)
            after[cell] = mask_matches(cells[cell], matches)
            kinds = ", ".join(sorted({find.kind for find in matches}))
            self.counter.example(batch, rows[cell], after[cell], after[cell], f"found {kinds}")
        if self.spec.action == "drop":
            remaining = batch.keep([row not in touched for row in range(len(batch))])
            self.counter.passed(len(batch), len(remaining))
            return remaining
        self.counter.passed(len(batch), len(batch))
        if self.spec.action == "report":
            return batch
        self.counter.changed += len(touched)
        return self.schema.with_cells(batch, after)


def row_step(spec: Any, schema: Schema, counter: StepCounter) -> RowStep:
    """Return the step that a row-wise spec describes."""
    if isinstance(spec, UnicodeStep):
        return ChangeText(schema, counter, repair, "repaired text")
    if isinstance(spec, WhitespaceStep):
        return ChangeText(schema, counter, trim, "trimmed")
    if isinstance(spec, LanguageStep):
        return KeepLanguage(schema, counter, spec)
    if isinstance(spec, LengthStep):
        return KeepLength(schema, counter, spec)
    if isinstance(spec, PiiStep):
        return HandlePii(schema, counter, spec)
    raise RecipeInvalid(f"There is no step {spec!r}.", param="recipe")
