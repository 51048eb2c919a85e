"""Fixtures of all tests, Triton's interpreter in place of its compiler (it is chosen before Triton is first imported), slow files first, and
no example of hypothesis fails for its time: on a loaded machine any may.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"

import pytest
from hypothesis import settings

from tests.s3_server import bucket, s3_address

__all__ = ["bucket", "s3_address"]

settings.register_profile("any time", deadline=None)
settings.load_profile("any time")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that hold slow tests begin first: a file is one process's, and a long one that began last would be waited for alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
