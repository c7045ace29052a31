"""A language server as an editor runs it, asked what it would offer at a place in a file."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

REPO = Path(__file__).resolve().parents[2]
SERVER = Path(sys.executable).with_name("basedpyright-langserver")


class LanguageServer:
    """Speaks JSON-RPC over the pipes of the server; one question at a time."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._asked = 0

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Self]:
        """Start a server for this repository, and end it."""
        process = subprocess.Popen(
            [SERVER, "--stdio"], cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        server = cls(process)
        try:
            folder = {"uri": REPO.as_uri(), "name": REPO.name}
            capabilities = {"workspace": {"workspaceFolders": True}}
            server._ask("initialize", processId=None, capabilities=capabilities, workspaceFolders=[folder])
            server._tell("initialized")
            yield server
        finally:
            process.kill()
            process.communicate()

    def completions(self, text: str) -> set[str]:
        """Return the names offered where ``|`` stands in ``text``, in a file that is not saved yet."""
        before, _, after = text.partition("|")
        uri = (REPO / "tests" / "typing" / "unsaved.py").as_uri()
        document = {"uri": uri, "languageId": "python", "version": 1, "text": before + after}
        self._tell("textDocument/didOpen", textDocument=document)
        lines = before.split("\n")
        position = {"line": len(lines) - 1, "character": len(lines[-1])}
        found = self._ask("textDocument/completion", textDocument={"uri": uri}, position=position)
        self._tell("textDocument/didClose", textDocument={"uri": uri})
        items = found["items"] if isinstance(found, dict) else found
        return {item["label"] for item in items}

    def _ask(self, method: str, **params: Any) -> Any:
        self._asked += 1
        self._write({"id": self._asked, "method": method, "params": params})
        while (message := self._read()).get("id") != self._asked or "method" in message:
            if "method" in message and "id" in message:
                # The server's own questions, such as for settings: nothing is set.
                items = message.get("params", {}).get("items", [])
                self._write({"id": message["id"], "result": [None for _ in items]})
        assert "error" not in message, message["error"]
        return message["result"]

    def _tell(self, method: str, **params: Any) -> None:
        self._write({"method": method, "params": params})

    def _write(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        length = 0
        while (line := self._process.stdout.readline().strip()) or not length:
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        return message
