"""`python -m kerasrec.cli`."""

from kerasrec.cli import app

app()
