"""Dagster wiring and the commands of the product. Importing it imports Dagster, whose 0.9 s the garbage collector would make 1.2."""

from assets.heavy_imports import heavy_imports

with heavy_imports("dagster"):
    import dagster as dagster
