"""Shards that are damaged, missing, stale or another's: each is named, none is merged, and the next run makes it anew."""

import json
import os
import shutil
from pathlib import Path

import pytest

from assets.store import RECORD, StoreError
from assets.study import read_study
from orchestration.run import faults_of
from tests.faults.conftest import Workshop
from tests.faults.evidence import damage as damaged_outputs
from tests.faults.evidence import differences, evidence, leftovers
from tests.pipeline.conftest import Bench

pytestmark = pytest.mark.slow

SHARD = "0001"
CHUNK = "count/c/0/0/0"  # the counters of layer 0


def version(home: Path) -> Path:
    """Folder of the published version."""
    return home / json.loads((home / RECORD).read_text())["folder"]


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def flip_a_bit_and_restore_its_times(workshop: Workshop, home: Path) -> None:
    file = version(home) / CHUNK
    before = file.stat()
    flip_a_bit(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def add_an_empty_chunk(workshop: Workshop, home: Path) -> None:
    """Zarr writes no chunk that holds fill values alone; a file in its place is read like any other."""
    chunks = version(home) / "top_prediction_outside" / "c" / "0" / "0"
    absent = next(name for name in ("0", "1") for _ in [0] if not (chunks / name).exists())
    chunks.mkdir(parents=True, exist_ok=True)
    shutil.copy(version(home) / CHUNK, chunks / absent)


def shard_of_another_study(workshop: Workshop, home: Path) -> None:
    """The same shard of a study that counts one position more per window, folder and record copied."""
    bench = workshop.bench
    (bench.file.parent / "other.yaml").write_text(bench.file.read_text().replace("shards: 3", "shards: 3\ncount_bos: true"))
    other = read_study(bench.file.parent / "other.yaml")
    shutil.copytree(bench.settings.data / "planted", bench.settings.data / "other", symlinks=True)
    workshop.make("activation_bins", None, other)
    workshop.make("screened_tokens", None, other)
    workshop.make("activation_histograms", SHARD, other)
    replace(home, workshop.home("activation_histograms", SHARD, other))
    shutil.rmtree(bench.settings.data / "other")


def replace(home: Path, other: Path) -> None:
    shutil.rmtree(home)
    shutil.copytree(other, home, symlinks=True)


def stale_record(workshop: Workshop, home: Path) -> None:
    """The record of another version of the study, over the files of this one."""
    raw = json.loads((home / RECORD).read_text())
    (home / RECORD).write_text(json.dumps({**raw, "fingerprint": "0" * 64}))


def record_of_a_swept_version(workshop: Workshop, home: Path) -> None:
    raw = json.loads((home / RECORD).read_text())
    (home / RECORD).write_text(json.dumps({**raw, "folder": "0" * 12 + "-" + "0" * 8}))


def write_record(content: bytes):
    return lambda workshop, home: (home / RECORD).write_bytes(content)


WHERE = f"planted/activation_histograms shard {SHARD}: "
DAMAGES = {
    "a bit flipped": (
        lambda workshop, home: flip_a_bit(version(home) / CHUNK),
        "the content of file count/c/0/0/0 is not what was published (SHA-256 differs); materialize it again",
    ),
    "a bit flipped and the file's times put back": (
        flip_a_bit_and_restore_its_times,
        "the content of file count/c/0/0/0 is not what was published (SHA-256 differs); materialize it again",
    ),
    "a file truncated": (
        lambda workshop, home: os.truncate(version(home) / CHUNK, 7),
        "file count/c/0/0/0 has 7 bytes, {bytes} were published; materialize it again",
    ),
    "a chunk removed": (
        lambda workshop, home: (version(home) / CHUNK).unlink(),
        "file count/c/0/0/0 is missing from {version}; materialize it again",
    ),
    "a chunk added": (
        add_an_empty_chunk,
        "file top_prediction_outside/c/0/0/{added} lies in {version} but was not published; materialize it again",
    ),
    "the shard missing": (lambda workshop, home: shutil.rmtree(home), "not there yet; materialize it first, or everything with: make study STUDY=planted"),
    "its files missing": (
        lambda workshop, home: shutil.rmtree(version(home)),
        "file above_zero/c/0/0 is missing from {version}; materialize it again",
    ),
    "another shard in its place": (
        lambda workshop, home: replace(home, workshop.home("activation_histograms", "0002")),
        "made from another version of the study, its inputs or the code; materialize it again, or everything that is stale with: make study STUDY=planted",
    ),
    "a shard of another study in its place": (shard_of_another_study, "made by study other; materialize it again, or everything that is stale with: make study STUDY=planted"),
    "a record of another version of the study": (
        stale_record,
        "made from another version of the study, its inputs or the code; materialize it again, or everything that is stale with: make study STUDY=planted",
    ),
    "a record of a version that is gone": (
        record_of_a_swept_version,
        "file above_zero/c/0/0 is missing from {home}/000000000000-00000000; materialize it again",
    ),
    "half a record": (write_record(b'{"record_version": 2, "fol'), "{home}/record.json is damaged; delete that file and run the study again"),
    "an empty record": (write_record(b""), "{home}/record.json is damaged; delete that file and run the study again"),
    "a record of zeros": (write_record(b"\0" * 4096), "{home}/record.json is damaged; delete that file and run the study again"),
    "a record that is a list": (write_record(b"[1]"), "{home}/record.json is damaged; delete that file and run the study again"),
    "a record whose files are a list": (
        lambda workshop, home: (home / RECORD).write_text(json.dumps({**json.loads((home / RECORD).read_text()), "files": []})),
        "{home}/record.json is damaged; delete that file and run the study again",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_shard_is_named_never_merged_and_made_anew(workshop: Workshop, name: str) -> None:
    do_damage, sentence = DAMAGES[name]
    home = workshop.home("activation_histograms", SHARD)
    merged = workshop.bench.record("merged_histograms")
    shutil.rmtree(workshop.home("merged_histograms"))
    known = {
        "home": home,
        "version": version(home),
        "bytes": (version(home) / CHUNK).stat().st_size,
        "added": "1" if (version(home) / "top_prediction_outside/c/0/0/0").exists() else "0",
    }

    do_damage(workshop, home)
    with pytest.raises(StoreError) as caught:
        workshop.make("merged_histograms")
    assert str(caught.value) == WHERE + sentence.format(**known)
    assert [entry.name for entry in workshop.home("merged_histograms").iterdir()] == [".lock"]

    made = workshop.make("activation_histograms", SHARD)
    assert made == workshop.bench.record("activation_histograms", SHARD)  # the new one, whatever was known of the damaged one
    assert workshop.make("merged_histograms").content == merged.content


def test_one_run_mends_damage_all_over_the_study_and_publishes_what_stood_before(bench: Bench, undisturbed: Bench) -> None:
    data, planted = bench.settings.data, bench.settings.data / "planted"
    flip_a_bit(version(planted / "token_windows" / "0000") / "token_windows.parquet")
    shutil.rmtree(planted / "activation_histograms" / "0002")
    (version(planted / "merged_histograms") / "zarr.json").unlink()
    os.truncate(version(planted / "token_neuron_scores") / "token_neuron_scores.parquet", 100)
    (planted / "congruence" / RECORD).write_text("{}")
    (version(planted / "report_site") / "index.html").unlink()
    (planted / "neuron_contexts" / "0123456789ab-01234567").mkdir()  # what a killed run leaves
    assert len(damaged_outputs(data)) == 5
    result = bench.run()
    assert result.success, "\n".join(faults_of(result))
    assert damaged_outputs(data) == []
    assert differences(evidence(undisturbed.settings.data), evidence(data)) == []
    assert leftovers(data) == []


def test_an_input_that_is_replaced_while_it_is_read_is_noticed_before_anything_is_published(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import assets.histograms.asset as stage

    honest, home = stage.merge_histograms, workshop.home("activation_histograms", SHARD)
    shutil.rmtree(workshop.home("merged_histograms"))

    def slow(*given):
        honest(*given)
        shutil.rmtree(version(home))  # what publishing a newer version does to the older one

    monkeypatch.setattr(stage, "merge_histograms", slow)
    with pytest.raises(StoreError, match=f"activation_histograms shard {SHARD}: file .* is missing"):
        workshop.make("merged_histograms")
    assert [entry.name for entry in workshop.home("merged_histograms").iterdir()] == [".lock"]


def test_what_a_kill_between_record_and_clearing_leaves_is_removed_when_the_output_is_kept(workshop: Workshop) -> None:
    home = workshop.home("merged_histograms")
    (home / "0123456789ab-01234567" / "c").mkdir(parents=True)
    (home / ".record.json.01234567").symlink_to("0123456789ab-01234567")
    before = (home / RECORD).read_text()
    workshop.make("merged_histograms")
    assert (home / RECORD).read_text() == before
    assert leftovers(workshop.bench.settings.data) == []
