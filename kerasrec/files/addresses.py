"""Addresses of data (s3://, https://, ...) as they may be shown: without the keys that are in them."""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"
# `user:password@` and `token@`. A secret key of S3 may have slashes in it; a port is not a secret.
_LOGIN = re.compile(
    r"(?P<scheme>[A-Za-z][\w+.-]*)://"
    r"(?P<login>(?![^\s/?#@:]*:\d+(?:[/?#]|$))[^\s/?#@:'\"]*:(?:(?!://)[^\s@'\"])*(?:@[^\s/?#@'\"]*)*@"
    r"|[^\s/?#'\"]*@)"
)
_QUERY = re.compile(r"(?<=[?&;])(?P<name>[\w.%\[\]~-]+)=(?P<value>[^\s&;#'\"<>)]*)")
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://[^\s]*")
_ACCOUNTS = ("abfs", "abfss", "wasb", "wasbs")  # of Azure, where `container@account` is where the data is
_FILES = (".parquet", ".pq", ".csv", ".tsv", ".json", ".gz")


def hide_secrets(text: object) -> str:
    """`text` with `***` for what may be secret in the addresses that it names.

    That is what stands before an `@`, and the values in a query, unless they are names of data files.

    >>> hide_secrets("no file at s3://KEY:SE/CRET@bucket/clicks.parquet")
    'no file at s3://***@bucket/clicks.parquet'
    >>> hide_secrets("https://host:8080/get?file=a.parquet&X-Amz-Signature=13ab")
    'https://host:8080/get?file=a.parquet&X-Amz-Signature=***'
    """
    return _ADDRESS.sub(lambda found: _QUERY.sub(_value, _LOGIN.sub(_login, found.group())), str(text))


def has_secrets(address: str) -> bool:
    return hide_secrets(address) != address


def _login(found: re.Match[str]) -> str:
    kept = found["scheme"].lower() in _ACCOUNTS and ":" not in found["login"]
    return found.group() if kept else f"{found['scheme']}://{HIDDEN}@"


def _value(found: re.Match[str]) -> str:
    kept = not found["value"] or unquote(found["value"]).lower().endswith(_FILES)
    return found.group() if kept else f"{found['name']}={HIDDEN}"
