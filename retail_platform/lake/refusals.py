"""What an object store refuses, said so that somebody can do something about it.

Stores answer with pages of XML, and their client has one class for nearly all of it.
"""

import re
from urllib.parse import urlparse

from obstore.exceptions import GenericError, PermissionDeniedError, UnauthenticatedError

from retail_platform.errors import ConfigurationError

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role of the machine",
    "gs": "GOOGLE_SERVICE_ACCOUNT (path of a key file), GOOGLE_APPLICATION_CREDENTIALS, or a "
    "service account of the machine",
    **dict.fromkeys(
        ("az", "abfss"),
        "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or "
        "with AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET, or a managed identity",
    ),
}
_CODE = re.compile(r"<Code>(\w+)</Code>")
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})
_UNUSABLE = re.compile(
    r"Account must be specified|Invalid Access Key|credential error"
    r"|token request: .*status code: 4\d\d|169\.254\.169\.254\S* .*status code: 4\d\d"
)
"""What there is to identify by cannot be used, or there is nothing and the machine has none."""


def refusal(error: Exception, path: str, url: str) -> Exception | None:
    """A better error for one of a store, or None when it says all there is to say.

    Args:
        path: of the object or folder that was asked for.
        url: address of the lake, as RETAIL_LAKE_URL gives it.

    Returns:
        ConfigurationError: no such bucket, nothing to identify by. PermissionError: refused.
    """
    text = str(error)
    code = _CODE.search(text)
    if code and code[1] in _NO_BUCKET:
        return ConfigurationError(
            f"{url}: there is no such bucket ({code[1]}). Create it, or correct RETAIL_LAKE_URL."
        )
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError, PermissionError)):
        said = f" ({code[1]})" if code else ""
        return PermissionError(f"access to {path} is denied{said}")
    if not isinstance(error, GenericError):
        return None
    if "permission denied" in text.lower():
        return PermissionError(f"access to {path} is denied")
    first = summary(error)
    if _UNUSABLE.search(first):
        return ConfigurationError(
            f"{url}: no usable credentials. Expected {_CREDENTIALS[urlparse(url).scheme]}. It "
            f"said: {first}"
        )
    return None


def summary(error: Exception) -> str:
    """The line of an error of obstore that people can read."""
    return " ".join(str(error).split("Debug source:")[0].split("<?xml")[0].split()).rstrip(": ")
