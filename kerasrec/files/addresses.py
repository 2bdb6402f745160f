"""Addresses of data (s3://, https://, ...) without the keys in them, as they may be shown."""

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
_ACCOUNTS = ("abfs", "abfss", "wasb", "wasbs")  # of Azure, where `container@account` is the location of the data
_FILES = (".parquet", ".pq", ".csv", ".tsv", ".json", ".gz")


def hide_secrets(text: object) -> str:
    """Return `text` with `***` in place of what may be secret in the addresses in it.

    That is the part before an `@`, and the values in a query unless they are names of data files.

    >>> hide_secrets("no file at s3://KEY:SE/CRET@bucket/clicks.parquet")
    'no file at s3://***@bucket/clicks.parquet'
    >>> hide_secrets("https://host:8080/get?file=a.parquet&X-Amz-Signature=13ab")
    'https://host:8080/get?file=a.parquet&X-Amz-Signature=***'
    """
    return _ADDRESS.sub(lambda match: _QUERY.sub(_value, _LOGIN.sub(_login, match.group())), str(text))


def has_secrets(address: str) -> bool:
    return hide_secrets(address) != address


def _login(match: re.Match[str]) -> str:
    is_account = match["scheme"].lower() in _ACCOUNTS and ":" not in match["login"]
    return match.group() if is_account else f"{match['scheme']}://{HIDDEN}@"


def _value(match: re.Match[str]) -> str:
    is_file = not match["value"] or unquote(match["value"]).lower().endswith(_FILES)
    return match.group() if is_file else f"{match['name']}={HIDDEN}"
