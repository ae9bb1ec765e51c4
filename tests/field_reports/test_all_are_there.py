"""Every numbered report has a test that bears its number, here or beside the step that it is about."""

import re
from pathlib import Path

NUMBERS = {
    "shape and axes": {2, 3, 4, 7, 8, 10, 12, 13, 16, 17, 19},
    "values": {20, 22, 25, 27, 28, 29},
    "metadata": {31, 32, 34, 35},
    "storage": {39, 43, 44, 46},
    "centre and masks": {50, 51, 52, 53, 54},
    "signs": {55, 57},
    "training": {59, 62, 63},
    "platforms": {64, 65, 66, 68},
}


def test_every_report_has_a_test():
    wanted = set().union(*NUMBERS.values())
    assert len(wanted) == 39
    folder = Path(__file__).resolve().parents[1]
    texts = (path.read_text(encoding="utf-8") for path in folder.rglob("test_*.py"))
    found = {int(number) for text in texts for number in re.findall(r"def test_report_(\d+)_", text)}
    assert found == wanted
