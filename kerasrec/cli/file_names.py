"""The names of the files and folders that `kerasrec train` writes."""

from __future__ import annotations

WORKFLOW, MODEL, REPORT, SERVED, FEATURES = "workflow", "model.keras", "report", "served", "features"
CONFIG, RESULTS, SCHEMA = "config.json", "results.json", "schema.json"
FILES = (
    *(MODEL, CONFIG, RESULTS, SCHEMA),
    *(f"{folder}/*" for folder in (WORKFLOW, REPORT, SERVED, FEATURES)),
)
