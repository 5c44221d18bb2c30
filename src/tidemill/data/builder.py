"""From files and a plan to the Parquet files of a version."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tidemill.core.wire import content_hash
from tidemill.data import split as splitting
from tidemill.data.formats import read_chunks
from tidemill.data.groups import DisjointSet, MinHashIndex
from tidemill.data.leakage import find_leaks, find_uncleaned_leaks
from tidemill.data.mapping import Mapper
from tidemill.data.recipes import CleanedRows, RecipeRunner, label_numbers, minhash_index, texts_digest
from tidemill.data.row_steps import EXAMPLES, language_identifier
from tidemill.data.schemas import SCHEMAS, RowBatch, Schema
from tidemill.data.shingles import I64, U64, digests
from tidemill.data.sniff import guess_format
from tidemill.data.twins import SIMILAR, TwinIndex, count_twins
from tidemill.data.types import (
    Distribution,
    Example,
    ImportPlan,
    LeakFound,
    LeakReport,
    NearStep,
    NothingLeft,
    SplitInvalid,
    Statistics,
    StepReport,
)

ENGINE = 3
"""Raise it when the code would make other rows out of the same plan."""

Progress = Callable[[str, int], None]
_GROUP_ROWS = 16_384
_GROUP_BYTES = 4 << 20
_LANGUAGE_SAMPLE = 500
_LABELS = 1000


@dataclass(frozen=True)
class BuiltVersion:
    """A version that has been made but not yet recorded."""

    files: dict[str, Path]
    rows: dict[str, int]
    source_rows: list[int]
    steps: list[StepReport]
    leaks: LeakReport
    statistics: Statistics
    content_hash: str


def plan_hash(plan: ImportPlan) -> str:
    """Return the hash of what decides a version's content. File names do not."""
    content = plan.model_dump(mode="json")
    content["sources"] = [source.hash for source in plan.sources]
    # A list, for the order of the splits matters and the canonical form sorts keys.
    content["split"]["ratios"] = list(plan.split.ratios.items())
    if not plan.split.templates:  # as it was before there was this choice, so that the same plan stays the same version
        del content["split"]["templates"]
    return content_hash(content)


