"""Fixtures of all tests."""

from tests.s3_server import bucket, s3_address

__all__ = ["bucket", "s3_address"]
