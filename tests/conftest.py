"""Fixtures of all tests, Triton's interpreter in place of its compiler (it is chosen before Triton is first imported), and no example of
hypothesis fails for its time: on a loaded machine any may.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"

from hypothesis import settings

from tests.s3_server import bucket, s3_address

__all__ = ["bucket", "s3_address"]

settings.register_profile("any time", deadline=None)
settings.load_profile("any time")
