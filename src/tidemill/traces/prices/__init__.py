"""What model calls cost: rules of one's own, what the sender says, the public price list."""
