"""Who is answered by which release: the same user or session by the same one, also when the share grows."""

import hashlib

_SPAN = float(2**64)


def place_of(rollout_id: str, affinity: str) -> float:
    """Where a user or session stands between 0 and 100 in a rollout. It never moves; another rollout shuffles anew."""
    digest = hashlib.blake2b(f"{rollout_id}\0{affinity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / _SPAN * 100


def in_canary(rollout_id: str, affinity: str, weight: float) -> bool:
    """Whether the new release answers: its share is everybody who stands below `weight` percent."""
    return place_of(rollout_id, affinity) < weight
