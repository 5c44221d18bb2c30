"""`client.prompts`: versions, labels, rendering."""

from typing import Any

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.prompts.types import (
    LabelChange,
    LabelMove,
    Message,
    Prompt,
    PromptCreate,
    PromptDiff,
    PromptVersion,
    Rendered,
    RenderRequest,
)


class Prompts:
    """Prompt versions and the labels that stand on them."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(
        self,
        name: str,
        *,
        messages: list[dict[str, str]] | list[Message] | None = None,
        text: str | None = None,
        parameters: dict[str, Any] | None = None,
        note: str = "",
        labels: list[str] | None = None,
    ) -> PromptVersion:
        """Save a new version: chat `messages` or a plain `text`. Raises PromptUnchanged, PromptInvalid."""
        body = PromptCreate.model_validate(
            {
                "name": name,
                "messages": [m.model_dump() if isinstance(m, Message) else m for m in messages] if messages else None,
                "text": text,
                "parameters": parameters or {},
                "note": note,
                "labels": labels or [],
            }
        )
        return self._http.post("/api/prompts", PromptVersion, body)

    def get(self, ref: str) -> PromptVersion:
        """Return one version: `name` (newest), `name@3`, `name@label` or an id. Raises PromptNotFound."""
        return self._http.get(f"/api/prompts/{ref}", PromptVersion)

    def list(self, *, cursor: str | None = None, limit: int = 50) -> Page[Prompt]:
        """Return every prompt with its newest version, by name."""
        return self._http.get("/api/prompts", Page[Prompt], {"cursor": cursor, "limit": limit})

    def versions(self, name: str, *, cursor: str | None = None, limit: int = 50) -> Page[PromptVersion]:
        """Return the versions of one prompt, newest first."""
        return self._http.get(f"/api/prompts/{name}/versions", Page[PromptVersion], {"cursor": cursor, "limit": limit})

    def move_label(self, name: str, label: str, version: int, *, note: str = "") -> LabelChange:
        """Move a label to a version; return the change."""
        return self._http.put(f"/api/prompts/{name}/labels/{label}", LabelChange, LabelMove(version=version, note=note))

    def label_history(
        self, name: str, label: str | None = None, *, cursor: str | None = None, limit: int = 50
    ) -> Page[LabelChange]:
        """Return the moves of labels, newest first."""
        params = {"label": label, "cursor": cursor, "limit": limit}
        return self._http.get(f"/api/prompts/{name}/labels", Page[LabelChange], params)

    def render(self, ref: str, **variables: str) -> Rendered:
        """Return the prompt with its variables filled in. Raises VariablesMissing."""
        return self._http.post(f"/api/prompts/{ref}/render", Rendered, RenderRequest(variables=variables))

    def diff(self, name: str, before: str, after: str) -> PromptDiff:
        """Return how one version or label differs from another."""
        return self._http.get(f"/api/prompts/{name}/diff", PromptDiff, {"before": before, "after": after})
