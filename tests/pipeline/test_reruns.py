"""What a study's sensor asks for after a finished run: nothing while nothing has changed, else one run of what is stale."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import dagster as dg
import pytest
import yaml

from assets.model.model_snapshot import ResolvedModel
from assets.study import read_study
from orchestration.definitions import build_definitions
from orchestration.jobs import RANGE_END, RANGE_START, all_shards, job_name
from orchestration.run import faults_of, run_study
from orchestration.sensors import sensor_name
from orchestration.settings import Settings
from tests.pipeline.conftest import planted_fields

OLD, NEW = "a" * 40, "b" * 40
ANSWERED_BY_MIN_COUNT = {
    "token_neuron_scores", "outcome_scores", "token_neuron_screen", "contributions", "half_scores", "corpus_growth", "congruence_agreement", "candidates", "proportion_curves", "domain_scores", "embedding_predictions", "neuron_contexts", "prompt_activations", "neuron_ablation", "prompt_ablation", "neuron_inputs", "neuron_behaviour", "atlas", "evidence_cards",
    "replication_scorecard", "data_quality", "report_site",
}  # fmt: skip

CLAIMS = """
source: the planted weights
claims:
  - {claim: An answer is favoured., quantity: logit_difference, of: {prompt: fruit, variant: clean}, expected: 1, tolerance: 1, convention: correct}
"""


class Watched:
    """A study that has been run, with its model, corpus and outputs in one folder, and its sensor."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "planted.yaml"
        self.settings = Settings(data=folder / "data", studies=folder, site_url="")
        self.loaded = read_study(self.file)  # what the code location holds, whatever becomes of the files
        self.repository = build_definitions([self.loaded], self.settings).get_repository_def()

    def change(self, **fields: object) -> None:
        """Edit the study file."""
        self.file.write_text(yaml.safe_dump(yaml.safe_load(self.file.read_text()) | fields))

    def tick(self, cursor: str | None = None, instance: dg.DagsterInstance | None = None) -> dg.SensorResult:
        """One look of the sensor of the loaded definitions."""
        sensor = self.repository.get_sensor_def(sensor_name(self.loaded))
        with (
            instance or dg.DagsterInstance.ephemeral() as used,
            dg.build_sensor_context(used, cursor, repository_def=self.repository) as context,
        ):
            found = sensor(context)
        assert isinstance(found, dg.SensorResult)
        return found

    def asked(self) -> tuple[set[str], dict[str, str]]:
        """Assets and tags of the one run that the sensor asks for."""
        (request,) = self.tick().run_requests or ()
        assert request.asset_selection is not None
        return {key.path[-1] for key in request.asset_selection}, dict(request.tags)

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Run what was asked for, as a process that loads the definitions anew does."""
        definitions = build_definitions([read_study(self.file)], self.settings)
        job = definitions.resolve_job_def(job_name(self.loaded))
        with dg.DagsterInstance.ephemeral() as instance:
            return job.execute_in_process(
                instance=instance, asset_selection=request.asset_selection, tags=dict(request.tags), raise_on_error=False
            )


def said(tick: dg.SensorResult) -> str:
    """Why nothing was asked for."""
    assert not tick.run_requests
    assert isinstance(tick.skip_reason, dg.SkipReason)
    return str(tick.skip_reason.skip_message)


def lay_out(folder: Path, planted_files: Path, **fields: object) -> Path:
    """A folder with the planted study whose model and corpus lie in it."""
    shutil.copytree(planted_files, folder, dirs_exist_ok=True)
    given = planted_fields(folder)
    (corpus,) = folder.glob("*.jsonl")
    given["corpus"]["files"], given["model"]["id"] = [corpus.name], "model"
    given |= {"ablation_positions": 0, "shards": 2} | fields
    (folder / "planted.yaml").write_text(yaml.safe_dump(given))
    return folder


def run_once(folder: Path) -> None:
    watched = Watched(folder)
    with dg.DagsterInstance.ephemeral() as instance:
        result = run_study(watched.loaded, watched.settings, instance)
    assert result.success, faults_of(result)


@pytest.fixture(scope="module")
def finished(planted_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted study, run once."""
    folder = lay_out(tmp_path_factory.mktemp("finished"), planted_files)
    run_once(folder)
    return folder


