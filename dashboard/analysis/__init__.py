"""A scale -> numbers: reports, comparisons, one channel's way, and what a checkpoint stores."""
