"""`client.traces.collections`: makes datasets of answers."""

from typing import Any

from tidemill.core.errors import of_body
from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.data.types import DatasetVersion, RowSchema
from tidemill.feedback.types.collections import Collection, CollectionItem, ToDataset
from tidemill.jobs.sdk import Jobs


class Curation:
    """Collections: answers that become rows of dataset versions."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def to_dataset(self, dataset: str, row_schema: RowSchema, *, wait: bool = True, **choice: Any) -> Collection:
        """Make rows of answers and a dataset version of them; waits for the version unless `wait` is false.

        `choice` are the other fields of ToDataset: one of `traces`, `response_ids` and `filter`, and `only`,
        `use_correction`, `cap_per_user`, `label_field`, ... Raises AnswersUnknown, NothingToCollect, AppendRefused.
        """
        body = ToDataset.model_validate({"dataset": dataset, "row_schema": row_schema, **choice})
        collection = self._http.post("/api/traces/to-dataset", Collection, body)
        if wait and collection.job_id is not None:
            job = Jobs(self._http).wait(collection.job_id, check=False)
            if job.error is not None:
                raise of_body(job.error)
        return collection

    def version(self, collection: Collection) -> DatasetVersion:
        """Return the dataset version of a collection."""
        return self._http.get(f"/api/dataset-versions/{collection.version_id}", DatasetVersion)

    def get(self, collection_id: str) -> Collection:
        """Return a collection. Raises CollectionNotFound."""
        return self._http.get(f"/api/trace-collections/{collection_id}", Collection)

    def list(
        self, *, dataset: str | None = None, trace_id: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Collection]:
        """Return collections, newest first; with `trace_id`, those that an answer of this trace is in."""
        params = {"dataset": dataset, "trace_id": trace_id, "cursor": cursor, "limit": limit}
        return self._http.get("/api/trace-collections", Page[Collection], params)

    def items(
        self, collection_id: str, *, quarantined: bool | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[CollectionItem]:
        """Return the answers of a collection; only rows, or only what is in quarantine."""
        params = {"quarantined": quarantined, "cursor": cursor, "limit": limit}
        return self._http.get(f"/api/trace-collections/{collection_id}/items", Page[CollectionItem], params)
