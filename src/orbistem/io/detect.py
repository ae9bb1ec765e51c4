"""Which reader a path is for: by its content, not by its name."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from orbistem.errors import FormatError, InputError, one_line
from orbistem.io.contract import HEAD_BYTES, Format, Look, Request

__all__ = ["look_at", "recognise"]


def look_at(path: Path, request: Request) -> Look:
    """Take a first glance.

    Raises
    ------
    InputError
        There is no such file, or it cannot be read.
    FormatError
        It is empty.
    """
    try:
        if path.is_dir():
            return Look(path=path, names=tuple(os.listdir(path)), request=request)
        if path.exists() and not path.is_file():  # reading a pipe or a device may never end
            raise InputError(
                f"{path} is neither a file nor a folder (a pipe or a device?); copy its content to a file"
            )
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give an existing file or folder") from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); change its rights, or read a copy"
        ) from error
    if not head:
        raise FormatError(f"{path} is empty; copy it again")
    look = Look(path=path, head=head, request=request)
    if look.is_zip:
        try:
            with zipfile.ZipFile(path) as archive:
                return Look(path=path, head=head, names=tuple(archive.namelist()), request=request)
        except zipfile.BadZipFile as error:
            raise FormatError(f"{path} is a damaged archive ({one_line(error)}); copy it again") from error
    return look


def recognise(look: Look) -> Format:
    """The first format that recognises the content."""
    from orbistem.io.formats import FORMATS

    for one in FORMATS:
        if one.recognise(look):
            return one
    raise FormatError(
        f"{look.path} is of no known format; for raw numbers give --shape Y,X,KY,KX and --dtype"
    )
