"""When the comparison of all models is made again: when an output that it reads has other content, and only then."""

from pathlib import Path

import dagster as dg
import pytest

from assets.across_models.asset import KEY
from assets.study import read_studies
from orchestration.definitions import build_definitions
from orchestration.sensors import across_models_sensor
from orchestration.settings import SHIPPED_STUDIES, Settings


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(read_studies(SHIPPED_STUDIES), Settings(Path("data"), SHIPPED_STUDIES, ""))


def scores(version: str) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(["demo", "token_neuron_scores"], tags={"dagster/data_version": version})


def test_other_scores_ask_for_the_comparison_and_its_page_and_equal_ones_for_nothing(definitions: dg.Definitions) -> None:
    def requested(cursor: object = None) -> tuple[set[str], object]:
        result = dg.evaluate_automation_conditions(definitions, instance, asset_selection=across_models, cursor=cursor)  # type: ignore[arg-type]
        return {
            key.path[-1] for key in definitions.resolve_asset_graph().get_all_asset_keys() if result.get_num_requested(key)
        }, result.cursor

    across_models = dg.AssetSelection.groups("across_models")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(scores("first"))
        _, cursor = requested()
        instance.report_runless_asset_event(scores("second"))
        asked, cursor = requested(cursor)
        assert asked == {"across_models", "across_models_site"}
        instance.report_runless_asset_event(scores("second"))
        asked, cursor = requested(cursor)
        assert asked == set()


def test_the_sensor_is_there_and_off(definitions: dg.Definitions) -> None:
    sensor = definitions.resolve_sensor_def(across_models_sensor().name)
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert KEY in definitions.resolve_asset_graph().get_all_asset_keys()
