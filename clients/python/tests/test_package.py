"""The package as it is installed, and its README."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

import rejoin
from _servers import ROOT, Server


class Enough(Exception):
    """An example that has no end of its own has shown what it does."""


def examples() -> list[str]:
    """The programs of the README."""
    text = distribution("rejoin-client").metadata["Description"]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_its_version_is_the_servers() -> None:
    cargo = (ROOT / "Cargo.toml").read_text()
    found = re.search(r'^version = "(.*)"$', cargo, re.MULTILINE)
    assert found
    assert distribution("rejoin-client").version == rejoin.__version__ == found[1]


def test_it_is_typed_and_needs_httpx_alone() -> None:
    assert (Path(rejoin.__file__).parent / "py.typed").is_file()
    requires = distribution("rejoin-client").requires or []
    assert [one for one in requires if "extra ==" not in one] == ["httpx<1,>=0.27"]
    licences = distribution("rejoin-client").metadata.get_all("License-Expression")
    assert licences == ["MIT OR Apache-2.0"]


def test_all_public_names_are_there() -> None:
    assert [name for name in rejoin.__all__ if not hasattr(rejoin, name)] == []


@pytest.mark.parametrize("example", examples())
def test_the_readmes_examples_run(example: str, server: Server) -> None:
    handled: list[Any] = []

    def handle(*seen: Any) -> None:
        handled.append(seen)
        if len(handled) == 2:
            raise Enough

    with rejoin.Publisher(server.url) as publisher:
        before = publisher.publish("t", user_id="local").id
        publisher.publish_many([{"user_id": "local", "type": "t"}] * 2)
    names: dict[str, Any] = {
        "handle": handle,
        "fetch_state": lambda: None,
        "words": ["a", "b"],
        "saved_cursor": before,
    }
    program = example.replace("http://127.0.0.1:8080", server.url)
    assert program != example
    try:
        exec(program, names)
    except Enough:
        assert len(handled) == 2
