"""Writing to disk: a complete file or folder or nothing, durable, and never over files that are not ours."""

from kerasrec.files.aside import write_aside
from kerasrec.files.disk_full import naming_full_disk
from kerasrec.files.flush import flush_folder, flush_tree
from kerasrec.files.locks import lock
from kerasrec.files.targets import check_target

__all__ = ["check_target", "flush_folder", "flush_tree", "lock", "naming_full_disk", "write_aside"]
