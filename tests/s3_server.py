"""A real S3 server on loopback for tests: moto's, in this process, or the one that NEURON_ATLAS_TEST_S3 names.

Holds no test. Every test gets a bucket of its own; credentials are set in the environment as a user would.
"""

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

USER = {"AWS_ACCESS_KEY_ID": "atlas", "AWS_SECRET_ACCESS_KEY": "atlas-secret", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a running server."""
    if given := os.environ.get("NEURON_ATLAS_TEST_S3"):
        yield given
        return
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it tells of every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def user_environment(address: str) -> dict[str, str]:
    """What a user sets to reach the server: its address, credentials, and no look for those of a cloud machine."""
    given = {name: os.environ[name] for name in USER if name in os.environ} if "NEURON_ATLAS_TEST_S3" in os.environ else {}
    return {**USER, **given, "AWS_ENDPOINT_URL": address, "AWS_EC2_METADATA_DISABLED": "true"}


def client(address: str) -> Any:
    """boto3's own client: what the tests look with, so that the product's way to the server is not its own witness."""
    import boto3

    environment = user_environment(address)
    return boto3.client(
        "s3",
        endpoint_url=address,
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


class BucketForTests:
    """An empty bucket with boto3's view of it."""

    def __init__(self, address: str) -> None:
        self.address, self.name, self.client = address, f"atlas-{uuid.uuid4().hex[:12]}", client(address)
        self.client.create_bucket(Bucket=self.name)

    @property
    def url(self) -> str:
        """Where a data folder can lie in it."""
        return f"s3://{self.name}/data"

    def keys(self, below: str = "") -> list[str]:
        """Every key that starts so."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=below)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def read(self, key: str) -> bytes:
        """The content of an object."""
        return bytes(self.client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def write(self, key: str, content: bytes) -> None:
        """Replace an object."""
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def remove(self, key: str) -> None:
        """Delete an object."""
        self.client.delete_object(Bucket=self.name, Key=key)


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """The address of the S3 server of this run of the tests."""
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(s3_address: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> BucketForTests:
    """An empty bucket, the environment that reaches it, and a cache folder of the test's own."""
    for name, value in user_environment(s3_address).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NEURON_ATLAS_CACHE", str(tmp_path_factory.mktemp("cache")))
    return BucketForTests(s3_address)
