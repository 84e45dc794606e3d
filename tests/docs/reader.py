"""Who reads a page and does what it says: a folder with a deployment, and a shell in it."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import jsonschema_rs

from tests.acceptance import contract
from tests.acceptance.running import Running
from tests.docs.pages import ANSWERS, COMMANDS, ROOT, Block, Page
from tests.docs.shown import Shown

BLOCK_SECONDS_MAX: Final = 180
DEADLINE_SECONDS: Final = 2.0
"""How long the gateway may take; 20 in a deployment that nobody waits for."""
SHOWN_API: Final = "http://127.0.0.1:8080"
SHOWN_STRIPE: Final = "http://127.0.0.1:8081"
PROMPT: Final = "$ "
ENDS_WITH: Final = {"grep ": (0, 1), "strongroom migrate --check": (0, 1)}
"""Commands whose exit code says what they found: 1 where there is nothing, or something to do."""
REPLACEABLE: Final = re.compile(r"(?<![\w$={/\"'-])(?:ENTITY|PAYMENT)(?![\w=])")
"""Words in capitals that a reader replaces by names of his own."""


class Clone:
    """A folder that looks like a clone in which `make up` runs: `.venv/bin`, `.strongroom`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".strongroom"
        self.running: Running | None = None
        self.words: dict[str, str] = {}
        self.home.mkdir(mode=0o700)
        settings = {"mode": "dev", "gateway_deadline_seconds": DEADLINE_SECONDS}
        (self.home / "strongroom.json").write_text(json.dumps(settings))
        python, path = shlex.quote(sys.executable), shlex.quote(f"{ROOT / 'src'}:{ROOT}")
        self._program("strongroom", f'PYTHONPATH={path} exec {python} -m tests.docs.serving "$@"')
        # The targets of make install, start or measure everything: it only says what it would do.
        self._program(
            "make", f'exec {_find("make")} -C {shlex.quote(str(ROOT))} -n "$@" >/dev/null'
        )

    def _program(self, name: str, line: str) -> None:
        file = self.folder / ".venv" / "bin" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{line}\n")
        file.chmod(0o755)

    def environment(self) -> dict[str, str]:
        """What a shell in the folder finds: our programs first, and no settings of the tests."""
        kept = {name: value for name, value in os.environ.items() if "STRONGROOM" not in name}
        return kept | {"PATH": f"{self.folder / '.venv' / 'bin'}:{os.environ['PATH']}"}

    def typed(self, text: str) -> str:
        """A text as it has to be typed here: ports and names in the place of those shown."""
        if self.running is not None:
            text = text.replace(SHOWN_API, self.running.api_url)
            text = text.replace(SHOWN_STRIPE, self.running.stripe_url)
        return REPLACEABLE.sub(lambda found: self.words[found[0]], text)


class Reader:
    """Reads one page from top to bottom; what a shell has set stays set."""

    def __init__(self, clone: Clone, notes: Path) -> None:
        self._clone = clone
        self._state = notes / "state.sh"
        self._state.touch()
        self._shown = Shown()
        self._said: str | None = None

    def read(self, page: Page) -> None:
        """Does what the page says. Raises AssertionError at the first thing that is not so."""
        for block in page.blocks:
            try:
                self._block(block)
            except AssertionError as difference:
                raise AssertionError(f"{block.place}: {difference}") from None

    def _block(self, block: Block) -> None:
        if block.not_run is not None:
            self._said = None
        elif block.language in COMMANDS:
            self._commands(block)
        elif block.language in ANSWERS:
            self._answer(block)
        else:
            raise AssertionError(f"a block of {block.language or 'nothing'} cannot be run")

    def _commands(self, block: Block) -> None:
        match block.language:
            case "sh":
                self._said = self._bash(block.text)
            case "python":
                self._said = self._run([sys.executable, "-c", self._typed(block.text)], block.text)
            case _:
                for command, shown in commands_of(block):
                    self._shown.hold_text(self._clone.typed(shown), self._bash(command))
                self._said = None

    def _answer(self, block: Block) -> None:
        if block.schema is not None:
            return hold_schema(block.schema, json.loads(block.text))
        assert self._said is not None, "nothing was asked before this answer"
        said, self._said = self._said, None
        hold = {
            "json": self._shown.hold_json,
            "http": self._shown.hold_http,
            "text": self._shown.hold_text,
        }[block.language]
        return hold(self._clone.typed(block.text), said)

    def _typed(self, text: str) -> str:
        return self._shown.typed(self._clone.typed(text))

    def _bash(self, text: str) -> str:
        state = shlex.quote(str(self._state))
        script = (
            f"set -aeuo pipefail\n. {state}\ntrap 'export -p >{state}; declare -f >>{state}' EXIT\n"
            + self._typed(text)
        )
        return self._run(["bash", "-c", script], text)

    def _run(self, command: list[str], text: str) -> str:
        """What it says, with what it says on stderr, as in a terminal."""
        environment = self._clone.environment() | self._exported()
        process = subprocess.Popen(
            command, cwd=self._clone.folder, env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            said, _ = process.communicate(timeout=BLOCK_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            raise AssertionError(f"no end after {BLOCK_SECONDS_MAX} s:\n{text}\n{said}") from None
        fine = [codes for begins, codes in ENDS_WITH.items() if text.startswith(begins)]
        assert process.returncode in (fine[0] if fine else (0,)), (
            f"exit code {process.returncode}:\n{text}\n{said}"
        )
        return said

    def _exported(self) -> dict[str, str]:
        """What the shell has exported, for programs that are started beside it."""
        command = ["bash", "-c", f". {shlex.quote(str(self._state))}; env -0"]
        done = subprocess.run(command, env={}, capture_output=True, text=True, check=True)
        pairs = (entry.partition("=") for entry in done.stdout.split("\0") if entry)
        return {name: value for name, _, value in pairs if name.isidentifier() and name != "_"}


def commands_of(block: Block) -> list[tuple[str, str]]:
    """The commands of a console, each with what is shown after it."""
    found: list[tuple[str, str]] = []
    goes_on = False
    for line in block.text.splitlines(keepends=True):
        if goes_on:
            found[-1] = (found[-1][0] + line, "")
        elif line.startswith(PROMPT):
            found.append((line.removeprefix(PROMPT), ""))
        else:
            assert found, f"{block.place}: a console begins with a command after `{PROMPT}`"
            found[-1] = (found[-1][0], found[-1][1] + line)
        goes_on = (goes_on or line.startswith(PROMPT)) and line.endswith("\\\n")
    return found


def hold_schema(name: str, document: Any) -> None:
    """Raises AssertionError when a document does not fit the schema of that name."""
    schema = {"$ref": f"#/components/schemas/{name}", **contract.SCHEMAS}
    assert name in contract.SCHEMAS["components"]["schemas"], f"there is no schema {name}"
    found = list(jsonschema_rs.Draft202012Validator(schema).iter_errors(document))
    assert not found, "\n".join(map(str, found))


def _find(program: str) -> str:
    for folder in os.environ["PATH"].split(os.pathsep):
        if (file := Path(folder) / program).is_file():
            return shlex.quote(str(file))
    return program
