"""Corpora of a hub, read from a server on loopback in a process of its own: the library looks for the hub's address as it is imported."""

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.hub_server import COMMIT, TOKEN, HubServer, hub_server

THOUSANDS_IN_LARGE = 100  # megabytes of a file of which ten lines are wanted
CARDS = {
    "two": b"""---
configs:
- config_name: long
  data_files: long/*.parquet
- config_name: other
  data_files: other/*.parquet
---
""",
    "splits": b"""---
configs:
- config_name: short
  data_files:
  - split: train
    path: short/train.jsonl
  - split: test
    path: short/test.jsonl
---
""",
}


def parquet(rows: list[dict[str, Any]]) -> bytes:
    written = io.BytesIO()
    pl.DataFrame(rows).write_parquet(written, row_group_size=1000)
    return written.getvalue()


def lines(*texts: str) -> bytes:
    return "".join(json.dumps({"text": text, "meta": {"pile_set_name": text[:1]}}) + "\n" for text in texts).encode()


REPOSITORIES = {
    "datasets/owner/two": {
        "README.md": CARDS["two"], "other/c.parquet": parquet([{"text": "o1"}]), "long/a.parquet": parquet([{"text": "l1"}, {"text": "l2"}]), "long/b.parquet": parquet([{"text": "l3"}, {"text": "l4"}]),
    },
    "datasets/owner/splits": {"README.md": CARDS["splits"], "short/train.jsonl": lines("s1", "s2"), "short/test.jsonl": lines("t1")},
    "datasets/owner/shards": {f"en/part-0000{n}.json.gz": gzip.compress(lines(f"a{n}", f"b{n}")) for n in range(3)},
    "datasets/owner/large": {"train-00000.jsonl": lines(*["x" * 1000] * THOUSANDS_IN_LARGE * 1000), "train-00001.jsonl": lines("never read")},
    "datasets/owner/gated": {"data.jsonl": lines("secret")},
    "datasets/owner/busy": {"data.jsonl": lines("later")},
    "datasets/owner/tokens": {"data.parquet": parquet([{"tokens": [5, 6, 7]}, {"tokens": []}, {"tokens": [8]}])},
}  # fmt: skip

CASES: dict[str, dict[str, Any]] = {
    "config": {"id": "owner/two", "config": "long"},
    "split": {"id": "owner/splits", "config": "short", "split": "train+test", "domain_column": "meta.pile_set_name"},
    "slice": {"id": "owner/two", "config": "long", "split": "train[:3]"},
    "no config": {"id": "owner/two"},
    "no split": {"id": "owner/two", "config": "long", "split": "test"},
    "commit": {"id": "owner/two", "config": "long", "revision": COMMIT},
    "other commit": {"id": "owner/two", "config": "long", "revision": "d" * 40},
    "patterns": {"id": "owner/shards", "data_files": ["en/part-0000[12].json.gz"]},
    "few": {"id": "owner/large", "documents": 10},
    "gated": {"id": "owner/gated"},
    "busy": {"id": "owner/busy"},
    "absent": {"id": "owner/none"},
    "tokens": {"id": "owner/tokens", "tokens_column": "tokens"},
    "no column": {"id": "owner/tokens"},
}

SCRIPT = """
import json, sys, tempfile
from pathlib import Path
from assets.corpus.corpus_documents import read_corpus
from assets.study import Study
told = {}
for name, corpus in json.loads(sys.stdin.read()).items():
    fields = {"name": "s", "folder": Path("."), "model": {"id": "m"}, "tokens": (" an",), "corpus": corpus}
    with tempfile.TemporaryDirectory() as folder:
        try:
            read = read_corpus(Study.model_validate(fields), Path(folder))
            documents = [row for part in read.documents for row in part.select("text", "domain", "token_ids").rows()]
            told[name] = [read.commit, documents, read.files.rows()]
        except Exception as error:
            told[name] = f"{type(error).__name__} {error}"
print(json.dumps(told))
"""


