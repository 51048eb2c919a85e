"""Dagster asset across_models: one for all studies. It can be made at any time; studies that were not run are listed as such.

`from __future__ import annotations` must not be added: Dagster reads the annotation of `context`.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.across_models.comparison import NAME, code, publish_across_models
from assets.across_models.studies import READ
from assets.contracts import ACROSS_MODELS_TABLES, Table
from assets.deployment import Deployment
from assets.publication import SHOWN_CODE
from assets.study import Study
from assets.wiring import asset_key, column_schema, faults_as_failures

KEY = dg.AssetKey([NAME, NAME])
# A data version is a hash of content: a study run again to the same content starts nothing.
WHEN_CONTENT_CHANGED = dg.AutomationCondition.any_deps_match(
    dg.AutomationCondition.data_version_changed() | dg.AutomationCondition.will_be_requested()
)
DESCRIPTION = (
    "For every tracked token, the best neurons of each model by congruence, by AUROC, by contribution and by causal effect, over all studies that were run, "
    "and whether they are the same ones. Studies that were not run, or have changed since, are listed with the reason."
)


def across_models_assets(studies: Sequence[Study]) -> list[dg.AssetsDefinition]:
    """The asset across_models over the given studies; it reads what is there and waits for none of them."""

    @dg.asset(
        key=KEY,
        group_name=NAME,
        description=DESCRIPTION,
        deps=[asset_key(study, asset) for study in studies for asset in (*READ, "report_site")],  # whether there is a report is shown
        kinds={"polars"},
        code_version=code()[:SHOWN_CODE],
        metadata=_columns(),
        automation_condition=WHEN_CONTENT_CHANGED,
    )
    def asset(context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
        with faults_as_failures():
            record = publish_across_models(studies, deployment, context.log.info)
        return dg.MaterializeResult(
            metadata={
                **{name.replace("_", " "): value for name, value in {**record.facts, **record.summary}.items()},
                "dagster/row_count": record.summary["across_models_neurons_rows"],
                "fingerprint": record.fingerprint,
                "folder": dg.MetadataValue.path(record.address),
                "report": dg.MetadataValue.url(deployment.page_url(NAME)),
            },
            data_version=dg.DataVersion(record.content[:16]),
        )

    return [asset]


def _columns() -> dict[str, Any]:
    tables: list[Table] = list(ACROSS_MODELS_TABLES.values())
    first = {"dagster/column_schema": column_schema(ACROSS_MODELS_TABLES["across_models_neurons"])}
    return {**first, **{f"columns of {table.name}": dg.MetadataValue.table_schema(column_schema(table)) for table in tables[:-1]}}
