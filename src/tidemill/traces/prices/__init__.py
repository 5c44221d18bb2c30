"""The cost of model calls: by price rules, by what the sender states, by the public price list."""