class Builder:
    """Makes one version in a folder of its own."""

    def __init__(self, plan: ImportPlan, paths: Sequence[Path], folder: Path, progress: Progress) -> None:
        self.plan = plan
        self.paths = paths
        self.folder = folder
        self.progress = progress
        self.schema: Schema = SCHEMAS[plan.row_schema]
        self.names = [source.name for source in plan.sources]
        self.source_rows = [0] * len(paths)
        self.repaired: list[str] = []
        """File and line of records with half of a surrogate pair."""
        self.mapper = Mapper(self.schema, plan.mapping)

    def build(self) -> BuiltVersion:
        """Read, clean, split and write the rows; return the version.

        Raises NothingLeft, LeakFound, and SplitInvalid, SplitEmpty or SplitClassEmpty.
        """
        runner = RecipeRunner(self.schema, self.folder, self.names, self._note)
        cleaned = runner.run(self._batches(), self.plan.recipe)
        if not cleaned.keep.any():
            raise self._nothing_left(cleaned)
        assignment = self._assign_splits(cleaned)
        steps = self._with_mapping(cleaned)
        unplaced = int((assignment.split_indices == splitting.UNASSIGNED).sum())
        if self.plan.split.by == "time":
            count = len(assignment.split_indices)
            steps.append(StepReport(step="time_boundary", rows_in=count, rows_out=count - unplaced))
        writer = _VersionWriter(self.plan, self.schema, self.folder)
        self._note("writing")
        writer.write(cleaned, assignment)
        cleaned.spool.close()
        return BuiltVersion(
            files=writer.files,
            rows=writer.rows,
            source_rows=self.source_rows,
            steps=steps,
            leaks=assignment.leaks,
            statistics=writer.statistics(),
            content_hash=content_hash({"plan": plan_hash(self.plan), "splits": writer.split_hashes()}),
        )

    def _note(self, stage: str) -> None:
        self.progress(stage, sum(self.source_rows))

    def _batches(self) -> Iterator[RowBatch]:
        for number, (path, name) in enumerate(zip(self.paths, self.names, strict=True)):
            kind = guess_format(path, name, self.plan.read)
            for chunk in read_chunks(path, name, kind, self.plan.read):
                self.source_rows[number] += len(chunk.lines)
                self.repaired += [f"{name}:{line}" for line in chunk.repaired]
                yield self.mapper.batch(chunk, number, name)

    def _with_mapping(self, cleaned: CleanedRows) -> list[StepReport]:
        steps = list(cleaned.steps)
        total = sum(self.source_rows)
        if dropped := self.mapper.dropped:
            figures = {"missing": dropped}
            steps.insert(0, StepReport(step="mapping", rows_in=total, rows_out=total - dropped, figures=figures))
        if count := len(self.repaired):
            reason = "half of a character (a surrogate pair cut in two) was replaced"
            examples = [Example(source=source, before="", reason=reason) for source in self.repaired[:EXAMPLES]]
            figures = {"replaced_characters": count}
            report = StepReport(step="reading", rows_in=total, rows_out=total, changed=count, figures=figures)
            steps.insert(0, report.model_copy(update={"examples": examples}))
        if lost := self._lost_classes(cleaned):
            count = int(cleaned.keep.sum())
            steps.append(
                StepReport(
                    step="classes",
                    rows_in=count,
                    rows_out=count,
                    figures={"emptied": len(lost)},
                    examples=[
                        Example(source=label, before=f"{rows} rows", after=None, reason="no row of the class is left")
                        for label, rows in list(lost.items())[:5]
                    ],
                )
            )
        return steps

    def _lost_classes(self, cleaned: CleanedRows) -> dict[str, int]:
        """Return the classes of which cleaning left no row, with the rows that were read."""
        if "label" not in self.schema.fields:
            return {}
        numbers, names = label_numbers(cleaned.spool)
        remaining = {names[number] for number in np.unique(numbers[cleaned.keep]).tolist()}
        return {label: rows for label, rows in sorted(self.mapper.label_counts.items()) if label not in remaining}

    def _nothing_left(self, cleaned: CleanedRows) -> NothingLeft:
        table = ", ".join(f"{step.step} dropped {step.dropped}" for step in cleaned.steps if step.dropped)
        return NothingLeft(
            f"No row is left of {sum(self.source_rows)}: {table or 'all lacked a value'}.",
            hint="Loosen the recipe, or check the mapping.",
            param="recipe",
        )

    def _assign_splits(self, cleaned: CleanedRows) -> "SplitAssignment":
        spec = self.plan.split
        rows = np.flatnonzero(cleaned.keep)
        keys = texts_digest(cleaned.spool, self.schema, cleaned.keep, "input", self._note)
        sets = DisjointSet(len(rows))
        sets.join_equal(keys)
        sets.join_equal(_cluster_keys(cleaned))
        twins = self._twins(cleaned)
        if twins is not None and spec.templates:
            sets.join_equal(twins.keys)
        near = self._near(cleaned, rows)
        if near is not None:
            for _ in near.pairs(sets):
                self._note("split")
        clusters = sets.roots()
        labels: I64 | None = None
        label_names: list[str] = []
        if "label" in self.schema.fields:
            numbers, label_names = label_numbers(cleaned.spool)
            present, labels = np.unique(numbers[rows], return_inverse=True)
            label_names = [label_names[number] for number in present]
        times = _times(cleaned) if spec.by == "time" else None
        split_indices = splitting.assign(spec, clusters=clusters, digests=keys[:, 0].copy(), labels=labels, times=times)
        splitting.check(spec, split_indices, labels, label_names, clusters=clusters)
        self._note("leakage")
        leaks_between = find_leaks(list(spec.ratios), split_indices, keys, near)
        if bad := [leak for leak in leaks_between if leak.exact or leak.near]:
            raise LeakFound(
                f"{bad[0].exact + bad[0].near} rows of {bad[0].split!r} also stand in {bad[0].against!r}.",
                hint="Drop near-duplicates in the recipe, and please report this.",
                details={"leaks": [leak.model_dump() for leak in bad]},
            )
        leaks_between, complete = count_twins(leaks_between, list(spec.ratios), split_indices, twins)
        report = LeakReport(
            threshold=spec.near_duplicates,
            found=leaks_between,
            twins_complete=complete,
            uncleaned=find_uncleaned_leaks(spec.ratios, cleaned.raw, spec.seed),
        )
        return SplitAssignment(rows=rows, clusters=clusters, split_indices=split_indices, leaks=report)

    def _twins(self, cleaned: CleanedRows) -> TwinIndex | None:
        if len(self.plan.split.ratios) == 1:
            return None
        index = TwinIndex(self.folder / "twins", self.plan.split.near_duplicates or SIMILAR)
        for batch in cleaned.spool.batches(cleaned.keep):
            self._note("split")
            index.add(self.schema.row_texts(batch, "input"))
        return index

    def _near(self, cleaned: CleanedRows, rows: I64) -> MinHashIndex | None:
        spec = self.plan.split
        if spec.near_duplicates is None or len(spec.ratios) == 1:
            return None
        step = NearStep(threshold=spec.near_duplicates)
        index = minhash_index(cleaned.spool, self.schema, rows, self.folder / "split", step, "input")
        for batch in cleaned.spool.batches(cleaned.keep):
            self._note("split")
            index.add(self.schema.row_texts(batch, "input"))
        return index


