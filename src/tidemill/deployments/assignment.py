"""Sticky assignment: a user or session always gets the same release, also when the share grows."""

import hashlib

_HASH_RANGE = float(2**64)


def hash_percentile(split_id: str, affinity: str) -> float:
    """Return a user's or session's fixed percentile in a traffic split, from 0 to 100; it differs between splits.

    `affinity` names the user or session.
    """
    digest = hashlib.blake2b(f"{split_id}\0{affinity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / _HASH_RANGE * 100


def in_share(split_id: str, affinity: str, share: float) -> bool:
    """Return whether a user's or session's percentile in a traffic split is below `share` percent."""
    return hash_percentile(split_id, affinity) < share
