"""One store at two kinds of root, and ways past it: to look at what lies there and to damage it. Holds no test."""

import os
import shutil
from pathlib import Path

from assets.store import Place, Record, Store
from tests.s3_server import BucketForTests

PLACE = Place("study", "table", "0000")
HOME = "study/table/0000"


class FolderOutputs:
    """Outputs in a folder, by paths below its root."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = str(root), Store(root)

    def names(self) -> list[str]:
        """Files of the place, links and locks left out."""
        home = Path(self.root, HOME)
        files = (file for file in home.rglob("*") if file.is_file() and "current" not in file.parts and file.name != ".lock")
        return sorted(str(file.relative_to(home)) for file in files)

    def read(self, name: str) -> bytes:
        return Path(self.root, HOME, name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        file = Path(self.root, HOME, name)
        file.write_bytes(content)
        os.utime(file, ns=(1, 1))

    def remove(self, name: str) -> None:
        Path(self.root, HOME, name).unlink()

    def forget_copies(self) -> None:
        """Nothing: a folder has no copies."""


class BucketOutputs:
    """Outputs in a bucket, looked at with boto3."""

    def __init__(self, bucket: BucketForTests) -> None:
        self.bucket, self.root, self.store = bucket, bucket.url, Store(bucket.url)

    def names(self) -> list[str]:
        start = f"data/{HOME}/"
        return sorted(key[len(start) :] for key in self.bucket.keys(start))

    def read(self, name: str) -> bytes:
        return self.bucket.read(f"data/{HOME}/{name}")

    def write(self, name: str, content: bytes) -> None:
        self.bucket.write(f"data/{HOME}/{name}", content)

    def remove(self, name: str) -> None:
        self.bucket.remove(f"data/{HOME}/{name}")

    def forget_copies(self) -> None:
        """What another machine starts with: no copies."""
        with self.store.reading():
            pass
        cache = Path(os.environ["NEURON_ATLAS_CACHE"])
        shutil.rmtree(cache)
        cache.mkdir()


Outputs = FolderOutputs | BucketOutputs


def publish(store: Store, text: str, fingerprint: str = "f" * 64) -> None:
    """Publish one file with the text."""
    with store.publish(PLACE, fingerprint, {"upstream": "c"}) as draft:
        (draft.folder / "part.txt").write_text(text)
        draft.facts["first"] = text[:1]
        draft.summary["letters"] = len(text)


def found(store: Store) -> Record:
    """The record; it must be there."""
    record = store.find(PLACE)
    assert record is not None
    return record
