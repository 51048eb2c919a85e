"""What counts as a URL where a path or a URL may be given."""

import re

_URL = re.compile(r"[a-z][a-z0-9+.-]*://.+")


def is_url(given: str) -> bool:
    """Whether the text is a URL such as s3://bucket/prefix; anything else is a path."""
    return _URL.match(given) is not None
