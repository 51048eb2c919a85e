"""A study cut in three for a cluster: what stands before the shards, one run for each shard, and the rest.

Holds which assets go where, and the change to the definitions that makes a backfill start one run per shard. Knows no engine:
where a run takes place is the instance's run launcher.
"""

import dagster as dg

from assets.stages import STAGES, ancestors
from assets.study import Study
from assets.wiring import asset_key

SPREAD = "activation_histograms"  # the one pass: nearly all the time of a study over a large corpus


def before_shards(study: Study) -> list[dg.AssetKey]:
    """What a shard reads or waits for, the tokenized shards included: minutes, in one run."""
    return [asset_key(study, name) for name in STAGES if name in ancestors(SPREAD)]


def after_shards(study: Study) -> list[dg.AssetKey]:
    """The merge and everything else of the study, in one run."""
    done = ancestors(SPREAD) | {SPREAD}
    return [asset_key(study, name) for name in STAGES if name not in done]


def spread_asset(study: Study) -> dg.AssetKey:
    """The asset whose shards are runs of their own."""
    return asset_key(study, SPREAD)


def one_run_per_shard(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """The same asset; if it is the spread one, a backfill starts a run for each of its shards instead of one for all."""
    if all(key.path[-1] != SPREAD for key in asset.keys):
        return asset
    return asset.with_attributes(backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1))