@dataclass(frozen=True)
class SplitAssignment:
    """Where each kept row goes."""

    rows: I64
    clusters: I64
    split_indices: I64
    leaks: LeakReport


def _cluster_keys(cleaned: CleanedRows) -> U64:
    parts = []
    for column in cleaned.spool.column("cluster"):
        keys = digests([(key or "").encode() for key in column.to_pylist()])
        keys = np.where(column.is_null().to_numpy(zero_copy_only=False)[:, None], np.uint64(0), keys)
        parts.append(keys)
    return np.concatenate(parts)[cleaned.keep]


def _times(cleaned: CleanedRows) -> I64:
    import pyarrow as pa

    parts = list(cleaned.spool.column("time"))
    joined = pa.chunked_array(parts).filter(pa.array(cleaned.keep))
    if joined.null_count:
        raise SplitInvalid(
            f"{joined.null_count} rows have no time, so a split by time cannot place them.",
            hint="Map the time of every row: --map time=COLUMN.",
            param="split",
        )
    times: I64 = joined.to_numpy()
    return times


class _VersionWriter:
    """Writes one Parquet file per split and measures the rows on the way."""

    def __init__(self, plan: ImportPlan, schema: Schema, folder: Path) -> None:
        import pyarrow as pa

        self.plan = plan
        self.schema = schema
        self.splits = list(plan.split.ratios)
        self.files = {split: folder / f"{split}.parquet" for split in self.splits}
        self.rows = dict.fromkeys(self.splits, 0)
        timed = [pa.field("time", pa.timestamp("us", "UTC"))] if "time" in plan.mapping.fields else []
        strings = [pa.field(name, pa.string()) for name in ("id", "cluster_id", "split")]
        self.arrow = pa.schema([*strings, *schema.arrow, *timed])
        self.buffered: dict[str, list[Any]] = {split: [] for split in self.splits}
        self.hashes = {split: hashlib.sha256() for split in self.splits}
        self.chars: list[I64] = []
        self.bytes = 0
        self.clusters = 0
        self.labels: dict[str, Counter[str]] = {split: Counter() for split in self.splits}
        self.languages: Counter[str] = Counter()

    def write(self, cleaned: CleanedRows, assignment: SplitAssignment) -> None:
        """Write the rows of every split, in the order in which they were read."""
        import pyarrow.parquet as pq

        ids, repeats = _row_ids(cleaned, self.schema)
        placed = assignment.split_indices != splitting.UNASSIGNED
        self.clusters = len(np.unique(assignment.clusters[placed]))
        stride = max(1, len(assignment.split_indices) // _LANGUAGE_SAMPLE)
        writers = {s: pq.ParquetWriter(str(p), self.arrow, compression="zstd") for s, p in self.files.items()}
        begin = 0
        for batch in cleaned.spool.batches(cleaned.keep):
            end = begin + len(batch)
            columns = dict(batch.columns)
            columns["id"] = [_id(ids[row], int(repeats[row])) for row in range(begin, end)]
            columns["cluster_id"] = ["c_" + ids[row].tobytes().hex()[:24] for row in assignment.clusters[begin:end]]
            self._measure(batch, assignment.split_indices[begin:end], begin, stride)
            for number, split in enumerate(self.splits):
                self._take(columns, split, (assignment.split_indices[begin:end] == number).tolist())
                buffered = self.buffered[split]
                if sum(map(len, buffered)) >= _GROUP_ROWS or sum(table.nbytes for table in buffered) >= _GROUP_BYTES:
                    self._flush(writers[split], split)
            begin = end
        for split, writer in writers.items():
            self._flush(writer, split)
            writer.close()

    def _take(self, columns: dict[str, list[Any]], split: str, selected: list[bool]) -> None:
        import pyarrow as pa

        count = sum(selected)
        if count == 0:
            return
        in_split = pa.array(selected)
        columns["split"] = [split] * len(selected)
        arrays = [pa.array(columns[field.name], type=field.type).filter(in_split) for field in self.arrow]
        table = pa.Table.from_arrays(arrays, schema=self.arrow)
        self.hashes[split].update("\n".join(table["id"].to_pylist() + table["cluster_id"].to_pylist()).encode())
        self.rows[split] += count
        self.buffered[split].append(table)
        if "label" in columns:
            self.labels[split].update(table["label"].to_pylist())

    def _flush(self, writer: Any, split: str) -> None:
        import pyarrow as pa

        if self.buffered[split]:
            writer.write_table(pa.concat_tables(self.buffered[split]), row_group_size=_GROUP_ROWS)
            self.buffered[split] = []

    def _measure(self, batch: RowBatch, split_indices: I64, begin: int, stride: int) -> None:
        texts = self.schema.row_texts(batch)
        placed = (split_indices != splitting.UNASSIGNED).tolist()
        placed_texts = [text for text, here in zip(texts, placed, strict=True) if here]
        self.chars.append(np.fromiter(map(len, placed_texts), dtype=np.int32, count=len(placed_texts)))
        self.bytes += sum(len(text.encode()) for text in placed_texts)
        for row in range(-begin % stride, len(texts), stride):
            if placed[row] and sum(self.languages.values()) < _LANGUAGE_SAMPLE:
                self.languages[language_identifier().classify(texts[row][:600])[0]] += 1

    def split_hashes(self) -> dict[str, dict[str, Any]]:
        """Return rows and digest of every split, for the content hash."""
        return {split: {"rows": self.rows[split], "digest": self.hashes[split].hexdigest()} for split in self.splits}

    def statistics(self) -> Statistics:
        """Return lengths, labels and languages of the rows written so far."""
        chars = np.concatenate(self.chars)
        totals = sum(self.labels.values(), Counter())
        labels = sorted(label for label, _ in totals.most_common(_LABELS))
        return Statistics(
            rows=len(chars),
            clusters=self.clusters,
            chars=Distribution(
                min=int(chars.min()),
                mean=round(float(chars.mean()), 2),
                p50=int(np.percentile(chars, 50)),
                p95=int(np.percentile(chars, 95)),
                max=int(chars.max()),
            ),
            tokens_estimate=-(-self.bytes // 4),
            labels={label: {split: self.labels[split][label] for split in self.splits} for label in labels},
            languages=dict(self.languages.most_common()),
        )


def _id(digest: U64, repeat: int) -> str:
    plain = "r_" + digest.tobytes().hex()[:24]
    return plain if repeat == 0 else f"{plain}-{repeat + 1}"


def _row_ids(cleaned: CleanedRows, schema: Schema) -> tuple[U64, I64]:
    """Return a digest of each kept row's content, and how many equal rows stand before it."""
    keys = np.concatenate([digests(schema.identities(batch)) for batch in cleaned.spool.batches(cleaned.keep)])
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    new = np.concatenate(([True], (ordered[1:] != ordered[:-1]).any(axis=1)))
    begins = np.flatnonzero(new)
    repeats = np.empty(len(keys), dtype=np.int64)
    repeats[order] = np.arange(len(keys)) - np.repeat(begins, np.diff(np.append(begins, len(keys))))
    return keys, repeats
