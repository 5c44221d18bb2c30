"""What runs a model: engine programs, the replicas of a pool, and the supervisor that keeps them alive."""
