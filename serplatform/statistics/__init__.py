"""Intervals and tests for comparing classifiers on the same utterances; numpy and scipy only."""
