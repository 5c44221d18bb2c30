"""Key performance indicators: means of scores and feedback by release over time, and whether they dropped."""
