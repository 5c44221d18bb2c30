"""A slot of a replica, held while one request runs: the gateway's `Lease`."""

from tidemill.engines.pool import Pool
from tidemill.engines.replica import RunningReplica
from tidemill.gateway.types import ReplicaTarget


class ReplicaLease:
    """A slot of a replica, and the target that the gateway sends the request to."""

    def __init__(self, pool: Pool, replica: RunningReplica, target: ReplicaTarget) -> None:
        self.target = target
        self._pool = pool
        self._replica = replica
        self._released = False

    def release(self, *, broken: bool = False) -> None:
        """Free the slot, once. `broken` says that the replica did not answer."""
        if not self._released:
            self._released = True
            self._pool.release(self._replica, broken)
