"""The way to what lies behind a URL, by fsspec; what can go wrong on it is told in one sentence with the remedy.

Credentials and the address of the server come from the environment that fsspec and botocore read; nothing is stored here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from assets.errors import InputError


class RemoteError(InputError):
    """A URL that cannot be used as it is: no credentials, no such bucket, access denied."""


class UnreachableError(InputError, ConnectionError):
    """A server that does not answer: worth another try."""


def connect(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path on it. Raises RemoteError for a protocol without a driver."""
    import fsspec

    try:
        # What others wrote a moment ago must be seen: no listings are remembered.
        return fsspec.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise RemoteError(f"{url}: {error}; s3:// works as installed, other protocols need their fsspec driver") from None


@contextmanager
def told(url: str) -> Iterator[None]:
    """Turn what a server or the way to it refuses into RemoteError or UnreachableError. FileNotFoundError of an object passes."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raised = _as_sentence(url, error)
        if raised is None:
            raise
        raise raised from error


def error_code(error: BaseException) -> str:
    """The server's own code of a refusal, such as NoSuchBucket; "" if there is none."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _as_sentence(url: str, error: Exception) -> Exception | None:
    import aiohttp
    from botocore import exceptions as boto

    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return RemoteError(f"{url}: no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE "
                           "(and AWS_ENDPOINT_URL for a server of your own)")  # fmt: skip
    if error_code(error) == "NoSuchBucket":
        bucket = url.split("://", 1)[1].split("/", 1)[0]
        return RemoteError(f"{url}: there is no bucket {bucket!r} on this server; create it, or correct the URL or AWS_ENDPOINT_URL")
    if isinstance(error, PermissionError) or error_code(error) in ("403", "AccessDenied"):
        code = error_code(error)
        return RemoteError(f"{url}: access denied{f' ({code})' if code else ''}; the credentials in the environment must allow to list, get, "
                           "put and delete objects there")  # fmt: skip
    network = (boto.HTTPClientError, boto.ConnectionError, aiohttp.ClientError, ConnectionError, TimeoutError)
    if isinstance(error, network):
        return UnreachableError(f"{url}: the server cannot be reached ({_first_line(error)}); check the network and AWS_ENDPOINT_URL, then run "
                                "again: finished parts are kept")  # fmt: skip
    if isinstance(error, boto.BotoCoreError) or (error_code(error) and not isinstance(error, FileNotFoundError | FileExistsError)):
        return RemoteError(f"{url}: the server or its settings refuse this ({_first_line(error)}); correct the URL or the AWS_* variables")
    return None


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
