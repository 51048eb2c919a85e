"""A full disk, a folder that cannot be written, a clock that jumps, and several runs of one study at once, on the real command line."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assets.stages import STAGES
from assets.store import RECORD
from tests.faults.conftest import Workshop
from tests.faults.evidence import damage, differences, evidence, leftovers
from tests.faults.small_study import Place, new_place
from tests.pipeline.conftest import Bench

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RUN = f"{sys.executable} -m orchestration.run"


def may_mount() -> bool:
    """Whether this process may mount file systems in a name space of its own, which vanish with it."""
    return (
        shutil.which("unshare") is not None
        and subprocess.run(["unshare", "-m", "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0
    )


needs_mounts = pytest.mark.skipif(not may_mount(), reason="mounting in a name space of its own is not permitted here")


@pytest.fixture
def place(bench: Bench, tmp_path: Path) -> Place:
    """The study, its published data and an instance for the command line."""
    bench.study()
    home = new_place(bench.file, tmp_path / "line").home
    return Place(bench.file, bench.settings.data, home)


def in_own_mounts(script: str, place: Place, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**place.environment, "STUDY": str(place.study), "DATA": str(place.data), **variables}
    return subprocess.run(["unshare", "-m", "sh", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@needs_mounts
def test_on_a_disk_that_is_full_in_the_middle_of_the_report_the_last_good_one_stays_and_with_space_the_next_run_ends_well(
    bench: Bench, place: Place, tmp_path: Path
) -> None:
    bench.study(question="Another question, so that the report is made anew?")
    page = 4096  # small files take whole pages; folders take none here, so that more of them leave no more room
    size = sum(-(-file.stat().st_size // page) * page for file in place.data.rglob("*") if file.is_file())
    script = f"""
        mount -t tmpfs -o size=$SIZE tmpfs $DISK && cp -a $DATA $DISK/data && export NEURON_ATLAS_DATA=$DISK/data
        {RUN} $STUDY; echo "first run: $?"
        cp -a $DISK/data $FULL
        mount -o remount,size=256m $DISK
        {RUN} $STUDY; echo "second run: $?"
        cp -a $DISK/data $MENDED
    """
    (tmp_path / "disk").mkdir()
    full, mended = tmp_path / "full", tmp_path / "mended"
    blocks = 900 * 4096  # small files take whole pages; the report's own script is 4.8 MB and no longer fits
    done = in_own_mounts(script, place, SIZE=str(size + blocks), DISK=str(tmp_path / "disk"), FULL=str(full), MENDED=str(mended))
    assert "first run: 1" in done.stdout, done.stdout + done.stderr
    assert "second run: 0" in done.stdout, done.stdout + done.stderr
    assert "planted/report_site: no space left to write below" in done.stderr
    assert "the last good version stays. Free space or choose another folder with NEURON_ATLAS_DATA, then run again" in done.stderr
    assert "Traceback" not in done.stderr
    assert damage(full) == damage(mended) == []
    assert leftovers(full) == leftovers(mended) == []
    old, before, new = (
        json.loads((data / "planted" / "report_site" / RECORD).read_text())["fingerprint"] for data in (full, place.data, mended)
    )
    assert old == before != new


@needs_mounts
def test_a_data_folder_that_cannot_be_written_is_told_in_one_sentence(place: Place) -> None:
    script = f"mount --bind $DATA $DATA && mount -o remount,ro,bind $DATA && {RUN} $STUDY"
    done = in_own_mounts(script, place)
    assert done.returncode == 1, done.stdout + done.stderr
    told = [line.strip() for line in done.stderr.splitlines() if line.startswith("  ")]
    assert told == [
        f"planted/model_snapshot: {place.data}/planted/model_snapshot/.lock cannot be written (Read-only file system); choose a folder that can, "
        "with NEURON_ATLAS_DATA"
    ]
    assert "Traceback" not in done.stderr
    assert damage(place.data) == []


def test_three_runs_of_one_study_at_once_two_of_them_in_one_history_all_end_well_and_publish_once(
    undisturbed: Bench, place: Place, tmp_path: Path
) -> None:
    shutil.rmtree(place.data)
    other_history = new_place(place.study, tmp_path / "other").home
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "orchestration.run", str(place.study)],
            cwd=ROOT,
            env={**place.environment, "DAGSTER_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for home in (place.home, place.home, other_history)
    ]
    printed = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], "\n".join(printed)
    waited = ["Another run of planted is at work; this one waits for it to end" in text for text in printed]
    assert sorted(waited[:2]) == [False, True]
    assert not waited[2]
    published = [line for text in printed for line in text.splitlines() if ": published in" in line]
    assert len(published) == sum(
        3 if stage.is_sharded else 1 for stage in STAGES.values()
    )  # each output, each of three shards, by one run alone
    assert damage(place.data) == []
    assert leftovers(place.data) == []
    assert differences(evidence(undisturbed.settings.data), evidence(place.data)) == []


def test_freshness_does_not_follow_clocks(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and records from the year 2100 are kept or refused for what they hold; a clock set back while one is made is no length."""
    home = workshop.home("merged_histograms")
    raw = json.loads((home / RECORD).read_text())
    (home / RECORD).write_text(json.dumps({**raw, "created_at": "2100-01-01T00:00:00+00:00"}))
    future = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
    for file in workshop.bench.settings.data.rglob("*"):
        os.utime(file, (future, future))
    assert workshop.make("merged_histograms").created_at == "2100-01-01T00:00:00+00:00"  # kept

    import assets.store.store as store

    class Backwards(datetime):
        moments = iter(datetime(year, 1, 1, tzinfo=UTC) for year in range(2000, 1900, -1))

        @classmethod
        def now(cls, tz=None):
            return next(cls.moments)

    monkeypatch.setattr(store, "datetime", Backwards)
    shutil.rmtree(workshop.home("activation_histograms", "0001"))
    made = workshop.make("activation_histograms", "0001")
    assert made.created_at.startswith("2000-")
    assert made.seconds >= 0
    assert workshop.make("merged_histograms").created_at == "2100-01-01T00:00:00+00:00"  # the shard came out the same
