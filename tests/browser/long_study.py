"""A study whose second shard is counted for long enough to be stopped in the middle, by nothing but its text. Holds no test."""

import json
from pathlib import Path
from typing import Any

SENTENCE = "I climbed up the apple tree and picked an apple."
# 94,016 positions in batches of one short window: 82 s on two cores of an EPYC of the third generation. The first line with a rate comes after
# five.
DOCUMENTS, SENTENCES = 10, 800


def long_fields(fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The fields of the study, made from those of the planted one; its text is written into `folder`.

    Shards are cut by documents: the first holds ten short ones, the second ten long ones.
    """
    folder.mkdir(parents=True)
    short = [SENTENCE + " I rested." * number for number in range(DOCUMENTS)]
    long = [" ".join([SENTENCE] * SENTENCES) + " I rested." * number for number in range(DOCUMENTS)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in short + long), encoding="utf-8")
    corpus = {"files": [str(folder / "corpus.jsonl")], "context_length": 16, "windows": "all"}
    return fields | {"corpus": corpus, "batch_positions": 1, "prompts": [], "screen": "off", "best_neurons": 1, "shards": 2}
