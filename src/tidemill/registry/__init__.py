"""Models, adapters, their versions and the aliases that point at them."""
