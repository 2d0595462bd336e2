"""Replays of history: stored messages of a range, run again for one consumer, in shadow or for real."""
