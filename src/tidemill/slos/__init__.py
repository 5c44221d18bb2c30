"""Service level objectives: how large a share of calls or scores is good, and how fast the error budget burns."""
