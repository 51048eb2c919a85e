"""The checks of across_models in Dagster: contracts, and the suite of assets/across_models/quality.py. All of them blocking.

`from __future__ import annotations` must not be added: Dagster reads the annotation of `context`.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

from assets.across_models.asset import KEY
from assets.across_models.comparison import NAME, published
from assets.across_models.quality import CHECKS, across_models_quality
from assets.deployment import Deployment
from assets.quality.asset_checks import check_results, check_specs
from assets.study import Study
from assets.wiring import faults_as_failures


def across_models_checks(studies: Sequence[Study]) -> list[dg.AssetChecksDefinition]:
    """All checks of across_models."""

    @dg.multi_asset_check(specs=check_specs(KEY, CHECKS), name=f"{NAME}_checks")
    def checks(context: dg.AssetCheckExecutionContext, deployment: dg.ResourceParam[Deployment]) -> Iterator[dg.AssetCheckResult]:
        with faults_as_failures():
            outcomes = across_models_quality(published(deployment.store)[1], [study.name for study in studies])
        yield from check_results(KEY, CHECKS, outcomes)

    return [checks]
