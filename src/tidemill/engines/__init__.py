"""Model engines: engine processes, pools of replicas, and the supervisor that keeps them alive."""
