"""Steps that bring the rows: import, and what production taught."""

from typing import Any

from tidemill.core.kernel import Context
from tidemill.data import service as data
from tidemill.data.types import DatasetVersion, ImportCreate, SourceRef
from tidemill.pipelines.steps.context import CacheInputs, StepContext, StepInputs, StepResult
from tidemill.pipelines.types import DataSection


def _section(inputs: StepInputs) -> DataSection:
    assert inputs.spec.data is not None
    return inputs.spec.data


def import_body(section: DataSection) -> ImportCreate:
    """Return the import that the section declares."""
    fields: dict[str, Any] = {
        "name": section.dataset,
        "sources": [SourceRef(name=s.path, hash=s.hash or "") for s in section.sources],
        "row_schema": section.row_schema,
        "read": section.read,
        "mapping": section.mapping,
        "recipe": section.recipe,
        "split": section.split,
        "catalogue": section.catalogue,
    }
    return ImportCreate.model_validate(fields)


def version_outputs(version: DatasetVersion) -> dict[str, Any]:
    """Return what later steps need to know of a dataset version."""
    return {
        "version_id": version.id,
        "ref": version.ref,
        "content_hash": version.content_hash,
        "rows": {split.name: split.rows for split in version.splits},
    }


def version_note(version: DatasetVersion) -> str:
    """Return a dataset version in a few words."""
    return f"{version.ref}: " + ", ".join(f"{split.name} {split.rows:,}" for split in version.splits)


def data_inputs(ctx: Context, inputs: StepInputs) -> CacheInputs:
    """Return the files and what is done with them; or the version that is there."""
    section = _section(inputs)
    if not section.sources:
        return {"version": data.get_version(ctx, section.dataset).id}
    declared = section.model_dump(mode="json", exclude={"feedback"})
    order = list(section.split.ratios) if section.split is not None else None
    return declared | {"order": order}


def run_data(context: StepContext) -> StepResult:
    """Import the declared files; return the dataset version."""
    section = _section(context)
    version_ids: list[str] = []
    body = import_body(section) if section.sources else None
    inspection = data.inspect_sources(context.kernel, body) if body is not None and context.row.job_id is None else None

    def submit(ctx: Context) -> str | None:
        assert body is not None
        started = data.import_(ctx, body, inspection)
        if started.version is not None:
            version_ids.append(started.version.id)
        return started.job.id if started.job is not None else None

    if section.sources:
        job = context.run_child_job(submit)
        version_ids += [str(job.result["version_id"])] if job is not None and isinstance(job.result, dict) else []
    with context.job_context.write() as ctx:
        version = data.get_version(ctx, version_ids[0] if version_ids else section.dataset)
    return StepResult(version_outputs(version), version_note(version))
