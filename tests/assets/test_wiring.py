"""What a person reads in a run's log and on an output's page when something is out of the ordinary."""

import dagster as dg
import pytest

from assets.store import Place
from assets.wiring import _value, stop_told


@pytest.mark.parametrize("stop", [dg.DagsterExecutionInterruptedError, KeyboardInterrupt])
def test_a_stopped_step_says_what_stays_and_how_to_go_on(stop: type[BaseException]) -> None:
    told: list[str] = []
    with pytest.raises(stop), stop_told(Place("demo", "activation_histograms", "0001"), told.append):
        raise stop
    assert told == [
        "demo/activation_histograms shard 0001: stopped; nothing half-written stays, and what was published before is kept. "
        "Run the study again to go on"
    ]


def test_a_fault_is_not_called_a_stop() -> None:
    told: list[str] = []
    with pytest.raises(ValueError, match="broken"), stop_told(Place("demo", "token_counts"), told.append):
        raise ValueError("broken")
    assert told == []


def test_a_memory_plan_is_a_table_with_the_largest_part_first() -> None:
    table = _value("memory_plan", {"model": 5 * 2**20, "histograms": 80 * 2**20})
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data for record in table.records] == [{"part": "histograms", "MiB": 80.0}, {"part": "model", "MiB": 5.0}]
    assert _value("positions", 290) == 290
    assert _value("shares", {"a": 1}) == dg.MetadataValue.json({"a": 1})
