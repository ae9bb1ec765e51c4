"""Files and folders that are whole or absent, whatever moment the power fails."""

from orbistem.durable.disk import disk_error, require_replaceable
from orbistem.durable.files import (
    atomic_write_bytes,
    atomic_write_text,
    is_dropping,
    sha256_file,
    sha256_tree,
    write_aside,
)
from orbistem.durable.lock import DirectoryLock
from orbistem.durable.swap import recover, swap_directory

__all__ = [
    "DirectoryLock",
    "atomic_write_bytes",
    "atomic_write_text",
    "disk_error",
    "is_dropping",
    "recover",
    "require_replaceable",
    "sha256_file",
    "sha256_tree",
    "swap_directory",
    "write_aside",
]
