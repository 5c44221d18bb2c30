"""The kinds of audit events that there are, by family. A test compares them with what the features record."""

from tidemill.core.errors import nearest
from tidemill.governance.types import EventKindUnknown

_ENDS = "succeeded failed cancelled"
_MOVES = "ordered began weight shadow pause analysis passed held resumed promoted finished rolled_back aborted failed"
_FAMILIES = {
    "alert": "opened acknowledged resolved",
    "approval": "requested approved rejected expired withdrawn",
    "comparison": "created",
    "dataset": "created catalogue_set",
    "dataset_version": "created",
    "deployment": "ordered forced live stopped failed",
    "drift": "found not_found inconclusive",
    "drift_monitor": "created changed removed",
    "environment": "updated",
    "eval_run": f"created {_ENDS}",
    "eval_set": "created",
    "feedback": "corrected",
    "gate": "declared amended evaluated",
    "job": f"cancel_requested retried {_ENDS}",
    "key": "created revoked",
    "kpi": "saved removed",
    "masking": "added removed",
    "model": "created version_created version_deleted evidence_added alias_moved alias_removed "
    "files_removed files_restored",
    "notifier": "saved removed gave_up",
    "online_evaluator": "created changed deleted money_spent",
    "person": "created updated",
    "pipeline": "applied removed",
    "pipeline_run": "started joined waiting step_skipped retried refused rejected rolled_back not_reached "
    f"not_called_off child_left not_settled {_ENDS}",
    "price": "created ended",
    "prompt": "created label_moved",
    "release": f"created {_MOVES}",
    "retirement": "announced cancelled ended",
    "rollout": _MOVES,
    "score": "deleted",
    "slo": "saved removed",
    "storage": "clean_requested cleaned",
    "traces": "collected user_erased day_erased",
    "trigger": "saved removed fired held",
    "tuning": f"submitted resumed {_ENDS}",
}
EVENT_KINDS = [f"{family}.{word}" for family, words in _FAMILIES.items() for word in words.split()]


def check_kind(kind: str) -> None:
    """Raise EventKindUnknown unless there are events of this kind, or of this family (`approval.`)."""
    families = [f"{family}." for family in _FAMILIES]
    if kind in EVENT_KINDS or kind in families:
        return
    near = nearest(kind, [*EVENT_KINDS, *families])
    hint = f"Did you mean {', '.join(near)}?" if near else f"Families: {', '.join(families)}"
    raise EventKindUnknown(f"There is no kind of audit event {kind!r}.", hint=hint, param="kind")
