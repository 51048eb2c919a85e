"""The published outputs of one study, for a notebook or a script: tables as polars frames, counters as arrays. Writes nothing.

    from assets.published_study import PublishedStudy
    study = PublishedStudy("data", "demo")
    study.table("token_neuron_scores").sort("auroc", descending=True).head()

Needs neither Dagster nor torch. What is read is verified first: size and SHA-256 of every file of the output it belongs to.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import polars as pl

from assets.atlas.atlas_texts import Texts
from assets.atlas.neuron_record import TABLES_OF_NEURONS, neuron_records, token_ids_in, with_text
from assets.contracts import TABLES
from assets.counting.histograms import Histograms
from assets.histograms.histogram_store import read_histograms
from assets.stages import STAGES
from assets.store import Place, Record, Store, StoreError
from assets.tables import read_table, scan_table


@dataclass(frozen=True)
class PublishedStudy:
    """What stands of the study `name` below `data`, a folder or a bucket's URL. A table that no run has made raises StoreError."""

    data: str | Path
    name: str

    @cached_property
    def _store(self) -> Store:
        return Store(self.data)

    @cached_property
    def _verified(self) -> dict[Place, Record]:
        return {}

    @property
    def tables(self) -> Mapping[str, str]:
        """The tables that can be asked for: what each holds, by its name. Those of outputs without shards that were made."""
        made = {name for name, stage in STAGES.items() if not stage.is_sharded and self._store.find(Place(self.name, name)) is not None}
        return {name: table.description for name, table in TABLES.items() if table.asset in made}

    def table(self, name: str, shard: str | None = None) -> pl.DataFrame:
        """A table; of an output in shards one of them, such as "0000". The meaning of its columns: `columns`."""
        table = TABLES.get(name)
        if table is None:
            raise StoreError(f"table {name!r}: there is none of this name; give one of {', '.join(TABLES)}")
        if STAGES[table.asset].is_sharded and shard is None:
            raise StoreError(f"table {name}: it lies in shards; say which, table({name!r}, shard='0000')")
        return read_table(self.record(table.asset, shard), table)

    @staticmethod
    def columns(name: str) -> pl.DataFrame:
        """One row a column of a table: name, dtype, unit, description."""
        rows = [(column.name, str(column.dtype), column.unit, column.description) for column in TABLES[name].columns]
        return pl.DataFrame(rows, schema=["column", "dtype", "unit", "description"], orient="row")

    def neuron(self, layer: int, neuron: int) -> dict[str, Any]:
        """All that the tables hold of one neuron, as the atlas has it: its keys are their columns, tokens are ids.

        Raises StoreError for a neuron that the model has not, or where the atlas was left out.
        """
        return next(self.neurons([(layer, neuron)]))

    @cached_property
    def neurons_of_atlas(self) -> list[tuple[int, int]]:
        """Layer and neuron of those that the atlas holds, ascending: every one, or as the study says the studied ones or none."""
        return self._scan("atlas_histograms").select("layer", "neuron").sort("layer", "neuron").collect().rows()

    def neurons(self, chosen: Collection[tuple[int, int]] | None = None) -> Iterator[dict[str, Any]]:
        """The records of all neurons of the atlas, or of the (layer, neuron) chosen, ascending, a layer in memory at a time.

        Raises StoreError as `neuron` does.
        """
        wanted = sorted(set(self.neurons_of_atlas if chosen is None else chosen))
        if not wanted:
            raise StoreError(
                f"atlas of {self.name}: it holds no neuron, as the study says atlas: {{neurons: none}}; let it say all, and run it again"
            )
        absent = next(iter(sorted(set(wanted) - set(self.neurons_of_atlas))), None)
        if absent is not None:
            facts = self.facts("model_snapshot")
            raise StoreError(
                f"neuron: given L{absent[0]} N{absent[1]}; the atlas of {self.name} has none of that name (layers 0 to {facts['layers'] - 1}, neurons "
                f"0 to {facts['neurons'] - 1} in each; where the study says atlas: {{neurons: studied}} those that it studies, and none at all with none)"
            )
        around, tables = Texts.of(self.table("atlas_texts")), {name: self._scan(name) for name in TABLES_OF_NEURONS}
        for layer, own in groupby(wanted, itemgetter(0)):
            is_own = (pl.col("layer") == layer) & pl.col("neuron").is_in([neuron for _, neuron in own])
            for records in neuron_records(tables, is_own):
                yield from with_text(records, around)

    def texts(self) -> dict[int, str]:
        """The text of every token, by id."""
        return dict(self.table("token_counts").select("token_id", "token").iter_rows())

    def neuron_with_texts(self, layer: int, neuron: int) -> dict[str, Any]:
        """`study`, the neuron's record, and `texts`: of every token that it names, by id. Can be written as JSON."""
        record = self.neuron(layer, neuron)
        is_named = pl.col("token_id").is_in(sorted(set(token_ids_in(record))))
        texts = self._scan("token_counts").filter(is_named).sort("token_id").select("token_id", "token").collect()
        return {"study": self.name, **record, "texts": {str(token_id): text for token_id, text in texts.iter_rows()}}

    def _scan(self, name: str) -> pl.LazyFrame:
        return scan_table(self.record(TABLES[name].asset), TABLES[name])

    def histograms(self) -> Histograms:
        """The counters of all shards: tensors by their names in the contract, read as they are used."""
        return read_histograms(self.record("merged_histograms").folder)

    def facts(self, asset: str) -> Mapping[str, Any]:
        """Numbers and texts that an output states, such as layers and neurons of `model_snapshot`."""
        return self.record(asset).facts

    def record(self, asset: str, shard: str | None = None) -> Record:
        """How and when an output was made, and its folder, verified once. Raises StoreError where it does not stand or is damaged."""
        place = Place(self.name, asset, shard)
        if place not in self._verified:
            record = self._store.find(place)
            if record is None:
                raise StoreError(f"{self._store.address(place)}: {place} was not made there; run the study, or correct folder and name")
            self._store.verify(record)
            self._verified[place] = record
        return self._verified[place]
