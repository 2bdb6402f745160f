"""`python -m kerasrec`."""

from kerasrec.cli import app

app()