@pytest.fixture
def watched(finished: Path, tmp_path: Path) -> Watched:
    """A copy of the finished study, to be changed."""
    shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    return Watched(tmp_path / "copy")


def test_while_nothing_changes_every_look_is_skipped_with_its_reason(watched: Watched) -> None:
    first = watched.tick()
    assert not first.run_requests
    assert said(first) == "Every output is what the study asks for"
    second = watched.tick(first.cursor)
    assert not second.run_requests
    assert said(second) == "Nothing has changed since the last look"


def test_a_changed_field_asks_for_one_run_of_what_depends_on_it_and_that_run_makes_all_current(watched: Watched) -> None:
    before = watched.tick().cursor
    watched.change(min_count=15)
    tick = watched.tick(before)
    (request,) = tick.run_requests or ()
    assert {key.path[-1] for key in request.asset_selection or ()} == ANSWERED_BY_MIN_COUNT
    assert RANGE_START not in request.tags  # no shard is stale
    assert said(watched.tick(tick.cursor)) == "Nothing has changed since the last look"  # asked for once
    (again,) = watched.tick(before).run_requests or ()
    assert again.run_key == request.run_key  # Dagster drops a key that it has seen

    result = watched.run(request)
    assert result.success, faults_of(result)
    made = {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}
    assert made == ANSWERED_BY_MIN_COUNT
    assert {check.asset_key.path[-1] for check in result.get_asset_check_evaluations()} <= ANSWERED_BY_MIN_COUNT
    assert len(result.get_asset_check_evaluations()) > 5  # the checks of what is made again run as well
    assert said(watched.tick(before)) == "Every output is what the study asks for"

    watched.change(min_count=1)
    (back,) = watched.tick(tick.cursor).run_requests or ()
    watched.run(back)
    watched.change(min_count=15)
    (once_more,) = watched.tick(back.run_key).run_requests or ()
    assert once_more.run_key != request.run_key  # the same change after another is a new one


def test_an_edited_corpus_asks_for_everything_made_from_it_and_for_all_its_shards(watched: Watched) -> None:
    (corpus,) = watched.folder.glob("*.jsonl")
    corpus.write_text(corpus.read_text() + json.dumps({"text": "I picked an apple."}) + "\n")
    assets, tags = watched.asked()
    assert {"corpus_documents", "token_windows", "activation_histograms", "merged_histograms", "report_site"} <= assets
    assert not {"model_snapshot", "tracked_tokens", "congruence", "logit_lens"} & assets
    assert (tags[RANGE_START], tags[RANGE_END]) == ("0000", "0001")


def test_a_damaged_record_of_one_shard_asks_for_that_shard_alone(watched: Watched) -> None:
    (watched.settings.data / "planted" / "activation_histograms" / "0001" / "record.json").write_text("{")
    assets, tags = watched.asked()
    assert "activation_histograms" in assets
    assert "token_windows" not in assets
    assert (tags[RANGE_START], tags[RANGE_END]) == ("0001", "0001")


def test_an_edited_model_file_and_new_claims_are_noticed(watched: Watched) -> None:
    (watched.folder / "planted.claims.yaml").write_text(CLAIMS)
    assert watched.asked()[0] == {"replication_scorecard", "data_quality", "report_site"}
    settings = watched.folder / "model" / "config.json"
    settings.write_text(settings.read_text() + "\n")
    assert "model_snapshot" in watched.asked()[0]


