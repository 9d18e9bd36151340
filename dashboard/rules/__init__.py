"""Histograms -> scales: the rules, groups of channels, every α at once, the published scales."""
