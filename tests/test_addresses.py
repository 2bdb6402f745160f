"""No secret in an address is shown; what tells addresses apart is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasrec.files.addresses import has_secrets, hide_secrets


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://KEY:SECRET@bucket/a.parquet", "s3://***@bucket/a.parquet"),
        ("s3://AKIA:wJalr/XUtn+FEMI/K7MD@bucket/a b.parquet", "s3://***@bucket/a b.parquet"),
        ("https://me:pass@word@host/x.parquet", "https://***@host/x.parquet"),
        ("https://ghp_token@host/x.parquet", "https://***@host/x.parquet"),
        ("https://:pw@host/x", "https://***@host/x"),
        ("https://h/x.parquet?sig=a%2Fb%3D&sv=2020", "https://h/x.parquet?sig=***&sv=***"),
        ("https://h/x?token=abc#part", "https://h/x?token=***#part"),
        ("https://h/get?file=part-0.parquet&key=1", "https://h/get?file=part-0.parquet&key=***"),
        (
            "https://h/x?X-Amz-Credential=AK/2024/s3&X-Amz-Signature=ff",
            "https://h/x?X-Amz-Credential=***&X-Amz-Signature=***",
        ),
        ("ftp://u:p@h/x, then gs://v:q@b/y", "ftp://***@h/x, then gs://***@b/y"),
        ("zip://a.parquet::https://u:p@h/x.zip", "zip://a.parquet::https://***@h/x.zip"),
        ("message='no', url='https://u:p@h/x?sig=1'", "message='no', url='https://***@h/x?sig=***'"),
    ],
)
def test_secrets_are_hidden(address, shown):
    assert hide_secrets(address) == shown
    assert hide_secrets(shown) == shown
    assert has_secrets(address)


@pytest.mark.parametrize(
    "address",
    [
        "s3://bucket/folder/a@b.parquet",
        "https://host:8080/a@b/c:d@e.parquet",
        "abfss://container@account.dfs.core.windows.net/x.parquet",
        "memory://x/*.parquet",
        "/home/me/a?b=c.parquet",
        "what is a=b? c&d=e",
        "user@example.com: mail me",
    ],
)
def test_what_is_no_secret_stays(address):
    assert hide_secrets(address) == address
    assert not has_secrets(address)


SECRET = st.text("abcXYZ0189/+=_-.~", min_size=6).filter(lambda text: not text[0].isdigit())


@given(st.sampled_from(["s3", "https", "gs", "sftp", "hdfs"]), SECRET, SECRET, SECRET)
def test_any_secret_is_hidden(scheme, key, password, token):
    key = key.replace("/", "-")
    shown = hide_secrets(f"cannot read {scheme}://{key}:{password}@place/x.parquet?t={token} just now")
    value = token if token.endswith((".parquet", ".pq")) else "***"
    assert shown == f"cannot read {scheme}://***@place/x.parquet?t={value} just now"
