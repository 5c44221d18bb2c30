"""Environments, rollouts, engines and their replicas."""