def read_in_a_process(hub: HubServer, folder: Path, cases: dict[str, dict[str, Any]], **more: str) -> dict[str, Any]:
    environment = {**{name: value for name, value in os.environ.items() if name != "HF_TOKEN"}, **hub.environment(str(folder)), **more}
    command = [sys.executable, "-c", SCRIPT]
    ran = subprocess.run(command, input=json.dumps(cases), env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with hub_server(REPOSITORIES) as running:
        yield running


@pytest.fixture(scope="module")
def told(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return read_in_a_process(hub, tmp_path_factory.mktemp("home"), CASES)


def texts(told: Any) -> list[str]:
    return [row[0] for row in told[1]]


def test_a_configuration_is_read_file_after_file_at_its_commit(told: dict[str, Any]) -> None:
    assert told["config"] == [COMMIT, [["l1", 0, None], ["l2", 0, None], ["l3", 0, None], ["l4", 0, None]],
                              [[0, "long/a.parquet", 0, 2], [1, "long/b.parquet", 2, 2]]]  # fmt: skip
    assert told["commit"] == told["config"]


def test_splits_can_be_joined_and_cut_and_domains_are_nested(told: dict[str, Any]) -> None:
    assert [row[:2] for row in told["split"][1]] == [["s1", 0], ["s2", 0], ["t1", 1]]
    assert [row[1] for row in told["split"][2]] == ["short/train.jsonl", "short/test.jsonl"]
    assert texts(told["slice"]) == ["l1", "l2", "l3"]


def test_files_of_a_data_set_are_chosen_by_patterns(told: dict[str, Any]) -> None:
    assert texts(told["patterns"]) == ["a1", "b1", "a2", "b2"]
    assert [row[1] for row in told["patterns"][2]] == ["en/part-00001.json.gz", "en/part-00002.json.gz"]


def test_no_more_is_fetched_than_the_documents_need(told: dict[str, Any], hub: HubServer) -> None:
    assert len(texts(told["few"])) == 10
    assert told["few"][2] == [[0, "train-00000.jsonl", 0, 10]]
    assert not hub.fetched("train-00001.jsonl")
    ranges = [ranged.removeprefix("bytes=").split("-") for ranged in hub.fetched("train-00000.jsonl")]
    assert ranges
    assert all(len(ends) == 2 for ends in ranges), "a request without a range is one for the whole file"
    assert sum(int(last) - int(first) + 1 for first, last in ranges) < THOUSANDS_IN_LARGE * 1_000_000 / 2


def test_tokens_are_read_where_there_is_no_text(told: dict[str, Any]) -> None:
    assert told["tokens"][1] == [["", 0, [5, 6, 7]], ["", 0, [8]]]
    assert told["no column"].startswith(
        "CorpusError study s: corpus.text_column 'text': owner/tokens, data.parquet has no such column; it has ['tokens']; tokens"
    )


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no config", "CorpusError study s: corpus.id 'owner/two', revision None, split 'train': Config name is missing"),
        (
            "no split",
            "CorpusError study s: corpus.id 'owner/two', revision None, config 'long', split 'test': no such split; it has ['train']",
        ),
        ("other commit", "not found on the hub or in the local cache"),
        ("gated", "accept its terms on its page, then call `hf auth login`, or set HF_TOKEN in the environment (never in a study file)"),
        ("busy", "ConnectionError study s: corpus.id 'owner/busy', revision None, split 'train': the hub asks for fewer requests (429)"),
        ("absent", "CorpusError study s: corpus.id 'owner/none', revision None, split 'train'"),
    ],
)
def test_what_the_hub_does_not_hand_over_is_told_with_what_to_do(told: dict[str, Any], case: str, message: str) -> None:
    assert message in told[case]


def test_a_token_of_the_environment_opens_a_gated_data_set_and_is_written_nowhere(hub: HubServer, tmp_path: Path) -> None:
    told = read_in_a_process(hub, tmp_path, {"gated": CASES["gated"]}, HF_TOKEN=TOKEN)
    assert texts(told["gated"]) == ["secret"]
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]


def test_without_a_network_what_was_downloaded_whole_is_read_again(hub: HubServer, tmp_path: Path) -> None:
    part = {**CASES["commit"], "split": "train[:3]"}
    read_in_a_process(hub, tmp_path, {"part": part})
    offline = read_in_a_process(hub, tmp_path, {"part": part, "whole": CASES["commit"], "other": CASES["few"]}, HF_HUB_OFFLINE="1")
    assert texts(offline["part"]) == ["l1", "l2", "l3"]
    assert texts(offline["whole"]) == ["l1", "l2", "l3", "l4"]
    assert "the hub cannot be reached" in offline["other"]