def test_new_code_makes_its_output_stale(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    from assets.sources import code_of

    monkeypatch.setattr("assets.freshness.code_of", lambda stage: "next" if stage == "report_site" else code_of(stage))
    assert watched.asked()[0] == {"report_site"}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda watched: watched.change(min_count=0), "The study's file cannot be used; nothing is asked for until it is mended."),
        (lambda watched: watched.file.unlink(), "no such file"),
        (lambda watched: (watched.folder / "planted.claims.yaml").write_text("claims: []"), "field claims"),
        (lambda watched: watched.change(shards=3), "now asks for 3 shards, the loaded definitions have 2: reload the code location"),
        (lambda watched: shutil.rmtree(watched.settings.data), "The study has not been finished once. Materialize it"),
    ],
)
def test_what_the_sensor_cannot_ask_for_is_a_reason_and_no_error(watched: Watched, spoil: Callable[[Watched], None], reason: str) -> None:
    spoil(watched)
    tick = watched.tick("cursor")
    assert not tick.run_requests
    assert reason in said(tick)
    assert tick.cursor == "cursor"  # the change is looked at again


def test_nothing_is_asked_for_while_a_run_of_the_study_is_under_way(watched: Watched) -> None:
    watched.change(min_count=15)
    with dg.DagsterInstance.ephemeral() as instance:
        job = watched.repository.get_job(job_name(watched.loaded))
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=all_shards(watched.loaded))
        assert f"Run {run.run_id[:8]} of this study is under way" in said(watched.tick(instance=instance))


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a branch needs: what commit it names."""

    commit = OLD
    asked: list[str] = []

    def do_GET(self) -> None:
        if "owner/name" in self.path:  # the client asks for things of its own as well
            type(self).asked.append(self.path)
        body = json.dumps({"id": "owner/name", "sha": self.commit}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def hub(monkeypatch: pytest.MonkeyPatch, commit: str) -> Iterator[list[str]]:
    """A hub on loopback whose branch names `commit`; yields the paths that are asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    Hub.commit, Hub.asked = commit, []
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    try:
        yield Hub.asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def following(planted_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted study run once as if its model were a branch on the hub that named the old commit."""
    folder = lay_out(tmp_path_factory.mktemp("following"), planted_files, model={"id": "owner/name", "revision": "main", "device": "cpu"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("assets.trial.asset.resolve_model", lambda study: ResolvedModel(folder / "model", OLD))
        run_once(folder)
    return folder


@pytest.mark.slow
def test_a_branch_that_has_moved_asks_for_the_model_and_all_made_from_it_once(
    following: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(following, tmp_path / "copy", symlinks=True)
    watched = Watched(tmp_path / "copy")
    with hub(monkeypatch, OLD) as asked:
        first = watched.tick()
        assert said(first) == "Every output is what the study asks for"
        assert asked == ["/api/models/owner/name/revision/main"]
    with hub(monkeypatch, NEW):
        tick = watched.tick(first.cursor)
        (request,) = tick.run_requests or ()
        assets = {key.path[-1] for key in request.asset_selection or ()}
        assert {"model_snapshot", "tracked_tokens", "activation_histograms", "report_site"} <= assets
        assert "corpus_documents" not in assets
        assert said(watched.tick(tick.cursor)) == "Nothing has changed since the last look"
    monkeypatch.setattr("assets.trial.asset.resolve_model", lambda study: ResolvedModel(watched.folder / "model", NEW))
    assert watched.run(request).success
    with hub(monkeypatch, NEW):
        assert said(watched.tick(first.cursor)) == "Every output is what the study asks for"


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_a_reason_and_no_error_and_local_changes_are_still_noticed(
    following: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(following, tmp_path / "copy", symlinks=True)
    watched = Watched(tmp_path / "copy")
    with hub(monkeypatch, OLD):
        pass  # its port is closed now
    skipped = said(watched.tick())
    assert "whether model owner/name at main has moved is not known (the hub cannot be reached" in skipped
    watched.change(min_count=15)
    assert watched.asked()[0] == ANSWERED_BY_MIN_COUNT


def test_a_commit_is_never_asked_for(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.change(model={"id": "owner/name", "revision": NEW, "device": "cpu"})
    with hub(monkeypatch, OLD) as asked:
        (request,) = watched.tick().run_requests or ()
        assert asked == []
    assert request.asset_selection is not None
