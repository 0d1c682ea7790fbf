"""A server of files on the loopback, whose connections can break and whose files can be others than expected."""

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """Serves one content at every address that has none of its own; set up by its attributes while it runs."""

    content: bytes
    contents: dict[str, bytes] = field(default_factory=dict)  # by the last part of the address
    ranges: bool = True  # whether it can send a part
    cuts: list[int] = field(default_factory=list)  # bytes after which the next connections break, one after the other
    says_length: bool = True
    status: int = 200  # another: it refuses with that
    requests: list[tuple[str, int]] = field(default_factory=list)  # path or address, and first byte asked for
    port: int = 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        first = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", "bytes=0-"))
        start, content = int(first[1]), self.contents.get(handler.path.rpartition("/")[2], self.content)
        self.requests.append((handler.path, start))
        if self.status != 200:
            handler.send_error(self.status)
            return
        if start >= len(content) and self.ranges:
            handler.send_error(416)
            return
        start = start if self.ranges else 0
        handler.send_response(206 if start else 200)
        if self.says_length:
            handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        end = start + self.cuts.pop(0) if self.cuts else None
        handler.wfile.write(content[start:end])


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """A server that ends with the context."""
    files = FileServer(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            files.answer(self)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        files.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield files
        finally:
            server.shutdown()
            thread.join()
