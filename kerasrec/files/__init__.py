"""Writing to disk: all of a file or a folder or nothing, kept through a power cut, and never over a stranger's."""

from kerasrec.files.aside import write_aside
from kerasrec.files.disk_full import naming_full_disk
from kerasrec.files.flush import flush_folder, flush_tree
from kerasrec.files.locks import lock
from kerasrec.files.targets import check_target

__all__ = ["check_target", "flush_folder", "flush_tree", "lock", "naming_full_disk", "write_aside"]
