"""The pages of docs/ and the README: examples run, links lead somewhere, both shells have each command."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]+)")


@pytest.fixture(params=PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def page(request):
    return request.param


def test_examples_run(page):
    text = re.sub(r"^```.*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    assert doctest.DocTestRunner().run(examples).failed == 0


def test_links_lead_to_files(page):
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_has_each_command_for_both_shells():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in ("demo", "test"):
        posix, powershell = (
            re.search(rf"<!-- command: {command}, {shell} -->\n```\w+\n(.+)\n```", text)[1]
            for shell in ("posix", "powershell")
        )
        extra = '".[simulate]"' if command == "demo" else '".[dev,simulate]"'
        last = "orbistem demo -o demo" if command == "demo" else "python -m pytest"
        assert extra in posix
        assert extra in powershell
        assert posix.endswith(last)
        assert powershell.endswith(last)
