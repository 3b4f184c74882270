"""Every block of code in every guide is run, or held against the code, by the file that its mark names."""

from __future__ import annotations

import ast
import re
from collections import Counter

import pytest

from tests.snippets import GUIDES, ROOT, snippets


def asked_for(runner: str) -> set[tuple[str, str]]:
    """Return the guides and names of the snippets that a file asks for."""
    text = (ROOT / runner).read_text()
    if not runner.endswith(".py"):
        return set(re.findall(r'^ *guide_command (\S+) "([^"]+)"$', text, re.M))
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "snippet"]
    return {(guide, name) for guide, name in (map(ast.literal_eval, call.args) for call in named)}


@pytest.mark.parametrize("guide", GUIDES)
def test_every_snippet_has_a_runner_that_asks_for_it(guide: str) -> None:
    found = snippets(guide)
    assert [each.line for each in found if not each.runner] == []
    assert [name for name, times in Counter(each.name for each in found).items() if times > 1] == []
    missed = [each for each in found if (guide, each.name) not in asked_for(each.runner)]
    assert missed == []


@pytest.mark.parametrize("guide", GUIDES)
def test_code_stands_between_fences(guide: str) -> None:
    """Code that is only indented has no mark, so no test would miss it."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / guide).read_text("utf-8"), flags=re.M | re.S)
    assert re.findall(r"\n\n( {4,}\S.*)", text) == []
