"""How a fuzzer spoils bytes and JSON: by what Hypothesis draws, so that a failure shrinks to its cause."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

JUNK: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, -1, 2**31, 2**63, 10**9, 1e308, -0.0]),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(-3, 3), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@st.composite
def spoiled_bytes(draw: st.DrawFn, sound: bytes) -> bytes:
    """Sound content with some bytes set, cut out, doubled, or lost at the end."""
    content = bytearray(sound)
    for _ in range(draw(st.integers(1, 4))):
        if not content:
            break
        near = draw(st.booleans())  # half of the blows fall on the head
        place = draw(st.integers(0, min(len(content), 160 if near else len(content)) - 1))
        how = draw(st.sampled_from(["set", "set", "flip", "word", "cut", "double", "end"]))
        if how == "set":
            content[place] = draw(st.integers(0, 255))
        elif how == "flip":
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "word":
            word = draw(st.integers(-(2**63), 2**63 - 1)).to_bytes(8, "little", signed=True)
            content[place : place + 8] = word
        elif how == "cut":
            del content[place : place + draw(st.integers(1, 64))]
        elif how == "double":
            content[place:place] = content[place : place + draw(st.integers(1, 64))]
        else:
            del content[place:]
    return bytes(content)


@st.composite
def spoiled_json(draw: st.DrawFn, sound: Any) -> Any:
    """Sound JSON with some values replaced, removed or added."""
    value = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        place = value
        while True:
            if isinstance(place, dict) and place:
                key: Any = draw(st.sampled_from(sorted(place)))
            elif isinstance(place, list) and place:
                key = draw(st.integers(0, len(place) - 1))
            else:
                break
            if isinstance(place[key], dict | list) and place[key] and draw(st.integers(0, 5)):
                place = place[key]
                continue
            how = draw(st.sampled_from(["set", "set", "set", "remove", "add"]))
            if how == "remove":
                del place[key]
            elif how == "add" and isinstance(place, dict):
                place[draw(st.text(max_size=6))] = draw(JUNK)
            else:
                place[key] = draw(JUNK)
            break
    return value
