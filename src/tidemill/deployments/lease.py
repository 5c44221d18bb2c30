"""A place in a replica, held while one request runs."""

from tidemill.deployments.pool import Pool
from tidemill.deployments.replica import RunningReplica
from tidemill.gateway.types import Target


class ReplicaLease:
    """A place in a replica."""

    def __init__(self, pool: Pool, replica: RunningReplica, target: Target) -> None:
        self.target = target
        self._pool = pool
        self._replica = replica
        self._given_back = False

    def release(self, *, broken: bool = False) -> None:
        """Give the place back, once."""
        if not self._given_back:
            self._given_back = True
            self._pool.give_back(self._replica, broken)
