"""Which release answers whom: the same user or session gets the same one, also when the share grows."""

import hashlib

_SPAN = float(2**64)


def percentile_of(split_id: str, affinity: str) -> float:
    """Return where a user or session stands from 0 to 100 in a traffic split. It never moves; each split shuffles anew.

    `affinity` names the user or session.
    """
    digest = hashlib.blake2b(f"{split_id}\0{affinity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / _SPAN * 100


def in_share(split_id: str, affinity: str, share: float) -> bool:
    """Whether a user or session is among the `share` percent that stand lowest in a traffic split."""
    return percentile_of(split_id, affinity) < share
