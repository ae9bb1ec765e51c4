"""`orbistem verify DIR`: whether every file of a run is as it was written."""

from __future__ import annotations

from orbistem.cli.console import emit_json, say
from orbistem.cli.options import RunFolder
from orbistem.errors import InputError


def verify_command(directory: RunFolder) -> None:
    """Compare every file of a run with the checksum that was noted when it was written.

    Files that are not part of the run are named; they do no harm.
    """
    from orbistem.durable import recover
    from orbistem.pipeline.record import check_files
    from orbistem.result import read_run

    recover(directory)
    run = read_run(directory)
    found = check_files(directory, run)
    emit_json(
        "verify",
        {
            "directory": str(directory),
            "well": not found.changed,
            "changed": found.changed,
            "notes": found.notes,
        },
    )
    if found.changed:
        raise InputError(
            f"{directory} is not as it was written: {'; '.join(found.changed)}; run orbistem fit again"
        )
    say(f"{directory}: all {len(run['files'])} files are as they were written.")
    for note in found.notes:
        say(f"  note       {note}")
