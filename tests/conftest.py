"""Fixtures of all tests, and Triton's interpreter in place of its compiler: it is chosen before Triton is first imported."""

import os

os.environ["TRITON_INTERPRET"] = "1"

from tests.s3_server import bucket, s3_address

__all__ = ["bucket", "s3_address"]
