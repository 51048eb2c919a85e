"""Dagster wiring and the commands of the product. Importing it imports Dagster, whose 0.9 s the garbage collector would make 1.2."""

import os

# How often GNU's OpenMP looks for work before a thread of the model sleeps; it is read when PyTorch is loaded. By default 300,000 times, some
# 4 ms, in which it keeps a core from the counting that takes turns with the model: a pass took a tenth longer (docs/performance.md). The 0.3 ms
# of 20,000 still outlast what lies between two operations of the model.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from assets.heavy_imports import heavy_imports

with heavy_imports("dagster"):
    import dagster as dagster
