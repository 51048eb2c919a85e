"""What Dagster is given for a folder of studies: groups, checks, jobs and schedules, loaded quickly and without a network."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml

from assets.across_models.studies import READ
from assets.quality.every_check import checks_of
from assets.stages import STAGES
from assets.study import StudyError, read_studies
from orchestration.definitions import build_definitions, defs
from orchestration.jobs import all_shards
from orchestration.settings import SHIPPED_STUDIES, Settings

ROOT = Path(__file__).parents[2]


def settings(folder: Path) -> Settings:
    return Settings(data=folder / "data", studies=folder, site_url="http://127.0.0.1:3080")


@pytest.fixture(scope="module")
def shipped() -> dg.Definitions:
    return build_definitions(read_studies(SHIPPED_STUDIES), settings(SHIPPED_STUDIES))


def test_each_study_is_a_group_with_all_stages_a_job_and_a_schedule_that_is_off(shipped: dg.Definitions) -> None:
    graph = shipped.resolve_asset_graph()
    for group in ("demo", "an_neuron_gpt2_large", "an_neuron_gpt2_small", "an_neuron_pythia_160m", "an_neuron_smollm2_135m"):
        names = {key.path[-1] for key in graph.get_all_asset_keys() if key.path[0] == group}
        assert names == set(STAGES)
        assert shipped.resolve_job_def(f"{group}_study")
        schedule = shipped.resolve_schedule_def(f"{group}_schedule")
        assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


def test_all_studies_together_have_one_comparison_that_reads_every_study_and_a_job_of_its_own(shipped: dg.Definitions) -> None:
    graph = shipped.resolve_asset_graph()
    across, site = dg.AssetKey(["across_models", "across_models"]), dg.AssetKey(["across_models", "across_models_site"])
    assert {key for key in graph.get_all_asset_keys() if key.path[0] == "across_models"} == {across, site}
    assert {key.path[0] for key in graph.get(across).parent_keys} == {
        "demo", "an_neuron_gpt2_large", "an_neuron_gpt2_small", "an_neuron_pythia_160m", "an_neuron_smollm2_135m"
    }  # fmt: skip
    assert {key.path[1] for key in graph.get(across).parent_keys} == {*READ, "report_site"}
    assert graph.get(site).parent_keys == {across}
    assert all(graph.get(check).blocking for check in graph.get_check_keys_for_assets({across}))
    assert set(shipped.resolve_job_def("across_models").asset_layer.selected_asset_keys) == {across, site}


def test_every_asset_has_a_description_kinds_and_no_owner_and_every_table_its_columns(shipped: dg.Definitions) -> None:
    graph = shipped.resolve_asset_graph()
    for name, stage in STAGES.items():
        node = graph.get(dg.AssetKey(["demo", name]))
        assert node.description == stage.description
        assert node.kinds
        assert not node.owners
        assert ("dagster/column_schema" in node.metadata) == bool(stage.tables)


def test_every_check_is_defined_and_blocks_exactly_where_it_says(shipped: dg.Definitions) -> None:
    graph = shipped.resolve_asset_graph()
    for name in STAGES:
        key = dg.AssetKey(["demo", name])
        defined = {check.name: graph.get(check).blocking for check in graph.get_check_keys_for_assets({key})}
        assert defined == {shown: blocks for check in checks_of(name) for shown, blocks in check.shown}
    blocking = {shown for name in STAGES for check in checks_of(name) for shown, blocks in check.shown if blocks}
    assert {"bin_counts", "merge", "hugging_face_parity", "documents", "curve_values", "score_values"} <= blocking


def test_each_study_has_a_sensor_and_the_comparison_has_one_all_off(shipped: dg.Definitions) -> None:
    sensors = {sensor.name: sensor for sensor in shipped.sensors or ()}
    assert set(sensors) == {f"{study.group}_changes" for study in read_studies(SHIPPED_STUDIES)} | {"across_models_refresh"}
    assert {sensor.default_status for sensor in sensors.values()} == {dg.DefaultSensorStatus.STOPPED}  # type: ignore[union-attr]


def test_the_graph_draws_few_arrows_and_still_lets_everything_wait_for_what_it_reads(shipped: dg.Definitions) -> None:
    graph = shipped.resolve_asset_graph()
    arrows = {name: {key.path[-1] for key in graph.get(dg.AssetKey(["demo", name])).parent_keys} for name in STAGES}
    assert arrows["activation_histograms"] == {
        "token_windows",
        "activation_bins",
        "screened_tokens",
    }  # each shard waits for its own windows
    assert arrows["merged_histograms"] == {"activation_histograms"}
    assert arrows["report_site"] == {"data_quality"}
    for name, stage in STAGES.items():
        reached, todo = set(), list(arrows[name])
        while todo:
            reached.add(one := todo.pop())
            todo += arrows[one]
        assert {entry.asset for entry in stage.inputs} | set(stage.after) <= reached, name


def test_the_launchpad_of_a_study_asks_for_every_shard_as_it_opens(shipped: dg.Definitions) -> None:
    demo = next(study for study in read_studies(SHIPPED_STUDIES) if study.name == "demo")
    assert all_shards(demo).items() <= shipped.resolve_job_def("demo_study").run_tags.items()


def test_the_schedule_asks_for_every_shard_in_one_run(shipped: dg.Definitions) -> None:
    schedule = shipped.resolve_schedule_def("demo_schedule")
    context = dg.build_schedule_context(repository_def=shipped.get_repository_def())
    (request,) = schedule.evaluate_tick(context).run_requests or ()
    demo = next(study for study in read_studies(SHIPPED_STUDIES) if study.name == "demo")
    assert all_shards(demo).items() <= request.tags.items()


def test_a_new_file_adds_a_group_a_job_and_a_schedule_and_no_python(tmp_path: Path) -> None:
    fields = {"model": {"id": "m"}, "corpus": {"files": ["c.txt"]}, "tokens": [" an"], "schedule": "30 4 * * *"}
    (tmp_path / "my-own.yaml").write_text(yaml.safe_dump(fields))
    definitions = build_definitions(read_studies(tmp_path), settings(tmp_path))
    assert definitions.resolve_schedule_def("my_own_schedule").cron_schedule == "30 4 * * *"
    assert dg.AssetKey(["my_own", "report_site"]) in definitions.resolve_asset_graph().get_all_asset_keys()


def test_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("tokens: 3\n")
    with pytest.raises(StudyError) as caught:
        read_studies(tmp_path)
    assert "one.yaml: field model: missing" in str(caught.value)
    assert "two.yaml: field model: missing" in str(caught.value)


def test_a_file_with_a_fault_is_shown_with_its_sentence_and_takes_no_other_study_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    fields = {"model": {"id": "m"}, "corpus": {"files": ["c.txt"]}, "tokens": [" an"]}
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(fields))
    (tmp_path / "slip.yaml").write_text("tokens: 3\n")
    (tmp_path / "late.yaml").write_text(yaml.safe_dump({**fields, "schedule": "99 4 * * *"}))
    (tmp_path / "claimed.yaml").write_text(yaml.safe_dump(fields))
    (tmp_path / "claimed.claims.yaml").write_text("claims: 5\n")
    for name in ("Two Words", "Two_Words"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(fields))
    monkeypatch.setenv("NEURON_ATLAS_STUDIES", str(tmp_path))
    definitions = defs()
    graph = definitions.resolve_asset_graph()
    told = {key.path[1]: str(graph.get(key).description) for key in graph.get_all_asset_keys() if key.path[0] == "studies_with_faults"}
    assert set(told) == {"slip", "late", "claimed", "Two_Words", "Two_Words_"}
    assert "slip.yaml: field model: missing; it must be given" in told["slip"]
    assert "late.yaml: field schedule: given '99 4 * * *'" in told["late"]
    assert "claimed.claims.yaml: field claims: given 5" in told["claimed"]
    assert "This study is left out until its file is mended. " in capsys.readouterr().err
    assert {schedule.name for schedule in definitions.schedules or ()} == {"good_schedule"}
    assert definitions.resolve_job_def("good_study")
    assert {asset.group_name for asset in map(graph.get, graph.get_all_asset_keys())} == {"good", "across_models", "studies_with_faults"}
    for file in tmp_path.glob("*.yaml"):
        if file.name not in ("good.yaml", "claimed.claims.yaml"):
            file.unlink()
    assert "studies_with_faults" not in {
        asset.group_name for asset in map(defs().resolve_asset_graph().get, defs().resolve_asset_graph().get_all_asset_keys())
    }


def test_a_cron_line_with_numbers_out_of_range_is_refused(tmp_path: Path) -> None:
    fields = {"model": {"id": "m"}, "corpus": {"files": ["c.txt"]}, "tokens": [" an"], "schedule": "99 4 * * *"}
    (tmp_path / "late.yaml").write_text(yaml.safe_dump(fields))
    with pytest.raises(StudyError, match=r"late.yaml: field schedule: given '99 4 \* \* \*'"):
        build_definitions(read_studies(tmp_path), settings(tmp_path))


def test_the_workspace_file_loads_from_the_repository_root() -> None:
    script = (
        "from dagster._core.workspace.load_target import WorkspaceFileTarget;"
        "(origin,) = WorkspaceFileTarget(['workspace.yaml']).create_origins();"
        "print(origin.location_name, origin.loadable_target_origin.attribute)"
    )
    shown = subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["neuron_atlas", "defs"]


def test_workspace_file_dagster_and_dg_load_the_same_location() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    (workspace,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    by_file = workspace["python_file"]
    module = by_file["relative_path"].removesuffix(".py").replace("/", ".")
    names = {by_file["location_name"], settings["dagster"]["code_location_name"], settings["dg"]["project"]["code_location_name"]}
    assert {module, settings["dagster"]["module_name"], f"{settings['dg']['project']['root_module']}.definitions"} == {module}
    assert names == {"neuron_atlas"}


@pytest.mark.slow
def test_the_dg_command_lists_and_checks_the_definitions(tmp_path: Path) -> None:
    """`dg` says that all is well of a project in which it found nothing, so what it lists counts."""
    dg_command = Path(sys.executable).with_name("dg")
    environment = {**os.environ, "NEURON_ATLAS_STUDIES": str(SHIPPED_STUDIES), "DAGSTER_HOME": str(tmp_path), "HOME": str(tmp_path)}
    called = {
        command: subprocess.run([dg_command, *command.split()], cwd=ROOT, env=environment, capture_output=True, text=True)
        for command in ("check defs", "list defs --json")
    }
    for done in called.values():
        assert done.returncode == 0, done.stderr
    listed = json.loads(called["list defs --json"].stdout)
    assert {"demo/report_site", "across_models/across_models"} <= {asset["asset_key"] for asset in listed["assets"]}
    assert {"demo_study", "across_models"} <= {job["name"] for job in listed["jobs"]}


def test_telemetry_is_off_in_a_file_of_the_repository() -> None:
    instance = yaml.safe_load((ROOT / "orchestration" / "instance" / "dagster.yaml").read_text())
    assert instance["telemetry"] == {"enabled": False}
    assert "GX_ANALYTICS_ENABLED := false" in (ROOT / "Makefile").read_text()
