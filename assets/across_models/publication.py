"""How an output of several studies is published: kept while nothing it was made from has changed, else made and published in one step.

The same store, records and checks of content as for the outputs of one study; what is computed is the caller's.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from assets.product import PRODUCT_VERSION
from assets.store import Draft, Place, Record, Store, StoreError


def fingerprint(parts: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over plain JSON values: everything that decides what the output holds."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def publish(
    store: Store,
    place: Place,
    parts: Mapping[str, Any],
    inputs: Mapping[str, Record],
    make: Callable[[Draft], None],
    tell: Callable[[str], None],
) -> Record:
    """The output of `place`. `inputs` are verified file by file first; raises StoreError naming the first damaged one."""
    for record in inputs.values():
        store.verify(record)
    contents = {label: record.content for label, record in inputs.items()}
    wanted = fingerprint({**parts, "inputs": contents})
    with store.one_writer(place):
        kept = _kept(store, place, wanted)
        if kept is not None:
            store.point_current(place)
            tell(f"{place}: nothing changed, kept as it is (made {kept.created_at}, fingerprint {wanted[:12]})")
            return kept
        with store.publish(place, wanted, contents) as draft:
            draft.provenance.update(product=PRODUCT_VERSION, code_version=parts["code_version"])
            make(draft)
        published = store.find(place)
    assert published is not None
    tell(f"{place}: published in {published.seconds:.1f} s")
    return published


def _kept(store: Store, place: Place, wanted: str) -> Record | None:
    try:
        record = store.find(place)
        if record is None or record.fingerprint != wanted:
            return None
        store.verify(record)
    except StoreError:  # damaged: it is made again
        return None
    return record
