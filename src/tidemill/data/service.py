"""Deciding about datasets: what an import means, when a version exists already, what a reference means."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.core import events, lineage
from tidemill.core.errors import nearest
from tidemill.core.kernel import Context, Kernel
from tidemill.core.parsing import parse_number
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.data import store, tables
from tidemill.data.builder import ENGINE, plan_hash
from tidemill.data.leakage import find_leaking_texts
from tidemill.data.phones import check_regions
from tidemill.data.pii import PiiFinder
from tidemill.data.sniff import guess_format, resolve_mapping, sample
from tidemill.data.types import (
    BuildResult,
    Catalogue,
    CatalogueSet,
    Dataset,
    DatasetNotFound,
    DatasetVersion,
    DatasetVersionNotFound,
    Diff,
    FileFormat,
    Import,
    ImportCreate,
    ImportPlan,
    MapSpec,
    PiiKind,
    Preview,
    RowSchema,
    SchemaConflict,
    SchemaUnfit,
    SourceMissing,
    SplitSpec,
    VersionSummary,
    default_recipe,
)
from tidemill.jobs.service import JobQueue

if TYPE_CHECKING:
    import pyarrow as pa


IMPORT_JOB = "data.import"


@dataclass(frozen=True)
class SourceInspection:
    """What the first records of the first file tell about an import."""

    kind: FileFormat
    row_schema: RowSchema
    mapping: MapSpec


def inspect_sources(kernel: Kernel, body: ImportCreate) -> SourceInspection:
    """Find out what uploaded files are, before the transaction that plans the import: they may have to be fetched.

    Raises SourceMissing, and what is wrong with the mapping or the first records of the first file.
    """
    for source in body.sources:
        if kernel.blobs.claim(source.hash) is None:
            raise SourceMissing(
                f"The file {source.name} has not been uploaded: there is no blob {source.hash}.",
                hint="Upload it first: POST /api/blobs, or client.data.import_ in the SDK.",
                param="sources",
            )
    first, path = body.sources[0].name, kernel.blobs.path(body.sources[0].hash)
    kind = guess_format(path, first, body.read)
    return SourceInspection(
        kind, *resolve_mapping(sample(path, first, kind, body.read), first, body.row_schema, body.mapping)
    )


def import_(ctx: Context, body: ImportCreate, inspection: SourceInspection | None = None) -> Import:
    """Plan a version of the uploaded files and submit the job that builds it. Without `inspection` it inspects
    the files here.

    When the same plan has made a version before, that version is the answer. All but the first records is read by
    the job. Raises SchemaConflict.
    """
    inspection = inspection or inspect_sources(ctx.kernel, body)
    dataset = store.dataset_by_name(ctx.conn, body.name)
    schema = inspection.row_schema
    if dataset is not None and dataset.row_schema != schema:
        raise SchemaConflict(
            f"The dataset {body.name!r} has the schema {dataset.row_schema}, not {schema}.",
            hint="Import under another name, or map to its schema with --schema.",
            param="row_schema",
        )
    guessed = inspection.kind if len(body.sources) == 1 else None
    plan = ImportPlan(
        engine=ENGINE,
        sources=body.sources,
        row_schema=schema,
        read=body.read.model_copy(update={"format": body.read.format or guessed}),
        mapping=inspection.mapping,
        recipe=body.recipe or default_recipe(),
        split=body.split or SplitSpec(ratios={"test" if schema == "eval" else "train": 1.0}),
    )
    if dataset is not None:
        existing = store.version_by_plan(ctx.conn, dataset.id, plan_hash(plan))
        if existing is not None:
            if body.catalogue.model_fields_set:
                set_catalogue(ctx, body.name, body.catalogue)
            return Import(job=None, version=existing)
    args = {
        "name": body.name,
        "plan": plan.model_dump_json(),  # as text: a JSON column may lose the order of the splits
        "catalogue": body.catalogue.model_dump(exclude_unset=True),
    }
    return Import(job=ctx.kernel.get(JobQueue).submit(ctx, IMPORT_JOB, args, subject=new_id("dsv")), version=None)


def record(
    ctx: Context, name: str, plan: ImportPlan, result: BuildResult, catalogue: CatalogueSet, job_id: str
) -> DatasetVersion:
    """Record a version that a job has built. Returns the existing one of the same content, if any."""
    store.lock(ctx.conn, f"dataset {name}")
    dataset = store.dataset_by_name(ctx.conn, name)
    if dataset is not None:
        existing = store.version_by_content(ctx.conn, dataset.id, result.content_hash)
        if existing is not None:
            return existing
    else:
        dataset = Dataset(
            id=new_id("ds"),
            name=name,
            row_schema=plan.row_schema,
            catalogue=Catalogue(),
            latest=0,
            created_at=ctx.now,
            created_by=ctx.actor.name,
        )
        store.insert_dataset(ctx.conn, dataset)
        events.emit(ctx, "dataset.created", dataset.id, {"name": name})
    version = DatasetVersion(
        id=result.version_id,
        dataset_id=dataset.id,
        dataset=name,
        version=dataset.latest + 1,
        row_schema=plan.row_schema,
        content_hash=result.content_hash,
        plan_hash=plan_hash(plan),
        plan=plan,
        sources=result.sources,
        splits=result.splits,
        steps=result.steps,
        leaks=result.leaks,
        statistics=result.statistics,
        created_at=ctx.now,
        created_by=ctx.actor.name,
        job_id=job_id,
    )
    store.insert_version(ctx.conn, version)
    store.update_dataset(ctx.conn, dataset.model_copy(update={"latest": version.version}))
    if catalogue.model_fields_set:
        set_catalogue(ctx, name, catalogue)
    _enter(ctx, version, dataset)
    events.emit(ctx, "dataset_version.created", version.id, {"name": name, "version": version.version})
    return version


def _enter(ctx: Context, version: DatasetVersion, dataset: Dataset) -> None:
    for source in version.sources:
        size: dict[str, Any] = {"bytes": source.bytes, "rows": source.rows}
        lineage.record(ctx, lineage.LineageNode(id=source.hash, kind="file", label=source.name[:300], facts=size))
    parents = [(source.hash, "imported_from") for source in version.sources]
    if dataset.latest > 0:
        before = store.version_by_number(ctx.conn, version.dataset, dataset.latest)
        if before is not None:
            parents.append((before.id, "follows"))
    facts = {
        "content_hash": version.content_hash,
        "row_schema": version.row_schema,
        "rows": {split.name: split.rows for split in version.splits},
    }
    node = lineage.LineageNode(id=version.id, kind="dataset_version", label=version.ref, facts=facts)
    lineage.record(ctx, node, parents)


def get_dataset(ctx: Context, name: str) -> Dataset:
    """Return one dataset with its catalogue entry. Raises DatasetNotFound."""
    dataset = store.dataset_by_name(ctx.conn, name)
    if dataset is None:
        near = nearest(name, store.list_names(ctx.conn))
        raise DatasetNotFound(
            f"There is no dataset {name!r}.",
            hint=f"Did you mean {', '.join(near)}?" if near else "`tidemill data list` shows what there is.",
        )
    return dataset


def get_version(ctx: Context, ref: str) -> DatasetVersion:
    """Return the version that `ref` means: `name` (newest), `name@3` or a `dsv_` id.

    Raises DatasetNotFound and DatasetVersionNotFound.
    """
    if ref.startswith("dsv_"):
        version = store.version_by_id(ctx.conn, ref)
    else:
        name, sign, number = ref.partition("@")
        dataset = get_dataset(ctx, name)
        version_number = dataset.latest if not sign or number == "latest" else parse_number(number)
        version = store.version_by_number(ctx.conn, name, version_number) if version_number is not None else None
    if version is None:
        raise DatasetVersionNotFound(
            f"There is no dataset version {ref!r}.",
            hint="Write name, name@3 or an id; `tidemill data versions NAME` shows what there is.",
        )
    return version


def require_schema(version: DatasetVersion, *fit: RowSchema) -> None:
    """Refuse a dataset whose rows this operation cannot use. Raises SchemaUnfit."""
    if version.row_schema not in fit:
        raise SchemaUnfit(
            f"{version.ref} has the schema {version.row_schema}; this needs {' or '.join(fit)}.",
            hint=f"Import it again under another name with --schema {fit[0]}.",
            param="dataset",
        )


def rows(kernel: Kernel, version: DatasetVersion, split: str | None = None) -> "pa.Table":
    """Return all rows of one split (the first when none is named) as an Arrow table. Raises SplitNotFound.

    Columns: `id`, `cluster_id`, `split`, then the fields of the schema, then `time` when it was mapped.
    """
    return tables.read_split(kernel.blobs, tables.find_split(version, split))


def find_leaking(kernel: Kernel, texts: Sequence[str], against: Sequence[str]) -> list[bool]:
    """Return for each text whether it occurs in `against`, exactly or nearly: it must not be trained on then."""
    with tempfile.TemporaryDirectory(prefix="leaking-", dir=kernel.folder("work")) as folder:
        return find_leaking_texts(texts, against, Path(folder))


def list_datasets(ctx: Context, *, cursor: str | None, limit: int) -> Page[Dataset]:
    """Return every dataset, by name."""
    datasets = store.list_datasets(ctx.conn, after=cursor, limit=limit + 1)
    items = datasets[:limit]
    return Page(items=items, next_cursor=items[-1].name if len(datasets) > limit else None)


def list_versions(ctx: Context, name: str, *, cursor: str | None = None, limit: int = 50) -> Page[VersionSummary]:
    """Return the versions of one dataset, newest first. Raises DatasetNotFound."""
    get_dataset(ctx, name)
    return page(store.list_versions(ctx.conn, name, before=cursor, limit=limit + 1), limit)


def set_catalogue(ctx: Context, name: str, body: CatalogueSet) -> Dataset:
    """Change the catalogue fields that were given."""
    store.lock(ctx.conn, f"dataset {name}")
    dataset = get_dataset(ctx, name)
    changes = body.model_dump(exclude_unset=True)
    changed = dataset.model_copy(update={"catalogue": dataset.catalogue.model_copy(update=changes)})
    if changed != dataset:
        store.update_dataset(ctx.conn, changed)
        before = {field: getattr(dataset.catalogue, field) for field in changes}
        events.emit(ctx, "dataset.catalogue_set", dataset.id, {"name": name, "before": before, "after": changes})
    return changed


def preview(ctx: Context, ref: str, split: str | None, offset: int, limit: int) -> Preview:
    """Return a page of rows of one split."""
    version = get_version(ctx, ref)
    return tables.page(ctx.kernel.blobs, tables.find_split(version, split), offset, limit)


def diff(ctx: Context, before: str, after: str) -> Diff:
    """Return what changed from one version to another. Raises SchemaUnfit when their schemas differ."""
    old, new = get_version(ctx, before), get_version(ctx, after)
    require_schema(new, old.row_schema)
    return tables.compare(ctx.kernel.blobs, old, new)


def pii_finder(kinds: tuple[PiiKind, ...], regions: tuple[str, ...]) -> PiiFinder:
    """Return a finder of personal data for features that keep text of their own. Use it in one thread."""
    return PiiFinder(kinds, regions)


def parse_phone_regions(setting: str) -> tuple[str, ...]:
    """Return the regions of a list with commas, such as `US,GB`. Raises RegionUnknown."""
    return check_regions([word.strip() for word in setting.split(",") if word.strip()])
