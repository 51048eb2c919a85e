"""Where outputs lie, how they are published in one step, and how a reader knows that they are whole.

An output is a folder of files and a `record.json` beside it that names the folder, the fingerprint of what made it and the
SHA-256 of every file. The record is replaced in one step after the files are stored, so a kill at any moment leaves the
last good output in place. What is inside the files is not known here. The root is a folder or a bucket (s3://...).

    <root>/<study>/<asset>/[<shard>/]record.json
    <root>/<study>/<asset>/[<shard>/]<version>/...files
    <root>/<study>/<asset>/[<shard>/]current -> <version>       (folders only)
"""

from assets.store.files import sha256_of, write_atomically
from assets.store.records import CURRENT, RECORD, RECORD_VERSION, Draft, FileEntry, Place, Record, StoreError
from assets.store.store import Store

__all__ = [
    "CURRENT",
    "RECORD",
    "RECORD_VERSION",
    "Draft",
    "FileEntry",
    "Place",
    "Record",
    "Store",
    "StoreError",
    "sha256_of",
    "write_atomically",
]
