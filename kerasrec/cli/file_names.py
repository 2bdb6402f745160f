"""The names of the files and folders that `kerasrec train` writes."""

from __future__ import annotations

WORKFLOW, MODEL, REPORT, SERVED, FEATURES = "workflow", "model.keras", "report", "served", "features"
FILES = (MODEL, *(f"{folder}/*" for folder in (WORKFLOW, REPORT, SERVED, FEATURES)))
