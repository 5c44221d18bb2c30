"""The statistics behind every verdict: arrays in, small frozen results out; numpy and scipy only, no feature known."""
