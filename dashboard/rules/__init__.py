"""Histograms -> scales: the rules, every α at once, groups of channels, and the published scales."""
