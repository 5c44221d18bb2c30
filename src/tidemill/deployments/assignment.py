"""Which release answers whom: the same user or session gets the same one, also when the share grows."""

import hashlib

_HASH_RANGE = float(2**64)


def hash_percentile(split_id: str, affinity: str) -> float:
    """Return where a user or session stands from 0 to 100 in a traffic split. It never moves; each split shuffles anew.

    `affinity` names the user or session.
    """
    digest = hashlib.blake2b(f"{split_id}\0{affinity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / _HASH_RANGE * 100


def in_share(split_id: str, affinity: str, share: float) -> bool:
    """Whether a user or session is among the `share` percent that stand lowest in a traffic split."""
    return hash_percentile(split_id, affinity) < share
